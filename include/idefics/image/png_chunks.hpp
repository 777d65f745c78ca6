// The chunks of a PNG: checked against the actual size of the file before anything is decoded, and
// repacked with only those that define the pixels, so that stb_image sees no others.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

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

/// Chunk types: IHDR, PLTE, tRNS, IDAT, IEND.
constexpr std::uint32_t png_header = 0x49484452, png_palette = 0x504c5445,
                        png_transparency = 0x74524e53, png_pixels = 0x49444154,
                        png_end = 0x49454e44;

struct PngFile {
  std::uint64_t width = 0, height = 0;
  /// Colour types: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
  unsigned depth = 0, colour_type = 0;
  std::span<const std::byte> header, palette, transparency;  // bodies of chunks
  std::vector<std::span<const std::byte>> pixels;
};

/// Whether the format allows this depth for this colour type.
constexpr bool png_allows(unsigned colour_type, unsigned depth) {
  const bool bytes = depth == 8 || depth == 16, less = depth == 1 || depth == 2 || depth == 4;
  switch (colour_type) {
    case 0: return bytes || less;
    case 3: return depth == 8 || less;
    default: return bytes && (colour_type == 2 || colour_type == 4 || colour_type == 6);
  }
}

inline void read_png_header(const ByteReader& in, PngFile& png, const ImageLimits& limits,
                            const std::string& name) {
  png.width = in.big_endian(16, 4), png.height = in.big_endian(20, 4);
  png.depth = static_cast<unsigned>(in.byte(24));
  png.colour_type = static_cast<unsigned>(in.byte(25));
  check_size(png.width, png.height, limits, name);
  if (!png_allows(png.colour_type, png.depth))
    fail(ErrorCode::invalid_image, "the PNG has an invalid colour type or depth",
         {.file = name, .offset = 24});
}

/// Walks the chunks and checks their lengths and checksums. After the pixels the file may end
/// without an end chunk, as in Pillow.
inline PngFile scan_png(std::span<const std::byte> bytes, const std::string& name,
                        const ImageLimits& limits) {
  const ByteReader in(bytes, name);
  auto refuse = [&name](const char* why, std::uint64_t at) {
    fail(ErrorCode::invalid_image, why, {.file = name, .offset = at});
  };
  PngFile png;
  for (std::uint64_t at = 8; png.pixels.empty() || at + 8 <= in.size();) {
    const std::uint64_t length = in.big_endian(at, 4), type = in.big_endian(at + 4, 4);
    if (type == png_end) break;
    const auto body = in.part(at + 8, length);
    if (crc32(in.part(at + 4, length + 4)) != in.big_endian(at + 8 + length, 4))
      refuse("a PNG chunk has a wrong checksum", at);
    if ((at == 8) != (type == png_header)) refuse("a PNG must begin with its only header", at);
    if (type == png_header) {
      if (length != 13) refuse("the header of the PNG has a wrong length", at);
      read_png_header(in, png, limits, name);
      png.header = body;
    }
    if (type == png_palette) png.palette = body;
    if (type == png_transparency) png.transparency = body;
    if (type == png_pixels && length != 0) png.pixels.push_back(body);
    at += 12 + length;
  }
  if (png.pixels.empty()) refuse("the PNG has no pixel data", 8);
  return png;
}

/// The same pixels in a file of header, pixels and end; palette indices are declared as grey
/// levels. Checksums are zero, since stb_image ignores them.
inline std::vector<std::byte> pack_png(std::span<const std::byte> original, const PngFile& png) {
  std::vector<std::byte> file(original.begin(), original.begin() + 8);
  auto number = [&file](std::size_t value) {
    for (int shift = 24; shift >= 0; shift -= 8)
      file.push_back(static_cast<std::byte>(value >> shift & 0xff));
  };
  auto chunk = [&](std::uint32_t type, std::span<const std::byte> body) {
    number(body.size()), number(type);
    file.insert(file.end(), body.begin(), body.end());
    number(0);
  };
  chunk(png_header, png.header);
  if (png.colour_type == 3) file[25] = std::byte{0};
  for (const auto& pixels : png.pixels) chunk(png_pixels, pixels);
  chunk(png_end, {});
  return file;
}

}}}  // namespace idefics::v0::detail
