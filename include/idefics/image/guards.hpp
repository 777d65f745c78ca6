// Checks before any decoder sees a file: limits of size, and reads that stay within the file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include <idefics/image/image.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline bool exceeds(std::uint64_t width, std::uint64_t height, const ImageLimits& limits) {
  return width > limits.max_side || height > limits.max_side || width * height > limits.max_pixels;
}

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

/// Reads numbers from the bytes of a file. Reading past the end throws `invalid_image`.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(name) {}
  std::size_t size() const { return bytes_.size(); }
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
  std::span<const std::byte> part(std::uint64_t at, std::uint64_t count) const {
    if (at > bytes_.size() || count > bytes_.size() - at) (void)byte(bytes_.size());
    return bytes_.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(count));
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& name_;
};

}}}  // namespace idefics::v0::detail
