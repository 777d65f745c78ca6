// What of a checkpoint's files comes into memory with the weights that are used where they lie: whoever
// touches a page gets those around it that the system has at hand.
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

/// Ranges of files, widened to the windows in which pages are mapped.
class MappedPages {
 public:
  /// Linux' fault_around_bytes, unless somebody changed it.
  static constexpr std::uint64_t window = 64 << 10;

  void add(const Checkpoint& checkpoint, const std::string& name) {
    const TensorInfo* info = checkpoint.find(name);
    if (info == nullptr || info->begin == info->end) return;
    weights_ = weights_ + (info->end - info->begin);
    windows_[checkpoint.file_of(name)].push_back({info->begin / window, (info->end - 1) / window});
  }

  /// Bytes beside the weights.
  std::uint64_t beside() const {
    Checked all = 0;
    for (const auto& [file, windows] : windows_) all = all + covered(file, windows);
    return (all - std::min(all, weights_)).value();
  }

 private:
  using Windows = std::vector<std::pair<std::uint64_t, std::uint64_t>>;  // first and last

  static std::uint64_t covered(const std::filesystem::path& file, Windows windows) {
    std::ranges::sort(windows);
    std::uint64_t count = 0, next = 0;  // the first window that is not counted yet
    for (const auto& [first, last] : windows) {
      if (last < next) continue;
      count += last + 1 - std::max(first, next);
      next = last + 1;
    }
    std::error_code unknown;
    const std::uint64_t size = std::filesystem::file_size(file, unknown);
    const std::uint64_t behind = unknown ? 0 : next * window - std::min(next * window, size);
    return count * window - behind;
  }

  Checked weights_ = 0;
  std::map<std::filesystem::path, Windows> windows_;
};

}}}  // namespace idefics::v0::detail
