// The bytes of a file, for a parser that needs few of them: from memory, or read when it asks for
// them, so that no fault of a mapping can meet it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <idefics/io/mapped_file.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class FileBytes {
 public:
  FileBytes(std::span<const std::byte> bytes)
      : bytes_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), size_(bytes.size()) {}
  explicit FileBytes(const MappedFile& file) : file_(&file), size_(file.size()) {}

  std::uint64_t size() const { return size_; }

  /// [at, at + size), which must be inside; valid until the next call. Throws what
  /// MappedFile::read throws.
  std::string_view text(std::uint64_t at, std::uint64_t size) const {
    if (at < begin_ || at + size > begin_ + bytes_.size()) read(at, size);
    return bytes_.substr(static_cast<std::size_t>(at - begin_), static_cast<std::size_t>(size));
  }

 private:
  void read(std::uint64_t at, std::uint64_t size) const {
    constexpr std::uint64_t least = 4096;  // most requests are for a few bytes each
    buffer_.resize(Checked(std::max(size, std::min(least, size_ - at))).size());
    file_->read(at, std::as_writable_bytes(std::span(buffer_)));
    bytes_ = buffer_, begin_ = at;
  }

  const MappedFile* file_ = nullptr;
  mutable std::string buffer_;
  mutable std::string_view bytes_;  // all, or those in `buffer_`
  mutable std::uint64_t begin_ = 0;
  std::uint64_t size_;
};

}}}  // namespace idefics::v0::detail
