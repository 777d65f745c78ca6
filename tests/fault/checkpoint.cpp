// Directories that are not usable checkpoints, and the error that each of them gives.
#include <idefics/io/checkpoint.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

std::string verdict(const std::filesystem::path& directory) {
  try {
    idefics::Checkpoint::open(directory);
  } catch (const idefics::Error& error) {
    return std::string(error.code_name());
  }
  return "accepted";
}

void write_shard(const testing::TempDir& directory, const char* file, const char* tensor) {
  idefics::write_safetensors(directory.path() / file,
                             {{tensor, idefics::Tensor::zeros(idefics::DType::f32, {2})}});
}

void write_index(const testing::TempDir& directory, const std::string& weight_map) {
  directory.write("model.safetensors.index.json", "{\"weight_map\":{" + weight_map + "}}");
}

}  // namespace

TEST_CASE("a directory without the files of a checkpoint is refused") {
  const testing::TempDir directory;
  CHECK(verdict(directory.path() / "absent") == "file_not_found");
  CHECK(verdict(directory.path()) == "not_a_checkpoint");
  directory.write("config.json", "{}");
  CHECK(verdict(directory.path()) == "not_a_checkpoint");
  directory.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  CHECK(verdict(directory.path()) == "git_lfs_pointer");
}

TEST_CASE("an index and its shards must agree") {
  const testing::TempDir directory;
  directory.write("config.json", "{}");
  write_shard(directory, "1.safetensors", "a");
  write_index(directory, R"("a":"1.safetensors","b":"2.safetensors")");
  CHECK(verdict(directory.path()) == "missing_shard");
  write_shard(directory, "2.safetensors", "c");
  CHECK(verdict(directory.path()) == "index_mismatch");
  write_shard(directory, "2.safetensors", "a");
  CHECK(verdict(directory.path()) == "index_mismatch");
  write_shard(directory, "2.safetensors", "b");
  CHECK(verdict(directory.path()) == "accepted");
  const auto checkpoint = idefics::Checkpoint::open(directory.path());
  CHECK(checkpoint.total_bytes() == 16);
  CHECK_THROWS_AS(checkpoint.tensor("c"), idefics::Error);
  write_index(directory, R"("a":"../1.safetensors")");
  CHECK(verdict(directory.path()) == "index_mismatch");
  write_index(directory, R"("a":"1.safetensors","a":"2.safetensors")");
  CHECK(verdict(directory.path()) == "duplicate_key");
}
