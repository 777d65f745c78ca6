// Files of torch.save: tensors of every dtype and layout, and a sharded checkpoint that gives the
// same results as its safetensors twin.
#include <cstring>

#include <idefics/io/checkpoint.hpp>
#include <idefics/io/torch_file.hpp>
#include <idefics/quantize.hpp>

#include "support/catch.hpp"
#include "support/golden_models.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

const std::filesystem::path folder = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "torch_files";

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// Whether two checkpoints hold the same tensors, bit for bit.
bool same_tensors(const Checkpoint& a, const Checkpoint& b) {
  if (a.tensors().size() != b.tensors().size()) return false;
  return std::ranges::all_of(a.tensors(), [&](const TensorInfo* tensor) {
    const TensorInfo* other = b.find(tensor->name);
    return other && other->dims == tensor->dims && other->dtype_name == tensor->dtype_name &&
           same_bytes(a.bytes(tensor->name), b.bytes(tensor->name));
  });
}

}  // namespace

TEST_CASE("every dtype, view and shared storage is read") {
  const TensorFile ours = detail::open_torch_file(folder / "mixed.bin");
  const auto reference = SafetensorsFile::open(folder / "mixed.safetensors");
  REQUIRE(ours.tensors().size() == reference.tensors().size());
  for (const TensorInfo& expected : reference.tensors()) {
    CAPTURE(expected.name);
    const TensorInfo* found = ours.find(expected.name);
    REQUIRE(found != nullptr);
    CHECK(found->dims == expected.dims);
    CHECK(found->dtype_name == expected.dtype_name);
    CHECK(same_bytes(ours.bytes(expected.name), reference.bytes(expected.name)));
    if (expected.dtype)
      CHECK(same_bytes(ours.tensor(expected.name), reference.tensor(expected.name)));
  }
  // shared storage is mapped once, and row-major tensors are used in place
  CHECK(ours.tensor("f32").raw() == ours.tensor("tied").raw());
  CHECK(ours.tensor("rows").raw() == ours.tensor("f32").raw() + 24);
  CHECK_FALSE(ours.tensor("rows").writable());
  CHECK(ours.tensor("transposed").writable());
}

TEST_CASE("a command in a pickle is refused and not run") {
  try {
    detail::open_torch_file(folder / "malicious.bin");
    FAIL_CHECK("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::pickle_refused);
    CHECK(std::string(error.what()).find("posix.system") != std::string::npos);
  }
  CHECK_FALSE(std::filesystem::exists("/tmp/idefics-was-here"));
}

TEST_CASE("a sharded torch checkpoint gives the same results as its safetensors twin") {
  const auto shards = folder / "interval_three", twin = golden::models_dir() / "interval_three";
  CHECK(same_tensors(Checkpoint::open(shards), Checkpoint::open(twin)));
  auto ours = Model::from_pretrained(shards.string());
  auto reference = Model::from_pretrained(twin.string());
  for (const auto& one : golden::forward_cases("interval_three"))
    CHECK(same_bytes(ours.forward(one.inputs).logits, reference.forward(one.inputs).logits));

  const testing::TempDir directory;
  quantize_checkpoint(shards, directory.path() / "ours");
  quantize_checkpoint(twin, directory.path() / "reference");
  CHECK(same_tensors(Checkpoint::open(directory.path() / "ours"),
                     Checkpoint::open(directory.path() / "reference")));
  CHECK_FALSE(std::filesystem::exists(directory.path() / "ours/pytorch_model.bin.index.json"));
}

TEST_CASE("safetensors are preferred to torch files, and single files to shards") {
  const testing::TempDir directory;
  const auto copy = [&](const std::filesystem::path& from, const char* name) {
    std::filesystem::copy_file(from, directory.path() / name);
  };
  const auto file = [&](const char* tensor) {
    return Checkpoint::open(directory.path()).file_of(tensor).filename().string();
  };
  const char* norm = "model.norm.weight";
  for (const auto& entry : std::filesystem::directory_iterator(folder / "interval_three"))
    copy(entry.path(), entry.path().filename().c_str());
  CHECK(file(norm).starts_with("pytorch_model-0000"));
  copy(folder / "mixed.bin", "pytorch_model.bin");
  CHECK(file("f32") == "pytorch_model.bin");
  copy(golden::models_dir() / "interval_three/model.safetensors", "model.safetensors");
  CHECK(file(norm) == "model.safetensors");
}
