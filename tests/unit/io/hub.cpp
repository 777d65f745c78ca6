// Hashes of files, the choice of files, and the cache that a pull leaves.
#include <fstream>

#include "support/catch.hpp"
#include "support/hub_server.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using testing::answer;
using testing::hub_options;
using testing::HubServer;
using testing::Reply;

namespace {

template <class Digest>
std::string hash_of(std::string_view text, std::size_t piece) {
  Digest digest;
  for (std::size_t at = 0; at < text.size(); at += piece) digest.add(text.substr(at, piece));
  return digest.hex();
}

std::vector<std::string> names(const std::vector<std::string>& paths,
                               const std::vector<std::string>& include = {}) {
  std::vector<HubFile> files;
  for (const std::string& path : paths) files.push_back({.path = path});
  std::vector<std::string> chosen;
  for (const HubFile& file : detail::chosen_files(files, include)) chosen.push_back(file.path);
  return chosen;
}

}  // namespace

TEST_CASE("digests are those of the standards") {
  using detail::Sha1;
  using detail::Sha256;
  CHECK(Sha256().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(Sha1().hex() == "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  CHECK(hash_of<Sha256>("abc", 3) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(hash_of<Sha1>("abc", 1) == "a9993e364706816aba3e25717850c26c9cd0d89d");
  const std::string million(1'000'000, 'a');
  for (const std::size_t piece : {1u, 55u, 64u, 1000u, 1'000'000u}) {
    CHECK(hash_of<Sha256>(million, piece) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    CHECK(hash_of<Sha1>(million, piece) == "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
  }
  detail::FileDigest git(false, 6);  // git hash-object of "hello\n"
  git.add(std::as_bytes(std::span(std::string_view("hello\n"))));
  CHECK(git.hex() == "ce013625030ba8dba906f756967f9e9ca394464a");
}

TEST_CASE("the files that the engine reads are chosen") {
  const std::vector<std::string> both{"README.md",
                                      "config.json",
                                      "model-00001-of-00002.safetensors",
                                      "model.safetensors.index.json",
                                      "pytorch_model-00001-of-00002.bin",
                                      "tokenizer.model",
                                      "onnx/model.safetensors",
                                      "training.py"};
  CHECK(names(both) == std::vector<std::string>{"config.json", "model-00001-of-00002.safetensors",
                                                "model.safetensors.index.json", "tokenizer.model"});
  CHECK(names({"config.json", "pytorch_model.bin", "flax_model.msgpack"}) ==
        std::vector<std::string>{"config.json", "pytorch_model.bin"});
  CHECK(names({"adapter_config.json", "adapter_model.bin", "adapter_model.safetensors"}) ==
        std::vector<std::string>{"adapter_config.json", "adapter_model.safetensors"});
  CHECK(names(both, {"*.bin", "READ??.md"}) ==
        std::vector<std::string>{"README.md", "pytorch_model-00001-of-00002.bin"});
  CHECK_THROWS_AS(names(both, {"*.gguf"}), Error);
  CHECK_THROWS_AS(names({"README.md"}), Error);
}

TEST_CASE("patterns have * for any text and ? for a character") {
  using detail::matches_pattern;
  CHECK(matches_pattern("a/b.json", "*.json"));
  CHECK(matches_pattern("aXbXc", "a*X*c"));
  CHECK(matches_pattern("", "**"));
  CHECK_FALSE(matches_pattern("a", "?b"));
  CHECK_FALSE(matches_pattern("abc", "a*d"));
  CHECK_FALSE(matches_pattern("abc", ""));
}

TEST_CASE("names on the hub are org/name[@revision]") {
  CHECK(detail::parse_hub_name("a/b")->revision == "main");
  CHECK(detail::parse_hub_name("a/b@v1")->folder() == "models--a--b");
  for (const char* wrong : {"a", "a/", "/b", "a/b/c", "../b", "a/b@", "a/b@../x", "a b/c"})
    CHECK_FALSE(detail::parse_hub_name(wrong));
}

TEST_CASE("a pull leaves the layout of huggingface_hub, and fetches nothing twice") {
  const testing::TempDir cache;
  const HubServer hub({{"config.json", "{}"},
                       {"empty.txt", ""},
                       {"model.safetensors", testing::noise(5000)},
                       {"notes/a page.md", "words"}});
  PullOptions options = hub_options(hub, cache.path());
  options.include = {"*"};
  const PullPlan before = plan_pull("org/name", options);
  CHECK(before.total_bytes() == before.missing_bytes());
  CHECK(before.files.size() == 4);
  CHECK_FALSE(std::filesystem::exists(cache.path() / "models--org--name"));
  const auto snapshot = pull_checkpoint("org/name", options);
  const auto root = cache.path() / "models--org--name";
  CHECK(snapshot == root / "snapshots" / HubServer::commit);
  CHECK(detail::read_file(root / "refs" / "main", 100) == HubServer::commit);
  CHECK(std::filesystem::read_symlink(snapshot / "model.safetensors") ==
        "../../blobs/" + HubServer::sha256_of(hub.files().at("model.safetensors")));
  CHECK(std::filesystem::read_symlink(snapshot / "notes" / "a page.md")
            .string()
            .starts_with("../../../blobs/"));
  for (const auto& [path, content] : hub.files())
    CHECK(detail::read_file(snapshot / path, 1 << 20) == content);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
    CHECK(entry.path().string().find(".part") == std::string::npos);
  const auto environment = [&](const char* name) {
    return std::string(name) == "HF_HUB_CACHE" ? cache.path().string() : "";
  };
  CHECK(resolve_model("org/name", environment) == snapshot);
  const std::size_t requests = hub.requests().size();
  CHECK(pull_checkpoint("org/name", options) == snapshot);
  for (std::size_t i = requests; i < hub.requests().size(); ++i)
    CHECK(hub.requests()[i].first.starts_with("/api/"));
}

TEST_CASE("files without a hash are named by their SHA-256") {
  const testing::TempDir cache;
  HubServer hub(HubServer::Files{{"config.json", "{}"}});
  hub.list("config.json", {{"type", "file"}, {"path", "config.json"}, {"size", 2}});
  const auto snapshot = pull_checkpoint("org/name", hub_options(hub, cache.path()));
  CHECK(std::filesystem::read_symlink(snapshot / "config.json").filename() ==
        HubServer::sha256_of("{}"));
}

TEST_CASE("lists of several pages are read to the end") {
  const testing::TempDir cache;
  std::string root;
  const HubServer hub(
      {{"config.json", "{}"}, {"tokenizer.model", "x"}},
      [&](const std::string& path, const std::string&, int) -> std::optional<Reply> {
        const auto page = [](const char* name, const char* content) {
          return Json::array({HubServer::entry_of(name, content)}).dump();
        };
        if (path.ends_with("recursive=true"))
          return answer("200 OK", page("config.json", "{}"),
                        "Link: <" + root + "/page2>; rel=\"next\"\r\n");
        if (path == "/page2") return answer("200 OK", page("tokenizer.model", "x"));
        return std::nullopt;
      });
  root = hub.root();
  CHECK(plan_pull("org/name", hub_options(hub, cache.path())).files.size() == 2);
}

TEST_CASE("several files are fetched at once") {
  const testing::TempDir cache;
  std::map<std::string, std::string> files{{"config.json", "{}"}};
  for (int i = 1; i <= 6; ++i)
    files["model-0000" + std::to_string(i) + "-of-00006.safetensors"] =
        testing::noise(1000, static_cast<unsigned>(i));
  std::atomic<int> now = 0, most = 0;
  const HubServer hub(
      files, [&](const std::string& path, const std::string&, int) -> std::optional<Reply> {
        if (!path.ends_with(".safetensors")) return std::nullopt;
        for (int seen = ++now, high = most;
             seen > high && !most.compare_exchange_weak(high, seen);) {
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        --now;
        return std::nullopt;
      });
  PullOptions options = hub_options(hub, cache.path());
  options.jobs = 3;
  (void)pull_checkpoint("org/name", options);
  CHECK(most >= 2);
  CHECK(most <= 3);
}

TEST_CASE("two pulls of one model share the work") {
  const testing::TempDir cache;
  const std::string weights = testing::noise(200'000);
  const HubServer hub(
      {{"config.json", "{}"}, {"model.safetensors", weights}},
      [&](const std::string& path, const std::string& head, int) -> std::optional<Reply> {
        if (path != "model.safetensors") return std::nullopt;
        const std::string text = HubServer::file_reply(weights, head).parts[0];
        return Reply{.parts = {text.substr(0, 1000), text.substr(1000)},
                     .pause = std::chrono::milliseconds(300)};
      });
  const auto pull = [&] { (void)pull_checkpoint("org/name", hub_options(hub, cache.path())); };
  {
    const std::jthread other(pull);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    pull();
  }
  int fetched = 0;
  for (const auto& [target, head] : hub.requests())
    fetched += target.ends_with("model.safetensors");
  CHECK(fetched == 1);
}

TEST_CASE("offline, nothing is asked") {
  const testing::TempDir cache;
  const HubServer hub(HubServer::Files{{"config.json", "{}"}});
  PullOptions options = hub_options(hub, cache.path());
  options.offline = true;
  CHECK_THROWS_AS(pull_checkpoint("org/name", options), Error);
  options.offline = false;
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  CHECK_THROWS_AS(pull_checkpoint("org/name", options), Error);
  ::unsetenv("HF_HUB_OFFLINE");
  CHECK(hub.requests().empty());
}

TEST_CASE("the environment names the hub, the token and the cache") {
  const testing::TempDir cache;
  const HubServer hub(HubServer::Files{{"config.json", "{}"}});
  ::setenv("HF_ENDPOINT", (hub.root() + "/").c_str(), 1);
  ::setenv("HF_TOKEN", "secret", 1);
  ::setenv("HF_HUB_CACHE", cache.path().c_str(), 1);
  CHECK(pull_checkpoint("org/name") ==
        cache.path() / "models--org--name" / "snapshots" / HubServer::commit);
  for (const char* name : {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE"}) ::unsetenv(name);
  CHECK(hub.requests().back().second.find("Authorization: Bearer secret") != std::string::npos);
}
