// Fetches a model from the Hugging Face hub into the local cache, in the layout of huggingface_hub:
//
//   <root>/models--ORG--NAME/blobs/HASH            the files; HASH.part while they are incomplete
//   <root>/models--ORG--NAME/snapshots/COMMIT/…    links to them, once all of them are there
//   <root>/models--ORG--NAME/refs/REVISION         the commit, written last
//
//   auto directory = idefics::pull_checkpoint("HuggingFaceM4/idefics-9b-instruct");
//
// <idefics/idefics.hpp> does not include this file: programs that fetch models do.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <idefics/core/progress.hpp>
#include <idefics/io/hub/blob.hpp>
#include <idefics/io/offline.hpp>

namespace idefics { inline namespace v0 {

struct PullOptions {
  /// Patterns with * and ?, for paths in the repository. Empty: the files that this engine reads.
  std::vector<std::string> include{};
  std::filesystem::path cache{};          // unset: hub_cache_root()
  int jobs = 4;                           // files at once
  std::string endpoint{};                 // unset: HF_ENDPOINT, or https://huggingface.co
  std::string token{};                    // unset: HF_TOKEN
  bool offline = false;                   // also set by HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE
  int attempts = 6;                       // of a request that brings no new byte
  std::chrono::milliseconds pause{1000};  // before the second, doubled each time
  std::chrono::seconds stall{30};         // a transfer without a byte counts as interrupted
  /// Called on the calling thread, several times per second, in bytes ("fetching"). Returning false
  /// stops with `cancelled`; the next call continues.
  ProgressCallback progress{};
};

/// What pulling would fetch.
struct PullPlan {
  struct File : HubFile {
    std::uint64_t present = 0;  // bytes that are in the cache: all, or those of an interrupted run
  };
  std::string repository, revision, commit;
  std::filesystem::path snapshot;  // where the files will be
  std::vector<File> files{};

