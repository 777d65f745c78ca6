// The header of a BMP, in all of its versions, and its palette.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include <idefics/image/palette.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct BmpHeader {
  std::uint64_t size = 0;  // of the header: identifies its version
  std::uint64_t width = 0, height = 0;
  bool top_down = false;
  std::uint64_t bits = 0, compression = 0, colours = 0;
  std::array<std::uint64_t, 4> masks{};   // bits of red, green, blue and alpha
  std::uint64_t palette = 0, pixels = 0;  // offsets in the file
  bool alpha = false;                     // plain pixels of 32 bits have alpha: in a cursor

  std::uint64_t colour_bytes() const { return size == 12 ? 3 : 4; }
};

inline constexpr std::uint64_t bmp_plain = 0, bmp_rle8 = 1, bmp_rle4 = 2, bmp_bitfields = 3;

[[noreturn]] inline void refuse_bmp(const std::string& what, const std::string& name) {
  fail(ErrorCode::unsupported_image, "unsupported BMP: " + what, {.file = name});
}

/// The fields after the size, in every header but the oldest.
inline void read_bmp_fields(const ByteReader& in, std::uint64_t at, BmpHeader& bmp) {
  bmp.width = in.little_endian(at + 4, 4), bmp.height = in.little_endian(at + 8, 4);
  bmp.top_down = in.byte(at + 11) == 0xff;
  if (bmp.top_down) bmp.height = (std::uint64_t{1} << 32) - bmp.height;
  bmp.bits = in.little_endian(at + 14, 2), bmp.compression = in.little_endian(at + 16, 4);
  bmp.colours = in.little_endian(at + 32, 4);
  if (bmp.compression != bmp_bitfields) return;
  for (std::uint64_t c = 0; c < (bmp.size >= 56 ? 4u : 3u); ++c)
    bmp.masks[c] = in.little_endian(at + 40 + 4 * c, 4);
}

/// Reads the header at `at`. `pixels` is the offset of the pixels that the file says, or zero.
inline BmpHeader read_bmp_header(const ByteReader& in, std::uint64_t at, std::uint64_t pixels,
                                 const std::string& name) {
  BmpHeader bmp{.size = in.little_endian(at, 4)};
  constexpr std::array<std::uint64_t, 7> known{12, 40, 52, 56, 64, 108, 124};
  if (std::ranges::find(known, bmp.size) == known.end())
    refuse_bmp("a header of " + std::to_string(bmp.size) + " bytes", name);
  (void)in.part(at, bmp.size);
  if (bmp.size == 12) {
    bmp.width = in.little_endian(at + 4, 2), bmp.height = in.little_endian(at + 6, 2);
    bmp.bits = in.little_endian(at + 10, 2);
  } else {
    read_bmp_fields(in, at, bmp);
  }
  constexpr std::array<std::uint64_t, 6> depths{1, 4, 8, 16, 24, 32};
  if (std::ranges::find(depths, bmp.bits) == depths.end())
    refuse_bmp(std::to_string(bmp.bits) + " bits per pixel", name);
  if (bmp.compression > bmp_bitfields)
    refuse_bmp("compression " + std::to_string(bmp.compression), name);
  if (bmp.colours == 0) bmp.colours = std::uint64_t{1} << bmp.bits;
  const bool masks_follow = bmp.compression == bmp_bitfields && bmp.size == 40;
  bmp.palette = at + bmp.size + (masks_follow ? 12 : 0);
  bmp.pixels = pixels;
  // A palette is present even if the offset of the pixels leaves no space for it.
  if (bmp.bits <= 8 && bmp.pixels == 14 + bmp.size) bmp.pixels += 4 * bmp.colours;
  if (bmp.pixels == 0) bmp.pixels = bmp.palette;
  if (pixels == 0 && bmp.bits <= 8) bmp.pixels += bmp.colour_bytes() * bmp.colours;
  return bmp;
}

/// The palette, as far as the file has it.
struct BmpPalette {
  Palette colours = black_palette();
  bool ramp = true;  // of grey: 0, 255 for two colours; 0, 1, 2, … for any other number
};

inline BmpPalette read_bmp_palette(const ByteReader& in, const BmpHeader& bmp,
                                   const std::string& name) {
  if (bmp.colours > 65'536) refuse_bmp(std::to_string(bmp.colours) + " colours", name);
  const std::uint64_t bytes = bmp.colour_bytes();
  const auto data = in.part_within(bmp.palette, bytes * bmp.colours);
  BmpPalette palette;
  for (std::uint64_t i = 0; i < bmp.colours; ++i) {
    const std::uint64_t grey = bmp.colours == 2 ? 255 * i : i & 255;
    for (std::uint64_t c = 0; c < 3; ++c) {
      const std::uint64_t at = i * bytes + c;
      const bool there = at < data.size();
      palette.ramp = palette.ramp && there && static_cast<std::uint64_t>(data[at]) == grey;
      if (i < 256 && (i + 1) * bytes <= data.size())
        palette.colours[i][2 - c] = static_cast<std::uint8_t>(data[at]);
    }
  }
  if (!palette.ramp && data.size() / bytes > 256)
    refuse_bmp(std::to_string(data.size() / bytes) + " colours", name);
  return palette;
}

}}}  // namespace idefics::v0::detail
