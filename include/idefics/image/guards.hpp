// Checks before any decoder sees a file: limits of size, and reads that stay within the file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <idefics/image/image.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline void check_size(std::uint64_t width, std::uint64_t height, const ImageLimits& limits,
                       const std::string& name) {
  if (width == 0 || height == 0)
    fail(ErrorCode::invalid_image, "the picture has no pixels", {.file = name});
  const std::string size = std::to_string(width) + " x " + std::to_string(height) + " pixels";
  if (width > limits.max_side || height > limits.max_side)
    fail(ErrorCode::image_too_large, size,
         {.file = name, .actual = std::max(width, height), .limit = limits.max_side});
  if (width * height > limits.max_pixels)
    fail(ErrorCode::image_too_large, size,
         {.file = name, .actual = width * height, .limit = limits.max_pixels});
}

/// Refuses a picture whose decoding needs more than the limit; `bytes` is an estimate from the
/// header.
inline void check_memory(std::uint64_t bytes, const ImageLimits& limits, const std::string& name) {
  if (bytes > limits.max_decoded_bytes)
    fail(ErrorCode::image_too_large, "decoding needs too much memory",
         {.file = name, .actual = bytes, .limit = limits.max_decoded_bytes});
}

/// Reads numbers from the bytes of a file. Reading past the end throws `invalid_image`.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(name) {}
  std::size_t size() const { return bytes_.size(); }
  const std::string& name() const { return name_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  bool has(std::uint64_t at, std::uint64_t count) const {
    return at <= bytes_.size() && count <= bytes_.size() - at;
  }
  std::uint64_t byte(std::uint64_t at) const {
    if (at >= bytes_.size())
      fail(ErrorCode::invalid_image, "the picture is cut off",
           {.file = name_, .actual = bytes_.size(), .limit = at + 1});
    return static_cast<std::uint64_t>(bytes_[static_cast<std::size_t>(at)]);
  }
  std::uint64_t big_endian(std::uint64_t at, unsigned count) const {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < count; ++i) value = value << 8 | byte(at + i);
    return value;
  }
  std::uint64_t little_endian(std::uint64_t at, unsigned count) const {
    std::uint64_t value = 0;
    for (unsigned i = count; i-- > 0;) value = value << 8 | byte(at + i);
    return value;
  }
  std::uint64_t number(std::uint64_t at, unsigned count, bool is_big_endian) const {
    return is_big_endian ? big_endian(at, count) : little_endian(at, count);
  }
  std::span<const std::byte> part(std::uint64_t at, std::uint64_t count) const {
    if (!has(at, count)) (void)byte(bytes_.size());
    return bytes_.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(count));
  }
  /// As much of a part as the file has, like a read in Python.
  std::span<const std::byte> part_within(std::uint64_t at, std::uint64_t count) const {
    if (at >= bytes_.size()) return {};
    return bytes_.subspan(static_cast<std::size_t>(at),
                          static_cast<std::size_t>(std::min<std::uint64_t>(count, size() - at)));
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& name_;
};

inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline bool starts_with(std::span<const std::byte> bytes, std::string_view magic) {
  return text_of(bytes).starts_with(magic);
}

}}}  // namespace idefics::v0::detail
