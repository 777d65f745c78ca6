// A model that is quantized shard by shard while it is fetched has the tensors of one that is
// quantized whole.
#include <set>

#include <idefics/model.hpp>
#include <idefics/pull.hpp>

#include "support/catch.hpp"
#include "support/hub_server.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using testing::answer;
using testing::HubServer;
using testing::Reply;

namespace {

std::filesystem::path golden(const char* name) {
  return std::filesystem::path(IDEFICS_GOLDEN_DIR) / name;
}

std::map<std::string, std::string> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files{{"tokenizer.model", "text"}, {"README.md", "words"}};
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    files[entry.path().filename().string()] = detail::read_file(entry.path(), 1u << 30);
  return files;
}

using Tensors = std::map<std::string, std::pair<std::string, std::string>>;

/// Dtype and bytes of every tensor.
Tensors tensors_of(const std::filesystem::path& folder) {
  const Checkpoint checkpoint = Checkpoint::open(folder);
  Tensors all;
  for (const TensorInfo* t : checkpoint.tensors()) {
    const Tensor bytes = checkpoint.bytes(t->name);
    all[t->name] = {t->dtype_name + Shape(std::span<const std::int64_t>(t->dims)).to_string(),
                    std::string(reinterpret_cast<const char*>(bytes.raw()), bytes.bytes())};
  }
  return all;
}

QuantizeCheckpointOptions nf4() {
  return {.config = {.load_in_4bit = true, .bnb_4bit_quant_type = QuantType::nf4}};
}

bool is_shard(const std::string& path) { return path.ends_with("-of-00005.bin"); }

std::uint64_t bytes_in(const std::filesystem::path& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.is_regular_file(error)) bytes += entry.file_size(error);
  return bytes;
}

}  // namespace

TEST_CASE("every tensor is that of quantizing the whole checkpoint") {
  for (const char* name : {"models/sharded", "models/stored_bf16", "torch_files/interval_three"}) {
    CAPTURE(name);
    const testing::TempDir cache;
    const HubServer hub(files_of(golden(name)));
    const auto pulled = pull_quantized("org/name", testing::hub_options(hub, cache.path()), nf4());
    CHECK(pulled == cache.path() / "models--org--name-nf4" / "snapshots" / HubServer::commit);
    quantize_checkpoint(golden(name), cache.path() / "whole", nf4());
    CHECK(tensors_of(pulled) == tensors_of(cache.path() / "whole"));
    CHECK(detail::read_file(pulled / "config.json", 1 << 20) ==
          detail::read_file(cache.path() / "whole" / "config.json", 1 << 20));
    CHECK(detail::read_file(pulled / "tokenizer.model", 100) == "text");
    CHECK_FALSE(std::filesystem::exists(pulled / "README.md"));
    CHECK_FALSE(std::filesystem::exists(cache.path() / "models--org--name"));
    CHECK_FALSE(std::filesystem::exists(cache.path() / "models--org--name-nf4" / "blobs"));
    const auto environment = [&](const char* variable) {
      return std::string(variable) == "HF_HUB_CACHE" ? cache.path().string() : "";
    };
    CHECK(resolve_model("org/name-nf4", environment) == pulled);
  }
}

TEST_CASE(
    "an interrupted one continues at its shard, and keeps one shard of the source at a time") {
  const testing::TempDir cache;
  const auto files = files_of(golden("torch_files/interval_three"));
  std::uint64_t largest = 0, most = 0, small = 0;
  for (const auto& [path, content] : files)
    (is_shard(path) ? largest : small) =
        is_shard(path) ? std::max<std::uint64_t>(largest, content.size()) : small + content.size();
  bool broken = true;
  const HubServer hub(
      files, [&](const std::string& path, const std::string&, int) -> std::optional<Reply> {
        most = std::max(most, bytes_in(cache.path() / "models--org--name-nf4" / "blobs"));
        if (broken && path.find("-00004-") != std::string::npos) return answer("503 Busy", "");
        return std::nullopt;
      });
  const auto options = testing::hub_options(hub, cache.path());
  CHECK_THROWS_AS(pull_quantized("org/name", options, nf4()), Error);
  CHECK_FALSE(std::filesystem::exists(cache.path() / "models--org--name-nf4" / "refs"));
  CHECK_FALSE(std::filesystem::exists(cache.path() / "models--org--name-nf4" / "snapshots" /
                                      HubServer::commit));
  broken = false;
  const std::size_t before = hub.requests().size();
  const auto pulled = pull_quantized("org/name", options, nf4());
  std::set<std::string> fetched;
  for (std::size_t i = before; i < hub.requests().size(); ++i)
    if (is_shard(hub.requests()[i].first)) fetched.insert(hub.requests()[i].first);
  CHECK(fetched.size() == 2);
  CHECK(most <= largest + small);
  quantize_checkpoint(golden("torch_files/interval_three"), cache.path() / "whole", nf4());
  CHECK(tensors_of(pulled) == tensors_of(cache.path() / "whole"));
}

TEST_CASE("shards that lack a tensor are refused, and nothing is published") {
  const testing::TempDir cache;
  auto files = files_of(golden("torch_files/interval_three"));
  std::erase_if(files,
                [](const auto& file) { return file.first.find("-00003-") != std::string::npos; });
  const HubServer hub(files);
  try {
    (void)pull_quantized("org/name", testing::hub_options(hub, cache.path()), nf4());
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code_name() == "missing_tensor");
  }
  CHECK_FALSE(std::filesystem::exists(cache.path() / "models--org--name-nf4" / "snapshots" /
                                      HubServer::commit));
}
