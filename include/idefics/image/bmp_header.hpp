// The header of a BMP, in all of its versions.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct BmpHeader {
  std::uint64_t size = 0;  // of the header: identifies its version
  std::uint64_t width = 0, height = 0;
  bool top_down = false;
  std::uint64_t bits = 0, compression = 0, colours = 0;
  std::array<std::uint64_t, 4> masks{};   // bits of red, green, blue and alpha
  std::uint64_t palette = 0, pixels = 0;  // offsets in the file
};

inline constexpr std::uint64_t bmp_plain = 0, bmp_rle8 = 1, bmp_rle4 = 2, bmp_bitfields = 3;

[[noreturn]] inline void refuse_bmp(const std::string& what, const std::string& name) {
  fail(ErrorCode::unsupported_image, "unsupported BMP: " + what, {.file = name});
}

/// The fields after the size, in every header but the oldest.
inline void read_bmp_fields(const ByteReader& in, BmpHeader& bmp) {
  bmp.width = in.little_endian(18, 4), bmp.height = in.little_endian(22, 4);
  bmp.top_down = in.byte(25) == 0xff;
  if (bmp.top_down) bmp.height = (std::uint64_t{1} << 32) - bmp.height;
  bmp.bits = in.little_endian(28, 2), bmp.compression = in.little_endian(30, 4);
  bmp.colours = in.little_endian(46, 4);
  if (bmp.compression != bmp_bitfields) return;
  for (std::uint64_t c = 0; c < (bmp.size >= 56 ? 4u : 3u); ++c)
    bmp.masks[c] = in.little_endian(54 + 4 * c, 4);
}

inline BmpHeader read_bmp_header(const ByteReader& in, const ImageLimits& limits,
                                 const std::string& name) {
  BmpHeader bmp{.size = in.little_endian(14, 4)};
  constexpr std::array<std::uint64_t, 7> known{12, 40, 52, 56, 64, 108, 124};
  if (std::ranges::find(known, bmp.size) == known.end())
    refuse_bmp("a header of " + std::to_string(bmp.size) + " bytes", name);
  (void)in.part(14, bmp.size);
  if (bmp.size == 12) {
    bmp.width = in.little_endian(18, 2), bmp.height = in.little_endian(20, 2);
    bmp.bits = in.little_endian(24, 2);
  } else {
    read_bmp_fields(in, bmp);
  }
  check_size(bmp.width, bmp.height, limits, name);
  constexpr std::array<std::uint64_t, 6> depths{1, 4, 8, 16, 24, 32};
  if (std::ranges::find(depths, bmp.bits) == depths.end())
    refuse_bmp(std::to_string(bmp.bits) + " bits per pixel", name);
  if (bmp.compression > bmp_bitfields)
    refuse_bmp("compression " + std::to_string(bmp.compression), name);
  if (bmp.colours == 0) bmp.colours = std::uint64_t{1} << bmp.bits;
  bmp.palette = 14 + bmp.size;
  const bool masks_follow = bmp.compression == bmp_bitfields && bmp.size == 40;
  bmp.pixels = in.little_endian(10, 4);
  // A palette is present even if the offset of the pixels leaves no space for it.
  if (bmp.bits <= 8 && bmp.pixels == bmp.palette) bmp.pixels += 4 * bmp.colours;
  if (bmp.bits <= 8 && bmp.pixels == 0)
    bmp.pixels = bmp.palette + (bmp.size == 12 ? 3 : 4) * bmp.colours;
  if (bmp.pixels == 0) bmp.pixels = bmp.palette + (masks_follow ? 12 : 0);
  return bmp;
}

}}}  // namespace idefics::v0::detail
