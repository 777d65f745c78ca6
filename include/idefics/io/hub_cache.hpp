// Finds a model: a directory, or a repository in the local Hugging Face cache, never the network
// (io/hub/pull.hpp fetches).
//
//   <root>/models--ORG--NAME/refs/REVISION        a commit id
//   <root>/models--ORG--NAME/snapshots/COMMIT/…   the files
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/checkpoint.hpp>

namespace idefics { inline namespace v0 {

/// Looks up an environment variable; tests pass their own function. An unset variable is "".
using Environment = std::function<std::string(const char*)>;

inline std::string process_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

namespace detail {

/// A path with "~" and variables ("$HOME", "${HOME}") replaced, as Python's expanduser and
/// expandvars do. Variables that are unset stay as they are.
inline std::string expanded_path(std::string path, const Environment& environment) {
  if (path == "~" || path.starts_with("~/")) path.replace(0, 1, environment("HOME"));
  const auto in_name = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  std::string result;
  for (std::size_t i = 0; i < path.size();) {
    const bool braces = path.compare(i, 2, "${") == 0;
    const std::size_t first = i + (braces ? 2 : 1);
    std::size_t end = first;
    while (path[i] == '$' && end < path.size() && in_name(path[end])) ++end;
    const bool closed = !braces || (end < path.size() && path[end] == '}');
    const std::string value =
        end > first && closed ? environment(path.substr(first, end - first).c_str()) : "";
    if (value.empty()) {
      result.push_back(path[i++]);
      continue;
    }
    result.append(value);
    i = end + (braces ? 1 : 0);
  }
  return result;
}

}  // namespace detail

/// The root of the cache, according to the rules of transformers and huggingface_hub.
inline std::filesystem::path hub_cache_root(const Environment& environment = process_environment) {
  const auto expanded = [&](std::string path) {
    return std::filesystem::path(detail::expanded_path(std::move(path), environment));
  };
  for (const char* name :
       {"TRANSFORMERS_CACHE", "PYTORCH_TRANSFORMERS_CACHE", "PYTORCH_PRETRAINED_BERT_CACHE",
        "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const auto value = environment(name); !value.empty()) return expanded(value);
  if (const auto home = environment("HF_HOME"); !home.empty()) return expanded(home) / "hub";
  if (const auto cache = environment("XDG_CACHE_HOME"); !cache.empty())
    return expanded(cache) / "huggingface" / "hub";
  return std::filesystem::path(environment("HOME")) / ".cache" / "huggingface" / "hub";
}

namespace detail {

/// Whether `name` can be a part of a repository id or a revision: the hub allows its characters,
/// and it cannot lead out of the cache.
inline bool is_plain_name(std::string_view name) {
  const bool characters = std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
  return characters && !name.empty() && name != "." && name.find("..") == std::string_view::npos &&
         name.size() <= 96;
}

/// Whether `name` can be a revision: plain names, separated by slashes, as in "refs/pr/11".
inline bool is_plain_revision(std::string_view name) {
  for (;;) {
    const auto slash = name.find('/');
    if (!is_plain_name(name.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

/// A repository of the hub and a revision of it, as users write them: org/name[@revision].
struct HubName {
  std::string organization, name, revision = "main";

  std::string id() const { return organization + '/' + name; }
  std::string revision_in_url() const {
    std::string text;
    for (const char c : revision) c == '/' ? text.append("%2F") : text.append(1, c);
    return text;
  }
  std::string folder() const { return "models--" + organization + "--" + name; }  // in the cache
};

/// Nothing if the text does not have that form.
inline std::optional<HubName> parse_hub_name(std::string_view text) {
  const auto at = text.find('@');
  const std::string_view id = text.substr(0, at);
  const auto slash = id.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  HubName name{std::string(id.substr(0, slash)), std::string(id.substr(slash + 1))};
  if (at != std::string_view::npos) name.revision = text.substr(at + 1);
  const bool plain = is_plain_name(name.organization) && is_plain_name(name.name) &&
                     is_plain_revision(name.revision);
  return plain ? std::optional(name) : std::nullopt;
}

/// The shards that the index of a snapshot names and that do not exist, separated by commas.
inline std::string missing_shards(const std::filesystem::path& snapshot) {
  const auto* kind = std::ranges::find_if(weight_files, [&](const WeightFiles& files) {
    return std::filesystem::exists(snapshot / files.name) ||
           std::filesystem::exists(snapshot / files.index);
  });
  if (kind == std::end(weight_files) || std::filesystem::exists(snapshot / kind->name)) return {};
  const auto index = snapshot / kind->index;
  std::vector<std::string> missing;
  for (const auto& [tensor, shard] :
       parse_index(read_text_file(index, 64u << 20), index.string(), kind->extension))
    if (!std::filesystem::exists(snapshot / shard) &&
        std::ranges::find(missing, shard) == missing.end())
      missing.push_back(shard);
  std::ranges::sort(missing);
  std::string list;
  for (const auto& shard : missing) list += (list.empty() ? "" : ", ") + shard;
  return list;
}

inline std::filesystem::path find_snapshot(const std::filesystem::path& repository,
                                           std::string_view revision, const std::string& model,
                                           const std::string& download) {
  std::string commit(revision);
  if (const auto ref = repository / "refs" / revision; std::filesystem::is_regular_file(ref)) {
    commit = read_text_file(ref, 256);
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  }
  auto snapshot = repository / "snapshots" / commit;
  if (!is_plain_name(commit) || !std::filesystem::is_directory(snapshot))
    fail(ErrorCode::model_not_found,
         "the cache has no revision \"" + std::string(revision) + "\" of \"" + model + "\"; " +
             download,
         {.file = repository.string()});
  return snapshot;
}

}  // namespace detail

/// The directory of a model: the argument itself if it exists, else `org/name[@revision]` in the
/// cache. Throws `model_not_found`, or `missing_shard` for an incomplete snapshot; the messages
/// contain the command that fetches it.
inline std::filesystem::path resolve_model(std::string_view directory_or_repo,
                                           const Environment& environment = process_environment) {
  const std::string model(directory_or_repo);
  if (!model.empty() && std::filesystem::is_directory(model)) return model;
  const auto name = detail::parse_hub_name(model);
  if (!name)
    fail(ErrorCode::model_not_found,
         "\"" + model.substr(0, 200) +
             "\" is neither a directory nor a repository id like org/name[@revision]");
  const std::string download = "fetch it with: idefics pull " + model;
  const auto repository = hub_cache_root(environment) / name->folder();
  if (!std::filesystem::is_directory(repository))
    fail(ErrorCode::model_not_found,
         "\"" + model + "\" is neither a directory nor in the cache; " + download,
         {.file = repository.string()});
  auto snapshot = detail::find_snapshot(repository, name->revision, model, download);
  if (const std::string missing = detail::missing_shards(snapshot); !missing.empty())
    fail(ErrorCode::missing_shard, "the snapshot lacks " + missing + "; " + download,
         {.file = snapshot.string()});
  return snapshot;
}

}}  // namespace idefics::v0
