// Where models are found: the variables that name the cache, and names of repositories and
// revisions.
#include <idefics/io/hub_cache.hpp>

#include <fstream>
#include <map>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

Environment environment(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? "" : found->second;
  };
}

}  // namespace

TEST_CASE("the cache is where transformers and huggingface_hub look for it") {
  using Variables = std::map<std::string, std::string>;
  const auto root = [](Variables variables) {
    variables.emplace("HOME", "/home/me");
    return hub_cache_root(environment(std::move(variables))).string();
  };
  CHECK(root({}) == "/home/me/.cache/huggingface/hub");
  CHECK(root({{"XDG_CACHE_HOME", "/x"}}) == "/x/huggingface/hub");
  CHECK(root({{"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "/h"}}) == "/h/hub");
  CHECK(root({{"HF_HOME", "/h"}, {"HUGGINGFACE_HUB_CACHE", "/g"}}) == "/g");
  CHECK(root({{"HUGGINGFACE_HUB_CACHE", "/g"}, {"HF_HUB_CACHE", "/c"}}) == "/c");
  CHECK(root({{"HF_HUB_CACHE", "/c"}, {"TRANSFORMERS_CACHE", "/t"}}) == "/t");
  CHECK(root({{"PYTORCH_PRETRAINED_BERT_CACHE", "/b"}, {"PYTORCH_TRANSFORMERS_CACHE", "/p"}}) ==
        "/p");
  CHECK(root({{"HF_HUB_CACHE", "/c"}, {"PYTORCH_PRETRAINED_BERT_CACHE", "/b"}}) == "/b");
  CHECK(root({{"HF_HUB_CACHE", "~/models"}}) == "/home/me/models");
  CHECK(root({{"HF_HOME", "~"}}) == "/home/me/hub");
  CHECK(root({{"HF_HOME", "$DISK/hf"}, {"DISK", "/mnt/a"}}) == "/mnt/a/hf/hub");
  CHECK(root({{"HF_HOME", "${DISK}s/$UNSET/$"}, {"DISK", "/mnt/a"}}) == "/mnt/as/$UNSET/$/hub");
  CHECK(root({{"HF_HUB_CACHE", "/a~/~b/${HOME"}}) == "/a~/~b/${HOME");
}

TEST_CASE("revisions may contain slashes, and lead nowhere outside of the repository") {
  const testing::TempDir dir;
  const auto repository = dir.path() / "models--org--name";
  const auto snapshot = repository / "snapshots" / "abc123";
  std::filesystem::create_directories(snapshot);
  std::filesystem::create_directories(repository / "refs" / "refs" / "pr");
  std::filesystem::create_directories(repository / "refs" / "feature");
  for (const char* name : {"main", "refs/pr/11", "feature/x.1"})
    std::ofstream(repository / "refs" / name) << "abc123\n";
  const auto found = [&](const char* model) {
    try {
      return resolve_model(model, environment({{"HF_HUB_CACHE", dir.path().string()}}));
    } catch (const Error& error) {
      return std::filesystem::path(error.code_name());
    }
  };
  for (const char* model : {"org/name", "org/name@main", "org/name@refs/pr/11",
                            "org/name@feature/x.1", "org/name@abc123"})
    CHECK(found(model) == snapshot);
  for (const char* model :
       {"org/name@refs/pr/12", "org/name@../main", "org/name@refs/../main", "org/name@/main",
        "org/name@refs//main", "org/name@main/", "org/name@", "org/name@refs", "or/g/name"})
    CHECK(found(model) == "model_not_found");
}
