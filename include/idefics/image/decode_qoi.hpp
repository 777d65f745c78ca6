// QOI as Pillow reads it.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include <idefics/image/bitmap.hpp>

namespace idefics { inline namespace v0 { namespace detail {

using QoiPixel = std::array<std::uint8_t, 4>;

/// The pixel that a code of one or two bytes makes of the one before. Moves `at`.
inline QoiPixel next_qoi_pixel(const ByteReader& in, std::uint64_t& at, std::uint64_t code,
                               QoiPixel pixel, const std::array<QoiPixel, 64>& seen) {
  const auto add = [&pixel](std::size_t c, std::uint64_t value) {
    pixel[c] = static_cast<std::uint8_t>(pixel[c] + value);
  };
  if (code >> 6 == 0) return seen[code];
  if (code >> 6 == 1) {
    for (std::size_t c = 0; c < 3; ++c) add(c, (code >> (4 - 2 * c) & 3) - 2);
    return pixel;
  }
  const std::uint64_t second = in.byte(at++), green = (code & 63) - 32;
  add(0, green + (second >> 4) - 8), add(1, green), add(2, green + (second & 15) - 8);
  return pixel;
}

inline Bitmap decode_qoi(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  const std::uint64_t width = in.big_endian(4, 4), height = in.big_endian(8, 4);
  const std::size_t channels = in.byte(12) == 3 ? 3 : 4;
  check_size(width, height, limits, name);
  check_memory(width * height * channels, limits, name);
  constexpr std::uint64_t longest_run = 62;
  if (width * height > longest_run * in.size()) (void)in.byte(in.size());  // cut off
  Bitmap bitmap = blank_bitmap(width, height, channels);
  std::array<QoiPixel, 64> seen{};
  QoiPixel pixel{0, 0, 0, 255};
  std::uint64_t at = 14, run = 0;
  for (std::size_t i = 0; i < bitmap.samples.size(); i += channels) {
    if (run > 0) {
      --run;
    } else if (const std::uint64_t code = in.byte(at++); code >> 6 == 3 && code < 0xfe) {
      run = code & 63;
    } else {
      const std::size_t direct = code == 0xfe ? 3 : code == 0xff ? 4 : 0;
      for (std::size_t c = 0; c < direct; ++c) pixel[c] = static_cast<std::uint8_t>(in.byte(at++));
      if (direct == 0) pixel = next_qoi_pixel(in, at, code, pixel, seen);
      seen[(pixel[0] * 3u + pixel[1] * 5u + pixel[2] * 7u + pixel[3] * 11u) % 64] = pixel;
    }
    std::copy_n(pixel.begin(), channels, &bitmap.samples[i]);
  }
  return bitmap;
}

}}}  // namespace idefics::v0::detail