  std::uint64_t total_bytes() const {
    Checked sum = 0;
    for (const File& file : files) sum = sum + file.size;
    return sum.value();
  }
  std::uint64_t missing_bytes() const {
    Checked sum = 0;
    for (const File& file : files) sum = sum + (file.size - file.present);
    return sum.value();
  }
};

namespace detail {

/// Whether `text` fits a pattern in which * is any text and ? any character.
inline bool matches_pattern(std::string_view text, std::string_view pattern) {
  std::size_t t = 0, p = 0, star = pattern.npos, tried = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++, tried = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != pattern.npos) {
      p = star + 1, t = ++tried;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

/// The files of a model or adapter besides weights.
inline constexpr const char* small_files[] = {
    "config.json",           "generation_config.json",  "preprocessor_config.json",
    "processor_config.json", "tokenizer.json",          "tokenizer.model",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.json",    "chat_template.jinja",     "adapter_config.json"};

/// Whether a path is a weight file of this kind: "model.safetensors", its index, or
/// "model-00001-of-00002.safetensors".
inline bool is_weight_file(std::string_view path, const WeightFiles& kind) {
  if (path == kind.name || path == kind.index) return true;
  const std::string_view name(kind.name), stem = name.substr(0, name.find('.'));
  return matches_pattern(path, std::string(stem) + "-*-of-*" + kind.extension) &&
         path.find('/') == path.npos;
}

/// The files to fetch: those that fit a pattern, or those that this engine reads.
inline std::vector<HubFile> chosen_files(const std::vector<HubFile>& all,
                                         const std::vector<std::string>& include) {
  const WeightFiles adapters[] = {{"adapter_model.safetensors", "", ".safetensors"},
                                  {"adapter_model.bin", "", ".bin"}};
  const auto first_kind = [&](std::span<const WeightFiles> kinds) -> const WeightFiles* {
    const auto found = std::ranges::find_if(kinds, [&](const WeightFiles& kind) {
      return std::ranges::any_of(
          all, [&](const HubFile& file) { return is_weight_file(file.path, kind); });
    });
    return found == kinds.end() ? nullptr : &*found;
  };
  const WeightFiles* kinds[] = {first_kind(weight_files), first_kind(adapters)};
  const auto is_read = [&](const HubFile& file) {
    return std::ranges::find(small_files, file.path) != std::end(small_files) ||
           std::ranges::any_of(kinds, [&](const WeightFiles* kind) {
             return kind != nullptr && is_weight_file(file.path, *kind);
           });
  };
  std::vector<HubFile> chosen;
  std::ranges::copy_if(all, std::back_inserter(chosen), [&](const HubFile& file) {
    return include.empty() ? is_read(file)
                           : std::ranges::any_of(include, [&](const std::string& pattern) {
                               return matches_pattern(file.path, pattern);
                             });
  });
  if (chosen.empty() && !include.empty())
    fail(ErrorCode::invalid_option, "no file of the repository fits a pattern",
         {.field = "include"});
  if (chosen.empty())
    fail(ErrorCode::not_a_checkpoint, "the repository has no file that this engine reads");
  return chosen;
}

/// One pull: where it fetches from, and where to.
class Pull {
 public:
  Pull(std::string_view repository, const PullOptions& options) : options_(options) {
    const auto name = parse_hub_name(repository);
    if (!name)
      fail(ErrorCode::model_not_found, "\"" + std::string(repository.substr(0, 200)) +
                                           "\" is not a name of the hub: org/name[@revision]");
    name_ = *name;
    if (options.offline || offline_by_environment())
      fail(ErrorCode::url_refused, "offline: nothing is fetched");
    access_ = {.endpoint = first_of({options.endpoint, process_environment("HF_ENDPOINT"),
                                     "https://huggingface.co"}),
               .token = first_of({options.token, process_environment("HF_TOKEN")}),
               .stall = options.stall,
               .pause = options.pause,
               .attempts = options.attempts,
               .stop = &stop_};
    while (access_.endpoint.ends_with('/')) access_.endpoint.pop_back();
    root_ = (options.cache.empty() ? hub_cache_root() : options.cache) / name_.folder();
  }

  PullPlan plan() {
    auto [commit, files] = HubListing(access_, name_).ask();
    PullPlan plan{.repository = name_.id(),
                  .revision = name_.revision,
                  .commit = commit,
                  .snapshot = root_ / "snapshots" / commit};
    for (HubFile& file : chosen_files(files, options_.include)) {
      std::error_code error;
      const bool complete = has_blob(blobs(), file);
      const auto part = std::filesystem::file_size(blobs() / (file.hash + ".part"), error);
      const std::uint64_t kept = error || part > file.size || file.hash.empty() ? 0 : part;
      plan.files.push_back({std::move(file), 0});
      plan.files.back().present = complete ? plan.files.back().size : kept;
    }
    return plan;
  }

  /// Fetches the blobs of `files`, into those of the cache or another folder; returns their names. Throws `io_failure` before anything is
  /// fetched if the disk is too small for them and `more` bytes.
  std::vector<std::string> fetch(std::span<const PullPlan::File> files) {
    return fetch(files, blobs(), 0);
  }
  std::vector<std::string> fetch(std::span<const PullPlan::File> files,
                                 const std::filesystem::path& to, std::uint64_t more) {
    make_directory(to);
    check_space(files, to, more);
    std::vector<std::string> names(files.size());
    std::uint64_t total = 0;
    for (const PullPlan::File& file : files) total += has_blob(to, file) ? 0 : file.size;
    received_ = 0;
    std::atomic<std::size_t> next = 0, running = 0;
    std::mutex mutex;
    std::exception_ptr fault;
    const auto work = [&] {
      try {
        std::optional<BlobFetch> blob;
        for (std::size_t i = next++; i < files.size() && !stop_; i = next++) {
          if (!has_blob(to, files[i])) {
            if (!blob) blob.emplace(access_, name_, to, received_);
            names[i] = (*blob)(files[i]);
          } else {
            names[i] = files[i].hash;
          }
        }
      } catch (...) {
        const std::scoped_lock lock(mutex);
        if (!fault) fault = std::current_exception();
        stop_ = true;
      }
      --running;
    };
    {
      std::vector<std::jthread> threads;
      const auto jobs = std::min<std::size_t>(
          files.size(), static_cast<std::size_t>(std::clamp(options_.jobs, 1, 64)));
      running = jobs;
      for (std::size_t i = 0; i < jobs; ++i) threads.emplace_back(work);
      wait(running, total);
    }
    if (cancelled_) fail(ErrorCode::cancelled, "stopped by the caller");
    if (fault) std::rethrow_exception(fault);
    return names;
  }

  /// Makes the files visible as a snapshot: its folder appears when all of it is there.
  void publish(const PullPlan& plan, const std::vector<std::string>& names) {
    const auto hidden =
        plan.snapshot.parent_path() / ("." + plan.commit + ".part-" + std::to_string(::getpid()));
    std::error_code error;
    const bool is_new = !std::filesystem::exists(plan.snapshot, error);
    const auto& folder = is_new ? hidden : plan.snapshot;
    std::filesystem::remove_all(hidden, error);
    for (const bool config : {false, true})  // a snapshot that grows is a checkpoint at the end
      for (std::size_t i = 0; i < plan.files.size(); ++i)
        if ((plan.files[i].path == "config.json") == config)
          link(folder, plan.files[i].path, names[i]);
    if (is_new) rename(hidden, plan.snapshot);
    write_ref(root_, plan);
  }
  static void write_ref(const std::filesystem::path& root, const PullPlan& plan) {
    if (plan.commit == plan.revision) return;
    make_directory((root / "refs" / plan.revision).parent_path());
    AtomicFile ref(root / "refs" / plan.revision);
    ref.write(plan.commit);
    ref.commit();
  }

  const HubName& name() const { return name_; }
  const std::filesystem::path& root() const { return root_; }  // of the repository in the cache
  std::filesystem::path blobs() const { return root_ / "blobs"; }
  static void make_directory(const std::filesystem::path& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error)
      fail(ErrorCode::io_failure, "cannot create the directory: " + error.message(),
           {.file = path.string()});
  }
  static void rename(const std::filesystem::path& from, const std::filesystem::path& to) {
    std::error_code error;
    std::filesystem::rename(from, to, error);
    if (error)
      fail(ErrorCode::io_failure, "cannot rename: " + error.message(), {.file = from.string()});
  }

 private:
  static std::string first_of(std::initializer_list<std::string> values) {
    for (const std::string& value : values)
      if (!value.empty()) return value;
    return {};
  }

  static void check_space(std::span<const PullPlan::File> files, const std::filesystem::path& to,
                          std::uint64_t more) {
    Checked needed = more;
    for (const PullPlan::File& file : files)
      if (!has_blob(to, file)) needed = needed + (file.size - file.present);
    std::error_code error;
    const auto space = std::filesystem::space(to, error);
    if (!error && needed.value() > space.available)
      fail(ErrorCode::io_failure, "the disk has too little space for these files",
           {.file = to.string(), .actual = space.available, .limit = needed.value()});
  }

  /// Reports until all threads have ended.
  void wait(const std::atomic<std::size_t>& running, std::uint64_t total) {
    const auto report_now = [&] {
      const auto done = std::min(received_.load(), total);
      if (options_.progress && !cancelled_ && total > 0 &&
          !options_.progress(
              {"fetching", static_cast<std::int64_t>(done), static_cast<std::int64_t>(total)}))
        cancelled_ = stop_ = true;
    };
    while (running > 0) {
      report_now();
      for (int i = 0; i < 10 && running > 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    report_now();
  }

  /// Links a path of the snapshot to a blob, in place of what may be there.
  static void link(const std::filesystem::path& folder, const std::string& path,
                   const std::string& blob) {
    const auto at = folder / path;
    make_directory(at.parent_path());
    std::string target = "../../blobs/" + blob;
    for (const char c : path)
      if (c == '/') target = "../" + target;
    const auto temporary = at.string() + ".part-" + std::to_string(::getpid());
    std::error_code error;
    std::filesystem::remove(temporary, error);
    std::filesystem::create_symlink(target, temporary, error);
    if (error)
      fail(ErrorCode::io_failure, "cannot create the link: " + error.message(),
           {.file = at.string()});
    rename(temporary, at);
  }

  const PullOptions& options_;
  HubName name_;
  HubAccess access_;
  std::filesystem::path root_;
  std::atomic<bool> stop_ = false;
  bool cancelled_ = false;
  std::atomic<std::uint64_t> received_ = 0;
};

}  // namespace detail

/// What pull_checkpoint would fetch. Throws `model_not_found` if the hub does not have the
/// repository or revision, `fetch_failed` with the HTTP status, and `url_refused` when offline or
/// without libcurl.
inline PullPlan plan_pull(std::string_view repository, const PullOptions& options = {}) {
  return detail::Pull(repository, options).plan();
}

/// Fetches what the cache lacks of `repository` ("org/name[@revision]") and returns its snapshot. Each
/// file is checked by the size and hash that the hub lists, and the snapshot appears when all are
/// there. What was received before an interruption is continued. Throws what plan_pull throws,
/// `io_failure` and `cancelled`.
inline std::filesystem::path pull_checkpoint(std::string_view repository,
                                             const PullOptions& options = {}) {
  detail::Pull pull(repository, options);
  const PullPlan plan = pull.plan();
  pull.publish(plan, pull.fetch(plan.files));
  return plan.snapshot;
}

}}  // namespace idefics::v0
