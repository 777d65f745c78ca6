// Which files of a directory are its weights.
#include <filesystem>

#include <idefics/io/checkpoint.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

const std::filesystem::path small = IDEFICS_SOURCE_DIR "/tests/fuzz/corpus/safetensors/two_tensors";

void add(const testing::TempDir& folder, const char* name) {
  std::filesystem::copy_file(small, folder.path() / name);
}

}  // namespace

TEST_CASE("weights of a variant are read where there are no others") {
  const testing::TempDir folder;
  folder.write("config.json", "{}");
  folder.write("model.old.safetensors.md", "not weights");
  CHECK_THROWS_AS(Checkpoint::open(folder.path()), Error);
  add(folder, "model.fp16.safetensors");
  const auto tensors = Checkpoint::open(folder.path()).tensors().size();
  CHECK(tensors > 0);
  add(folder, "model.bf16.safetensors");
  try {
    (void)Checkpoint::open(folder.path());
    FAIL_CHECK("no error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::not_a_checkpoint);
    CHECK(std::string(error.what()).find("model.bf16.safetensors") != std::string::npos);
  }
  add(folder, "model.safetensors");
  const auto file = Checkpoint::open(folder.path());
  CHECK(file.file_of(file.tensors().front()->name).filename() == "model.safetensors");
}

TEST_CASE("an index of a variant names its shards") {
  const testing::TempDir folder;
  folder.write("config.json", "{}");
  add(folder, "model.fp16-00001-of-00001.safetensors");
  const auto shard = SafetensorsFile::open(folder.path() / "model.fp16-00001-of-00001.safetensors");
  Json map = Json::object();
  for (const TensorInfo& tensor : shard.tensors())
    map[tensor.name] = "model.fp16-00001-of-00001.safetensors";
  folder.write("model.safetensors.index.fp16.json", Json{{"weight_map", map}}.dump());
  CHECK(Checkpoint::open(folder.path()).tensors().size() == shard.tensors().size());
}
