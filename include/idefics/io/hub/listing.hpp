// What the hub says about a repository: the commit that a revision names, and the files in it.
//
//   ENDPOINT/api/models/ORG/NAME/revision/REV              {"sha": commit, …}
//   ENDPOINT/api/models/ORG/NAME/tree/REV?recursive=true   [{"type", "path", "size", "oid", "lfs"}, …]
//   ENDPOINT/ORG/NAME/resolve/REV/PATH                     the file
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <idefics/io/hub/http.hpp>
#include <idefics/io/hub_cache.hpp>
#include <idefics/io/json.hpp>

namespace idefics { inline namespace v0 {

/// A file of a repository on the hub.
struct HubFile {
  std::string path{};
  std::uint64_t size = 0;
  std::string hash{};   // SHA-256, or Git's name of the blob; "" if the hub gives neither
  bool sha256 = false;  // which of the two
};

namespace detail {

/// Repeats what throws HubFault, with longer and longer pauses, or those that the server asks for.
class Retry {
 public:
  explicit Retry(const HubAccess& access) : access_(&access) {}

  /// Waits before another attempt, or throws `fetch_failed` if there were enough, or `cancelled`.
  void after(const HubFault& fault, const std::string& what) {
    constexpr std::uint64_t longest_wait = 600;  // seconds
    if (++faults_ >= access_->attempts || fault.wait.value_or(0) > longest_wait)
      fail(ErrorCode::fetch_failed,
           fault.wait.value_or(0) > longest_wait
               ? fault.why + ": the hub asks to wait for " + std::to_string(*fault.wait) + " s"
               : fault.why + ", " + std::to_string(faults_) + " times in a row",
           {.file = what, .actual = fault.status});
    auto left = access_->pause * (1 << std::min(faults_ - 1, 6));
    if (fault.wait) left = std::chrono::seconds(*fault.wait);
    constexpr std::chrono::milliseconds piece{20};
    for (; left.count() > 0; left -= piece) {
      check_stop(*access_);
      std::this_thread::sleep_for(std::min<std::chrono::milliseconds>(left, piece));
    }
  }
  void progressed() { faults_ = 0; }

  static void check_stop(const HubAccess& access) {
    if (access.stop != nullptr && *access.stop) fail(ErrorCode::cancelled, "stopped by the caller");
  }

 private:
  const HubAccess* access_;
  int faults_ = 0;
};

/// Whether a path of a listing stays in its folder, and can be shown.
inline bool is_plain_path(std::string_view path) {
  const bool printable = std::ranges::all_of(
      path, [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != '\\' && c != 0x7f; });
  if (!printable || path.empty() || path.size() > 500) return false;
  for (std::size_t at = 0; at <= path.size();) {
    const auto end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = end + 1;
  }
  return true;
}

/// The files in one page of a tree. Throws `fetch_failed` for a page of another form.
inline std::vector<HubFile> parse_hub_tree(std::string_view text, const std::string& url) {
  const auto refuse = [&url](const char* why) {
    fail(ErrorCode::fetch_failed, std::string("the hub lists its files in an unknown form: ") + why,
         {.file = url});
  };
  const auto is_hex = [](const std::string& hash, std::size_t digits) {
    return hash.size() == digits && hash.find_first_not_of("0123456789abcdef") == std::string::npos;
  };
  const auto field = [](const Json& entry, const char* key) {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_string() ? found->get<std::string>() : "";
  };
  const JsonDocument document = parse_document(text, url, {.bytes = 64u << 20, .depth = 16});
  const Json& json = *document;
  if (!json.is_array()) refuse("it is not an array");
  std::vector<HubFile> files;
  for (const Json& entry : json) {
    if (!entry.is_object()) refuse("an entry is not an object");
    if (field(entry, "type") != "file") continue;
    HubFile file{.path = field(entry, "path"), .hash = field(entry, "oid")};
    const Json* size = entry.contains("size") ? &entry["size"] : nullptr;
    if (const auto lfs = entry.find("lfs"); lfs != entry.end() && lfs->is_object()) {
      file.hash = field(*lfs, "oid");
      if (file.hash.starts_with("sha256:")) file.hash.erase(0, 7);
      file.sha256 = true;
      if (lfs->contains("size")) size = &(*lfs)["size"];
    }
    if (size == nullptr || !size->is_number_unsigned() || size->get<std::uint64_t>() > INT64_MAX)
      refuse("a size is not a number of bytes");
    if (!is_plain_path(file.path)) refuse("a path leads out of the repository");
    file.size = size->get<std::uint64_t>();
    if (!is_hex(file.hash, file.sha256 ? 64 : 40)) file.hash.clear(), file.sha256 = false;
    files.push_back(std::move(file));
  }
  return files;
}

/// A repository of the hub at one commit.
class HubListing {
 public:
  HubListing(const HubAccess& access, HubName name)
      : access_(access), name_(std::move(name)), client_(access) {}

