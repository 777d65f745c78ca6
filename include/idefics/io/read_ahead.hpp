// Prefetches tensors from disk before they are read, given the order in which they will be read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <idefics/io/checkpoint.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class ReadAhead {
 public:
  /// `names`: tensors of `checkpoint`, in the order in which they will be read.
  ReadAhead(const Checkpoint& checkpoint, std::vector<std::string> names)
      : checkpoint_(&checkpoint), names_(std::move(names)) {
    std::uint64_t end = 0;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      const TensorInfo* info = checkpoint.find(names_[i]);
      ends_.push_back(end += info == nullptr ? 0 : info->end - info->begin);
      index_.emplace(names_[i], i);
    }
  }

  /// Call when `name` is about to be read: prefetches the tensors after it, to keep the disk busy,
  /// and makes sure that it can be read. Throws `file_changed`.
  void reach(const std::string& name) {
    constexpr std::uint64_t window = 256 << 20;  // bytes to prefetch ahead
    const auto position = index_.find(name);
    if (position == index_.end()) return;
    const std::uint64_t limit = ends_[position->second] + window;
    for (; next_ < names_.size() && (next_ <= position->second || ends_[next_] <= limit); ++next_)
      checkpoint_->prefetch(names_[next_]);
    checkpoint_->require_readable(name);
  }

 private:
  const Checkpoint* checkpoint_;
  std::vector<std::string> names_;
  std::vector<std::uint64_t> ends_;  // of names_, in bytes from the beginning of the first
  std::map<std::string, std::size_t> index_;
  std::size_t next_ = 0;
};

}}}  // namespace idefics::v0::detail
