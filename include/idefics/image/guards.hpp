// Checks that run before any decoder sees a file: sizes, and the structure of a PNG.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include <idefics/image/image.hpp>

namespace idefics::inline v0::detail {

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

/// Reads numbers from a file's bytes; whoever asks beyond the end gets `invalid_image`.
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

/// CRC-32 of PNG (ISO 3309).
inline std::uint32_t crc32(std::span<const std::byte> bytes) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = (c & 1) != 0 ? 0xedb88320u ^ (c >> 1) : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  std::uint32_t crc = 0xffffffffu;
  for (const std::byte b : bytes)
    crc = table[(crc ^ static_cast<std::uint32_t>(b)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

/// What a walk over the chunks of a PNG finds out.
struct PngHeader {
  std::uint64_t width = 0, height = 0;
  unsigned depth = 0,
           colour_type = 0;   // 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha
  bool transparency = false;  // a tRNS chunk
  std::uint16_t transparent_grey = 0;
};

/// Walks the chunk list against the real size of the file: lengths, checksums, and an end.
inline PngHeader scan_png(std::span<const std::byte> bytes, const std::string& name,
                          const ImageLimits& limits) {
  const ByteReader in(bytes, name);
  auto refuse = [&name](const char* why, std::uint64_t at) {
    fail(ErrorCode::invalid_image, why, {.file = name, .offset = at});
  };
  PngHeader png;
  std::uint64_t pixels = 0;
  for (std::uint64_t at = 8;;) {
    const std::uint64_t length = in.big_endian(at, 4), type = in.big_endian(at + 4, 4);
    const auto body = in.part(at + 4, length + 4);
    if (crc32(body) != in.big_endian(at + 8 + length, 4))
      refuse("a PNG chunk has a wrong checksum", at);
    if ((at == 8) != (type == 0x49484452)) refuse("a PNG begins with its one header", at);  // IHDR
    if (at == 8) {
      if (length != 13) refuse("the header of the PNG has a wrong length", at);
      png.width = in.big_endian(16, 4), png.height = in.big_endian(20, 4);
      png.depth = static_cast<unsigned>(in.byte(24)),
      png.colour_type = static_cast<unsigned>(in.byte(25));
      check_size(png.width, png.height, limits, name);
    } else if (type == 0x74524e53) {  // tRNS
      png.transparency = true;
      if (length >= 2) png.transparent_grey = static_cast<std::uint16_t>(in.big_endian(at + 8, 2));
    } else if (type == 0x49444154) {  // IDAT
      if (length == 0 && pixels == 0)
        refuse("the pixel data of the PNG begins with an empty chunk", at);
      pixels += length;
    } else if (type == 0x49454e44) {  // IEND
      break;
    }
    at += 12 + length;
  }
  if (pixels == 0) refuse("the PNG has no pixel data", 8);
  return png;
}

}  // namespace idefics::inline v0::detail
