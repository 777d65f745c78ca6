// What can go wrong while a model is fetched: each row ends with the right files or a typed error,
// and nothing partial is ever visible.
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

const std::string weights = "model.safetensors";

std::map<std::string, std::string> small_model() {
  return {{"config.json", "{\"model_type\": \"idefics\"}"}, {weights, testing::noise(300'000)}};
}

/// The code of the error, or "" and the files checked against the server's.
std::string outcome(const HubServer& hub, const PullOptions& options,
                    std::string* message = nullptr) {
  try {
    const auto snapshot = pull_checkpoint("org/name", options);
    for (const auto& [path, content] : hub.files()) {
      CAPTURE(path);
      CHECK(HubServer::sha256_of(detail::read_file(snapshot / path, 1u << 30)) ==
            HubServer::sha256_of(content));
    }
    return "";
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return std::string(error.code_name());
  }
}

/// Whether the cache has a snapshot, or a complete blob of the weights.
bool something_visible(const std::filesystem::path& cache, const HubServer& hub) {
  const auto root = cache / "models--org--name";
  return std::filesystem::exists(root / "refs" / "main") ||
         std::filesystem::exists(root / "snapshots" / HubServer::commit) ||
         std::filesystem::exists(root / "blobs" / HubServer::sha256_of(hub.files().at(weights)));
}

/// A file that is cut off after `sent` bytes.
Reply cut(const std::string& content, std::size_t sent) {
  Reply reply = answer("200 OK", content);
  reply.parts[0].resize(reply.parts[0].size() - content.size() + sent);
  return reply;
}

/// Whether a request asked for the rest from `first` on.
bool asked_from(const HubServer& hub, std::size_t first) {
  for (const auto& [target, head] : hub.requests())
    if (head.find("Range: bytes=" + std::to_string(first) + "-\r\n") != std::string::npos)
      return true;
  return false;
}

/// The first `faults` requests for the weights are answered with `reply`.
HubServer::Fault at_first(int faults, const Reply& reply) {
  return [=](const std::string& path, const std::string&, int count) -> std::optional<Reply> {
    if (path != weights || count >= faults) return std::nullopt;
    return reply;
  };
}

}  // namespace

TEST_CASE("an interrupted transfer is continued where it stopped") {
  const testing::TempDir cache;
  const auto files = small_model();
  const HubServer hub(files, at_first(1, cut(files.at(weights), 100'000)));
  CHECK(outcome(hub, hub_options(hub, cache.path())).empty());
  CHECK(asked_from(hub, 100'000));
}

TEST_CASE("an interrupted run is continued by the next one") {
  const testing::TempDir cache;
  const auto files = small_model();
  HubServer::Fault fault = at_first(3, cut(files.at(weights), 100'000));
  const HubServer hub(files, [&](const std::string& path, const std::string& head, int count) {
    return head.find("Range:") != std::string::npos && count < 4
               ? std::optional(answer("503 Service Unavailable", ""))
               : fault(path, head, count);
  });
  CHECK(outcome(hub, hub_options(hub, cache.path())) == "fetch_failed");
  CHECK_FALSE(something_visible(cache.path(), hub));
  const PullPlan plan = plan_pull("org/name", hub_options(hub, cache.path()));
  CHECK(plan.missing_bytes() == plan.total_bytes() - 100'000 - files.at("config.json").size());
  CHECK(outcome(hub, hub_options(hub, cache.path())).empty());
  CHECK(asked_from(hub, 100'000));
}

TEST_CASE("a server without ranges sends the file from the beginning") {
  const testing::TempDir cache;
  const auto files = small_model();
  const HubServer hub(
      files, [&](const std::string& path, const std::string&, int count) -> std::optional<Reply> {
        if (path != weights) return std::nullopt;
        return count == 0 ? cut(files.at(weights), 100'000) : answer("200 OK", files.at(weights));
      });
  CHECK(outcome(hub, hub_options(hub, cache.path())).empty());
  CHECK(asked_from(hub, 100'000));
}

TEST_CASE("a part that does not fit the file is dropped") {
  const testing::TempDir cache;
  const HubServer hub(small_model());
  const auto blobs = cache.path() / "models--org--name" / "blobs";
  const auto part = blobs / (HubServer::sha256_of(hub.files().at(weights)) + ".part");
  for (const std::string& left : {testing::noise(400'000), testing::noise(1000, 7)}) {
    std::filesystem::remove_all(cache.path() / "models--org--name");
    std::filesystem::create_directories(blobs);
    std::ofstream(part) << left;
    CHECK(outcome(hub, hub_options(hub, cache.path())).empty());
    CHECK_FALSE(std::filesystem::exists(part));
  }
}

TEST_CASE("a range of another file or position starts over") {
  const auto files = small_model();
  const std::string& content = files.at(weights);
  const auto range = [&](const char* text, const char* headers) {
    return answer("206 Partial Content", content.substr(50'000),
                  std::string("Content-Range: bytes ") + text + "\r\n" + headers);
  };
  for (const Reply& wrong : {range("50000-299999/300000", ""), range("100000-299999/200", ""),
                             answer("416 Range Not Satisfiable", "")}) {
    const testing::TempDir cache;
    const HubServer hub(
        files, [&](const std::string& path, const std::string&, int count) -> std::optional<Reply> {
          if (path != weights || count > 1) return std::nullopt;
          return count == 0 ? cut(content, 100'000) : wrong;
        });
    CHECK(outcome(hub, hub_options(hub, cache.path())).empty());
  }
  const testing::TempDir cache;  // another ETag: the file has changed meanwhile
  const HubServer hub(
      files,
      [&](const std::string& path, const std::string& head, int count) -> std::optional<Reply> {
        if (path != weights) return std::nullopt;
        const std::string old = "ETag: \"old\"\r\n";
        if (count > 0) return HubServer::file_reply(content, head, "ETag: \"new\"\r\n");
        Reply reply = answer("200 OK", testing::noise(300'000, 9), old);
        reply.parts[0].resize(150'000);
        return reply;
      });
  CHECK(outcome(hub, hub_options(hub, cache.path())).empty());
}

TEST_CASE("false sizes are found out") {
  const auto files = small_model();
  const std::string& content = files.at(weights);
  const Reply endless{.parts = {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content + "more"}};
  for (const Reply& wrong : {answer("200 OK", content + "more"), endless,
                             answer("200 OK", content.substr(0, 1000)), cut(content, 0)}) {
    const testing::TempDir cache;
    const HubServer hub(files, at_first(1000, wrong));
    std::string message;
    CHECK(outcome(hub, hub_options(hub, cache.path()), &message) == "fetch_failed");
    CAPTURE(message);
    CHECK(message.find("/org/name/resolve/main/model.safetensors") != std::string::npos);
    CHECK_FALSE(something_visible(cache.path(), hub));
  }
}

TEST_CASE("content with another hash is fetched once more and then refused") {
  const auto files = small_model();
  for (const auto& [path, faults] : {std::pair{weights, 1}, {weights, 1000}}) {
    const testing::TempDir cache;
    const HubServer hub(files, at_first(faults, answer("200 OK", testing::noise(300'000, 5))));
    std::string message;
    const std::string code = outcome(hub, hub_options(hub, cache.path()), &message);
    CHECK(code == (faults == 1 ? "" : "fetch_failed"));
    if (faults == 1) continue;
    CHECK(message.find(HubServer::sha256_of(files.at(weights))) != std::string::npos);
    CHECK_FALSE(something_visible(cache.path(), hub));
  }
  const testing::TempDir cache;  // a file that Git keeps
  const HubServer hub(files,
                      [](const std::string& path, const std::string&, int) -> std::optional<Reply> {
                        if (path != "config.json") return std::nullopt;
                        return answer("200 OK", "{\"model_type\": \"idefixx\"}");
                      });
  CHECK(outcome(hub, hub_options(hub, cache.path())) == "fetch_failed");
  CHECK_FALSE(std::filesystem::exists(cache.path() / "models--org--name" / "snapshots"));
}

TEST_CASE("redirects are followed, and the token stays with the hub") {
  const testing::TempDir cache;
  const auto files = small_model();
  std::string elsewhere;
  const HubServer other(
      files, [&](const std::string& path, const std::string& head, int) -> std::optional<Reply> {
        if (path != "/cdn") return std::nullopt;
        elsewhere = head;
        return HubServer::file_reply(files.at(weights), head, "ETag: \"cdn\"\r\n");
      });
  const HubServer hub(
      files, [&](const std::string& path, const std::string&, int) -> std::optional<Reply> {
        if (path == weights) return answer("307 Temporary Redirect", "", "Location: /next\r\n");
        if (path != "/next") return std::nullopt;
        return answer("302 Found", "moved",
                      "Location: " + other.root() + "/cdn\r\nX-Linked-Etag: \"" +
                          HubServer::sha256_of(files.at(weights)) + "\"\r\n");
      });
  PullOptions options = hub_options(hub, cache.path());
  options.token = "secret";
  CHECK(outcome(hub, options).empty());
  CHECK_FALSE(elsewhere.empty());
  CHECK(elsewhere.find("secret") == std::string::npos);
  for (const auto& [target, head] : hub.requests())
    CHECK(head.find("Authorization: Bearer secret\r\n") != std::string::npos);
}

TEST_CASE("redirects that do not end, or lead to a newer file, are refused") {
  const auto files = small_model();
  const std::string newer =
      "Location: /next\r\nX-Linked-Etag: \"" + std::string(64, 'e') + "\"\r\n";
  struct Row {
    Reply reply;
    const char *code, *why;
  };
  const Row rows[] = {
      {answer("302 Found", "", "Location: /org/name/resolve/main/model.safetensors\r\n"),
       "fetch_failed", "too many redirects"},
      {answer("302 Found", "", "Location: ftp://localhost/x\r\n"), "url_refused", "only http"},
      {answer("302 Found", "", newer), "fetch_failed", "has changed"}};
  for (const auto& [reply, code, why] : rows) {
    const testing::TempDir cache;
    const HubServer hub(files,
                        [&, &reply = reply](const std::string& path, const std::string& head,
                                            int) -> std::optional<Reply> {
                          if (path == weights) return reply;
                          if (path == "/next")
                            return HubServer::file_reply(files.at(weights), head);
                          return std::nullopt;
                        });
    std::string message;
    CHECK(outcome(hub, hub_options(hub, cache.path()), &message) == code);
    CHECK(message.find(why) != std::string::npos);
    CHECK_FALSE(something_visible(cache.path(), hub));
  }
}

TEST_CASE("a busy hub is asked again after the time that it names") {
  const testing::TempDir cache;
  const HubServer hub(
      small_model(),
      [](const std::string& path, const std::string&, int count) -> std::optional<Reply> {
        if (count > 0) return std::nullopt;
        if (path == weights)
          return answer("429 Too Many Requests", "slow down", "Retry-After: 1\r\n");
        return answer("503 Service Unavailable", "");
      });
  const auto begin = std::chrono::steady_clock::now();
  CHECK(outcome(hub, hub_options(hub, cache.path())).empty());
  CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::seconds(1));
}

TEST_CASE("statuses that stay become errors that say what to do") {
  struct Row {
    const char *status, *headers, *code, *word;
  };
  for (const Row& row :
       {Row{"401 Unauthorized", "", "fetch_failed", "HF_TOKEN"},
        Row{"403 Forbidden", "", "fetch_failed", "HF_TOKEN"},
        Row{"404 Not Found", "", "model_not_found", "no such"},
        Row{"410 Gone", "", "fetch_failed", "410"},
        Row{"416 Range Not Satisfiable", "", "fetch_failed", "416"},
        Row{"429 Too Many Requests", "Retry-After: 86400\r\n", "fetch_failed", "86400"},
        Row{"500 Internal Server Error", "", "fetch_failed", "500"},
        Row{"503 Service Unavailable", "", "fetch_failed", "3 times"}})
    for (const bool listing : {false, true}) {
      const testing::TempDir cache;
      const HubServer hub(
          small_model(),
          [&](const std::string& path, const std::string&, int) -> std::optional<Reply> {
            if (listing ? path.starts_with("/api") : path == weights)
              return answer(row.status, "a page about it", row.headers);
            return std::nullopt;
          });
      std::string message;
      CAPTURE(row.status, listing);
      CHECK(outcome(hub, hub_options(hub, cache.path()), &message) == row.code);
      CHECK(message.find(row.word) != std::string::npos);
      CHECK_FALSE(something_visible(cache.path(), hub));
    }
}

TEST_CASE("slow transfers go on, and silent ones are continued") {
  const testing::TempDir cache;
  const auto files = small_model();
  const HubServer hub(
      files,
      [&](const std::string& path, const std::string& head, int count) -> std::optional<Reply> {
        if (path != weights) return std::nullopt;
        const Reply whole = HubServer::file_reply(files.at(weights), head);
        const std::string& text = whole.parts[0];
        if (count == 0)  // says nothing for longer than the limit
          return Reply{.parts = {text.substr(0, 50'000), text.substr(50'000)},
                       .pause = std::chrono::milliseconds(4000)};
        Reply slow{.parts = {}, .pause = std::chrono::milliseconds(150)};
        for (std::size_t at = 0; at < text.size(); at += 30'000)
          slow.parts.push_back(text.substr(at, 30'000));
        return slow;
      });
  CHECK(outcome(hub, hub_options(hub, cache.path())).empty());
}

TEST_CASE("listings that make no sense are refused") {
  const auto entry = [](const char* path, const char* size) {
    return std::string(R"([{"type":"file","oid":"x","path":")") + path + R"(","size":)" + size +
           "}]";
  };
  for (const std::string& tree :
       {std::string("{}"), std::string("[3]"), std::string("[{\"type\":\"file\"}]"),
        entry("../config.json", "3"), entry("/etc/config.json", "3"), entry("a//b", "3"),
        entry("config.json", "-3"), entry("config.json", "\\\"3\\\""), entry("config.json", "1e30"),
        std::string("not json")}) {
    const testing::TempDir cache;
    const HubServer hub(
        small_model(),
        [&](const std::string& path, const std::string&, int) -> std::optional<Reply> {
          if (path.find("/tree/") == std::string::npos) return std::nullopt;
          return answer("200 OK", tree);
        });
    const std::string code = outcome(hub, hub_options(hub, cache.path()));
    CAPTURE(tree);
    CHECK((code == "fetch_failed" || code == "invalid_json"));
    CHECK_FALSE(something_visible(cache.path(), hub));
  }
}

TEST_CASE("a disk that is too small is found before anything is fetched") {
  const testing::TempDir cache;
  HubServer hub(small_model());
  Json huge = HubServer::entry_of(weights, hub.files().at(weights));
  huge["lfs"]["size"] = std::uint64_t{1} << 60;
  hub.list(weights, huge);
  std::string message;
  CHECK(outcome(hub, hub_options(hub, cache.path()), &message) == "io_failure");
  CHECK(message.find("space") != std::string::npos);
  for (const auto& [target, head] : hub.requests()) CHECK(target.starts_with("/api/"));
}

TEST_CASE("a pull that its caller stops leaves a part, which the next one continues") {
  const testing::TempDir cache;
  const auto files = small_model();
  const HubServer hub(
      files,
      [&](const std::string& path, const std::string& head, int count) -> std::optional<Reply> {
        if (path != weights || count > 0) return std::nullopt;
        const std::string text = HubServer::file_reply(files.at(weights), head).parts[0];
        return Reply{.parts = {text.substr(0, 150'000), text.substr(150'000)},
                     .pause = std::chrono::milliseconds(700)};
      });
  PullOptions options = hub_options(hub, cache.path());
  options.progress = [](const Progress& p) { return p.done < 100'000; };
  CHECK(outcome(hub, options) == "cancelled");
  CHECK_FALSE(something_visible(cache.path(), hub));
  CHECK(outcome(hub, hub_options(hub, cache.path())).empty());
}
