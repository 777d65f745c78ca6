// Files that change while they are in use: what is read into memory does not change with them, what
// is mapped is read only after a look at the file, and a load during which a file changed is refused.
#include <fstream>

#include <idefics/io/directory.hpp>
#include <idefics/io/torch_file.hpp>
#include <idefics/model.hpp>
#include <idefics/quantize.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/random_prompts.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

const std::filesystem::path tests = std::filesystem::path(IDEFICS_SOURCE_DIR) / "tests";

template <class Act>
std::string verdict(const Act& act) {
  try {
    act();
  } catch (const Error& error) {
    return std::string(error.code_name());
  }
  return "accepted";
}

/// A copy of a checkpoint that a test may damage.
std::filesystem::path copy_of(const std::filesystem::path& model, const testing::TempDir& to) {
  const auto copy = to.path() / "model";
  std::filesystem::remove_all(copy);
  std::filesystem::copy(model, copy, std::filesystem::copy_options::recursive);
  return copy;
}
std::filesystem::path weights_of(const std::filesystem::path& model) {
  return model / "model.safetensors";
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

Inputs some_prompt(const Config& config) {
  std::mt19937 random(3);
  return testing::batch_of({testing::random_prompt(random, config, 6, 1)}, config, true);
}
Tensor logits_of(const Model& model) { return model.forward(some_prompt(model.config())).logits; }

/// Loads, and has `act` called before the second weight is read.
std::string load_during(const std::filesystem::path& model, ModelOptions options,
                        const std::function<void()>& act) {
  options.progress = [&](const Progress& progress) {
    if (progress.done == 1) act();
    return true;
  };
  return verdict([&] { (void)Model::from_pretrained(model.string(), options); });
}

}  // namespace

TEST_CASE("a tensor that is read equals one that is mapped") {
  const auto torch = tests / "fuzz/corpus/torch_file";
  for (const char* name : {"good", "wide", "bfloat16"}) {
    const TensorFile mapped = detail::open_torch_file(torch / name),
                     read = detail::open_torch_file(torch / name, false);
    CHECK(mapped.is_mapped());
    CHECK_FALSE(read.is_mapped());
    for (const TensorInfo& info : mapped.tensors()) {
      if (!info.dtype) continue;
      CHECK(same_bytes(mapped.tensor(info.name), read.tensor(info.name)));
      CHECK(same_bytes(mapped.bytes(info.name), read.bytes(info.name)));
    }
  }
  const auto path = tests / "fuzz/corpus/safetensors/two_tensors";
  CHECK(same_bytes(SafetensorsFile::open(path).bytes("a"),
                   SafetensorsFile::open(path, false).bytes("a")));
}

TEST_CASE("a tensor that no dtype or shape here can hold is refused when it is asked for") {
  const auto file = SafetensorsFile::open(tests / "fuzz/corpus/safetensors/packed");
  CHECK(verdict([&] { (void)file.tensor("t"); }) == "unsupported_dtype");
  CHECK(file.bytes("t").count() == 1);
  CHECK(verdict([&] { (void)file.bytes("absent"); }) == "missing_tensor");
  file.require_readable("absent"), file.prefetch("absent"), file.release("absent");
  const testing::TempDir directory;
  const std::string header = R"({"t":{"dtype":"U8","shape":[1,1,1,1,1,1],"data_offsets":[0,1]}})";
  const auto six = SafetensorsFile::open(directory.write(
      "six",
      std::string(1, static_cast<char>(header.size())) + std::string(7, '\0') + header + "x"));
  CHECK(verdict([&] { (void)six.tensor("t"); }) == "shape_mismatch");
}

TEST_CASE("a file that cannot be read to its end, or cannot be written, is an error") {
  // says that it has a page of bytes, and has some
  if (const std::filesystem::path brief = "/sys/kernel/mm/transparent_hugepage/enabled";
      std::filesystem::exists(brief))
    CHECK(verdict([&] { (void)detail::read_file(brief, 1 << 20); }) == "file_changed");
  const testing::TempDir directory;
  std::filesystem::create_directories(directory.path() / "taken/inside");
  const auto commit_to = [](const std::filesystem::path& path) {
    AtomicFile file(path);
    file.write("content");
    file.commit();
  };
  CHECK(verdict([&] { commit_to(directory.path() / "taken"); }) == "io_failure");
  CHECK(verdict([&] { commit_to(directory.path() / "absent/file"); }) == "file_not_found");
  CHECK(verdict([&] { (void)detail::names_in(directory.path() / "absent"); }) == "file_not_found");
  CHECK(detail::names_in(directory.path()) == std::vector<std::string>{"taken"});
  detail::remove_contents(
      detail::Descriptor(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY)));
  CHECK(detail::names_in(directory.path()).empty());
}

