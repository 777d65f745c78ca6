// Bytes of a checkpoint's files that become resident along with the weights used in place: touching
// a page also maps the pages around it that the system has cached.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <idefics/model/weights.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Ranges of files, widened to the windows in which the system maps pages.
class MappedPages {
 public:
  /// The default of Linux's fault_around_bytes.
  static constexpr std::uint64_t window = 64 << 10;

  void add(const Checkpoint& checkpoint, const std::string& name) {
    const TensorInfo* info = checkpoint.find(name);
    if (info == nullptr || info->begin == info->end) return;
    weights_ = weights_ + (info->end - info->begin);
    windows_[checkpoint.file_of(name)].push_back({info->begin / window, (info->end - 1) / window});
  }

  /// Mapped bytes that are not part of the weights.
  std::uint64_t surplus() const {
    Checked all = 0;
    for (const auto& [file, windows] : windows_) all = all + covered(file, windows);
    return (all - std::min(all, weights_)).value();
  }

 private:
  using Windows = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // first and last

  static std::uint64_t covered(const std::filesystem::path& file, Windows windows) {
    std::ranges::sort(windows);
    std::uint64_t count = 0, next = 0;  // the first window not yet counted
    for (const auto& [first, last] : windows) {
      if (last < next) continue;
      count += last + 1 - std::max(first, next);
      next = last + 1;
    }
    std::error_code unknown;
    const std::uint64_t size = std::filesystem::file_size(file, unknown);
    const std::uint64_t past_end = unknown ? 0 : next * window - std::min(next * window, size);
    return count * window - past_end;
  }

  Checked weights_ = 0;
  std::map<std::filesystem::path, Windows> windows_;
};

}}}  // namespace idefics::v0::detail
