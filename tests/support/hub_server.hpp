// A hub on loopback with one repository, org/name, whose answers a test can replace one by one.
#pragma once

#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <idefics/io/hub/pull.hpp>
#include <idefics/io/json.hpp>

#include "support/http_server.hpp"

namespace testing {

class HubServer {
 public:
  /// Returns what to answer instead of the file, or nothing. `count` is that of earlier requests for
  /// the same target.
  using Fault = std::function<std::optional<Reply>(const std::string& path, const std::string& head,
                                                   int count)>;
  using Files = std::map<std::string, std::string>;  // content by path
  static inline const std::string commit = std::string(38, 'c') + "01";

  explicit HubServer(Files files, Fault fault = {})
      : files_(std::move(files)),
        fault_(std::move(fault)),
        server_([this](const std::string& target,
                       const std::string& head) { return respond(target, head); },
                true) {
    for (const char* name : {"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy",
                             "ALL_PROXY", "HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"})
      ::unsetenv(name);
  }

  std::string root() const { return server_.root(); }
  const Files& files() const { return files_; }
  /// Targets and heads of all requests so far.
  std::vector<std::pair<std::string, std::string>> requests() const {
    const std::scoped_lock lock(mutex_);
    return requests_;
  }
  /// Replaces what the hub lists for a path.
  void list(const std::string& path, idefics::Json entry) { listed_[path] = std::move(entry); }

  static std::string sha256_of(const std::string& content) {
    idefics::detail::Sha256 digest;
    digest.add(content);
    return digest.hex();
  }
  /// As the hub does: weights by SHA-256, other files by Git's name of the blob.
  static idefics::Json entry_of(const std::string& path, const std::string& content) {
    idefics::detail::FileDigest git(false, content.size());
    git.add(std::as_bytes(std::span(content)));
    idefics::Json entry{
        {"type", "file"}, {"path", path}, {"size", content.size()}, {"oid", git.hex()}};
    if (path.ends_with(".safetensors") || path.ends_with(".bin"))
      entry["lfs"] = {{"oid", sha256_of(content)}, {"size", content.size()}};
    return entry;
  }
  /// The file, from the position that the request asks for.
  static Reply file_reply(const std::string& content, const std::string& head,
                          const std::string& headers = "") {
    const auto range = head.find("Range: bytes=");
    if (range == std::string::npos) return answer("200 OK", content, headers);
    const auto first = static_cast<std::size_t>(std::atoll(head.c_str() + range + 13));
    if (first >= content.size()) return answer("416 Range Not Satisfiable", "");
    return answer("206 Partial Content", content.substr(first),
                  headers + "Content-Range: bytes " + std::to_string(first) + "-" +
                      std::to_string(content.size() - 1) + "/" + std::to_string(content.size()) +
                      "\r\n");
  }

 private:
  Reply respond(const std::string& target, const std::string& head) {
    int count = 0;
    {
      const std::scoped_lock lock(mutex_);
      for (const auto& [earlier, text] : requests_) count += earlier == target;
      requests_.emplace_back(target, head);
    }
    const std::string resolve = "/org/name/resolve/main/";
    const std::string path =
        target.starts_with(resolve) ? unescaped(target.substr(resolve.size())) : target;
    if (fault_)
      if (auto reply = fault_(path, head, count)) return *reply;
    if (target == "/api/models/org/name/revision/main")
      return answer("200 OK", idefics::Json{{"sha", commit}}.dump());
    if (target == "/api/models/org/name/tree/main?recursive=true") {
      idefics::Json list = idefics::Json::array();
      list.push_back({{"type", "directory"}, {"path", "docs"}});
      for (const auto& [name, content] : files_)
        list.push_back(listed_.contains(name) ? listed_[name] : entry_of(name, content));
      return answer("200 OK", list.dump());
    }
    const auto file = files_.find(path);
    return file == files_.end() ? answer("404 Not Found", "no such page")
                                : file_reply(file->second, head);
  }

  Files files_;
  static std::string unescaped(const std::string& url) {
    std::string text;
    for (std::size_t i = 0; i < url.size(); ++i) {
      const bool escape = url[i] == '%' && i + 2 < url.size();
      text += escape ? static_cast<char>(std::stoi(url.substr(i + 1, 2), nullptr, 16)) : url[i];
      i += escape ? 2 : 0;
    }
    return text;
  }

  std::map<std::string, idefics::Json> listed_;
  Fault fault_;
  mutable std::mutex mutex_;
  std::vector<std::pair<std::string, std::string>> requests_;
  HttpServer server_;
};

/// Options for a pull from the server into `cache`, with short pauses.
inline idefics::PullOptions hub_options(const HubServer& hub, const std::filesystem::path& cache) {
  return {.cache = cache,
          .endpoint = hub.root(),
          .attempts = 3,
          .pause = std::chrono::milliseconds(1),
          .stall = std::chrono::seconds(1)};
}

/// Bytes that do not repeat, so that a wrong position shows.
inline std::string noise(std::size_t count, unsigned seed = 1) {
  std::string text(count, '\0');
  for (char& c : text) {
    seed = seed * 1664525u + 1013904223u;
    c = static_cast<char>(seed >> 24);
  }
  return text;
}

}  // namespace testing