  /// The commit and its files; the revision may move on meanwhile. Throws what HubClient throws.
  std::pair<std::string, std::vector<HubFile>> ask() {
    for (int i = 0; i < 3; ++i) {
      const std::string commit = ask_commit();
      std::vector<HubFile> files = ask_files();
      if (commit == name_.revision || ask_commit() == commit) return {commit, std::move(files)};
    }
    fail(ErrorCode::fetch_failed, "the revision changes all the time", {.file = api("revision")});
  }

  /// Where a file is.
  static std::string url_of(const HubAccess& access, const HubName& name, const std::string& path) {
    std::string url =
        access.endpoint + "/" + name.id() + "/resolve/" + name.revision_in_url() + "/";
    for (const char c : path) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') ||
                         std::string_view("-_.~/").find(c) != std::string_view::npos;
      const auto byte = static_cast<unsigned char>(c);
      if (plain)
        url += c;
      else
        url += {'%', "0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 15]};
    }
    return url;
  }

 private:
  std::string api(const char* what) const {
    return access_.endpoint + "/api/models/" + name_.id() + "/" + what + "/" +
           name_.revision_in_url();
  }

  std::string ask_commit() {
    const std::string url = api("revision"), text = page(url).first;
    const JsonDocument document = parse_document(text, url, {.bytes = 64u << 20, .depth = 64});
    const Json& json = *document;
    const bool known = json.is_object() && json.contains("sha") && json["sha"].is_string();
    const std::string commit = known ? json["sha"].get<std::string>() : "";
    if (!is_plain_name(commit))
      fail(ErrorCode::fetch_failed, "the hub does not name the commit of the revision",
           {.file = url, .field = "sha"});
    return commit;
  }

  std::vector<HubFile> ask_files() {
    constexpr std::size_t most = 100'000;
    std::vector<HubFile> files;
    for (std::string url = api("tree") + "?recursive=true"; !url.empty();) {
      auto [text, next] = page(url);
      auto more = parse_hub_tree(text, url);
      files.insert(files.end(), std::make_move_iterator(more.begin()),
                   std::make_move_iterator(more.end()));
      if (files.size() > most || (more.empty() && !next.empty()))
        fail(ErrorCode::fetch_failed, "the repository has too many files",
             {.file = url, .actual = files.size(), .limit = most});
      url = std::move(next);
    }
    return files;
  }

  /// The text at a URL, and the URL of the next page.
  std::pair<std::string, std::string> page(const std::string& url) {
    constexpr std::size_t longest = 64u << 20;
    Retry retry(access_);
    while (true) {
      std::string text, next;
      try {
        client_.get(
            url, 0, [&](const HubAnswer& answer) { next = answer.next_page; },
            [&](std::span<const std::byte> bytes) {
              if (bytes.size() > longest - text.size())
                fail(ErrorCode::fetch_failed, "the answer is too long",
                     {.file = url, .limit = longest});
              text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            });
        return {std::move(text), std::move(next)};
      } catch (const HubFault& fault) {
        retry.after(fault, url);
      }
    }
  }

  const HubAccess& access_;
  HubName name_;
  HubClient client_;
};

}  // namespace detail

}}  // namespace idefics::v0