TEST_CASE("a file that was written to since it was opened is noticed") {
  const testing::TempDir directory;
  const auto path = directory.write("f", std::string(20000, 'x'));
  for (const bool mmap : {true, false}) {
    const auto file = MappedFile::open(path, mmap);
    file->check_unchanged();
    file->require_readable(0, 20000);
    std::filesystem::resize_file(path, 5000);
    char bytes[9000];
    const auto to = std::as_writable_bytes(std::span(bytes));
    CHECK(verdict([&] { file->check_unchanged(); }) == "file_changed");
    CHECK(verdict([&] { file->require_readable(8000, 9000); }) == "file_changed");
    CHECK(verdict([&] { file->read(0, to); }) == "file_changed");
    CHECK(verdict([&] { file->read(0, to.first(5000)); }) == "accepted");
    std::filesystem::resize_file(path, 20000);  // the size that it had
    CHECK(verdict([&] { file->check_unchanged(); }) == "file_changed");
  }
}

TEST_CASE("a file that is replaced by renaming another to its name stays what it was") {
  const testing::TempDir directory;
  const auto path = directory.write("f", "old content");
  const auto mapped = MappedFile::open(path), read = MappedFile::open(path, false);
  directory.write("f", "new");  // writes a temporary file and renames it
  for (const auto& file : {mapped, read}) {
    char bytes[11];
    file->check_unchanged();
    file->read(0, std::as_writable_bytes(std::span(bytes)));
    CHECK(std::string_view(bytes, 11) == "old content");
  }
}

TEST_CASE("a model that was read answers as one that is mapped, whatever happens to its files") {
  const testing::TempDir directory;
  for (const auto& name : golden::model_names())
    for (const bool in_4bit : {false, true}) {
      const auto model = copy_of(golden::models_dir() / name, directory);
      ModelOptions options{.quantization_config = {.load_in_4bit = in_4bit}};
      const Tensor expected = logits_of(Model::from_pretrained(model.string(), options));
      options.mmap = false;
      const Model read = Model::from_pretrained(model.string(), options);
      for (const auto& entry : std::filesystem::directory_iterator(model))
        std::filesystem::resize_file(entry, 0);
      INFO(name);
      CHECK(same_bytes(logits_of(read), expected));
    }
}

TEST_CASE("a load or a conversion during which a file changes is refused") {
  const testing::TempDir directory;
  const auto source = golden::models_dir() / "published";
  const ModelOptions in_place{}, converted{.dtype = DType::f16},
      quantized{.quantization_config = {.load_in_4bit = true}}, read{.mmap = false};
  for (const ModelOptions& options : {in_place, converted, quantized, read}) {
    const auto model = copy_of(source, directory);
    CHECK(load_during(model, options, [] {}) == "accepted");
    CHECK(load_during(model, options, [&] {  // as a download that is continued does
            std::ofstream(weights_of(model), std::ios::app | std::ios::binary) << "more";
          }) == "file_changed");
    std::filesystem::copy_file(weights_of(source), weights_of(model),
                               std::filesystem::copy_options::overwrite_existing);
    CHECK(load_during(model, options, [&] {
            std::filesystem::resize_file(weights_of(model), 4096);
          }) == "file_changed");
  }
  const auto model = copy_of(source, directory);
  QuantizeCheckpointOptions options;
  options.progress = [&](const Progress& progress) {
    if (progress.done == 1) std::filesystem::resize_file(weights_of(model), 4096);
    return true;
  };
  CHECK(verdict([&] { quantize_checkpoint(model, directory.path() / "out", options); }) ==
        "file_changed");
  CHECK_FALSE(std::filesystem::exists(directory.path() / "out"));
}
