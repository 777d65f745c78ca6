// BMP by Pillow's rules, some of which are its own: a palette that is a grey ramp is ignored,
// together with the number of bits in the header (see `depth` below). Only bitfields, and cursors,
// can have alpha.
#pragma once

#include <algorithm>
#include <bit>
#include <string>
#include <utility>
#include <vector>

#include <idefics/image/bmp_header.hpp>
#include <idefics/image/bmp_runs.hpp>
#include <idefics/image/palette.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The rows of a BMP, counted from the top; every row but the last is padded to a multiple of four
/// bytes.
class BmpRows {
 public:
  BmpRows(const ByteReader& in, const BmpHeader& bmp, std::uint64_t depth, const std::string& name)
      : stride_((bmp.width * bmp.bits + 31) / 32 * 4), bmp_(bmp) {
    const std::uint64_t row = (bmp.width * depth + 7) / 8;
    if (row > stride_) refuse_bmp("a grey palette with fewer than 8 bits per pixel", name);
    bytes_ = in.part(bmp.pixels, stride_ * (bmp.height - 1) + row);
  }
  const std::byte* row(std::uint64_t y) const {
    return &bytes_[(bmp_.top_down ? y : bmp_.height - 1 - y) * stride_];
  }

 private:
  std::uint64_t stride_;
  const BmpHeader& bmp_;
  std::span<const std::byte> bytes_;
};

/// Indices of 1, 4 or 8 bits, the highest bits first.
inline Bitmap decode_bmp_indices(const ByteReader& in, const BmpHeader& bmp,
                                 const std::string& name) {
  if (bmp.compression == bmp_bitfields) refuse_bmp("bitfields with a palette", name);
  auto [palette, ramp] = read_bmp_palette(in, bmp, name);
  const bool two_levels = ramp && bmp.colours == 2;
  if (ramp && !two_levels) palette = grey_palette();
  std::vector<std::uint8_t> indices;
  if (bmp.compression == bmp_plain) {
    const std::uint64_t depth = two_levels ? 1 : ramp ? 8 : bmp.bits, per_byte = 8 / depth;
    const BmpRows rows(in, bmp, depth, name);
    indices.resize(bmp.width * bmp.height);
    for (std::uint64_t i = 0; i < indices.size(); ++i) {
      const std::uint64_t x = i % bmp.width, shift = 8 - depth * (x % per_byte + 1);
      const auto packed = static_cast<unsigned>(rows.row(i / bmp.width)[x / per_byte]);
      indices[i] = static_cast<std::uint8_t>(packed >> shift & ((1u << depth) - 1));
    }
  } else {
    if (two_levels) refuse_bmp("run-length encoding of black and white", name);
    indices = unpack_bmp_runs(in, bmp.pixels, bmp.width, bmp.height, bmp.compression == bmp_rle4);
    if (!bmp.top_down)
      for (std::uint64_t y = 0; y < bmp.height / 2; ++y)
        std::swap_ranges(&indices[y * bmp.width], &indices[y * bmp.width] + bmp.width,
                         &indices[(bmp.height - 1 - y) * bmp.width]);
  }
  return apply_palette(bmp.width, bmp.height, indices, palette);
}

/// Extracts red, green and blue from a pixel of 16 bits: 5 bits each, or 6 for green.
struct Bmp16Layout {
  unsigned green_bits = 5;
  std::array<std::uint8_t, 3> operator()(unsigned pixel) const {
    auto level = [pixel](unsigned shift, unsigned bits) {
      const unsigned max = (1u << bits) - 1;
      return static_cast<std::uint8_t>((pixel >> shift & max) * 255 / max);
    };
    return {level(5 + green_bits, 5), level(5, green_bits), level(0, 5)};
  }
};

inline Bitmap decode_bmp_16(const ByteReader& in, const BmpHeader& bmp, const std::string& name) {
  Bmp16Layout layout;
  if (bmp.compression == bmp_bitfields) {
    const std::array<std::uint64_t, 3> rgb{bmp.masks[0], bmp.masks[1], bmp.masks[2]};
    if (rgb == std::array<std::uint64_t, 3>{0xf800, 0x7e0, 0x1f})
      layout.green_bits = 6;
    else if (rgb != std::array<std::uint64_t, 3>{0x7c00, 0x3e0, 0x1f})
      refuse_bmp("unusual bitfields", name);
  }
  const BmpRows rows(in, bmp, 16, name);
  Bitmap bitmap = blank_bitmap(bmp.width, bmp.height, 3);
  std::uint8_t* to = bitmap.samples.data();
  for (std::uint64_t y = 0; y < bmp.height; ++y)
    for (std::uint64_t x = 0; x < bmp.width; ++x) {
      const std::byte* pixel = rows.row(y) + 2 * x;
      const auto rgb =
          layout(static_cast<unsigned>(pixel[0]) | static_cast<unsigned>(pixel[1]) << 8);
      to = std::ranges::copy(rgb, to).out;
    }
  return bitmap;
}

/// The position in a pixel of the bytes of red, green, blue and, if `alpha`, alpha.
struct BmpByteLayout {
  std::array<std::uint8_t, 4> at{2, 1, 0, 3};
  bool alpha = false;
};

inline BmpByteLayout bmp_byte_layout(const BmpHeader& bmp, const std::string& name) {
  using Masks = std::array<std::uint64_t, 4>;
  constexpr std::uint64_t b0 = 0xff, b1 = 0xff00, b2 = 0xff0000, b3 = 0xff000000;
  constexpr std::array<Masks, 7> known{{{b2, b1, b0, 0},
                                        {b3, b2, b1, 0},
                                        {b3, b1, b0, 0},
                                        {b3, b2, b1, b0},
                                        {b0, b1, b2, b3},
                                        {b2, b1, b0, b3},
                                        {b3, b1, b0, b2}}};
  if (bmp.compression == bmp_plain) return {.alpha = bmp.bits == 32 && bmp.alpha};
  if (bmp.bits == 32 && bmp.masks == Masks{}) return {.alpha = true};
  const bool usual = bmp.bits == 24 ? std::ranges::equal(std::span(known[0]).first(3),
                                                         std::span(bmp.masks).first(3))
                                    : std::ranges::find(known, bmp.masks) != known.end();
  if (!usual) refuse_bmp("unusual bitfields", name);
  BmpByteLayout layout{.alpha = bmp.bits == 32 && bmp.masks[3] != 0};
  for (std::size_t c = 0; c < 4; ++c)
    layout.at[c] =
        static_cast<std::uint8_t>(std::countr_zero(bmp.masks[c] | std::uint64_t{1} << 31) / 8);
  return layout;
}

inline Bitmap decode_bmp_bytes(const ByteReader& in, const BmpHeader& bmp,
                               const std::string& name) {
  const BmpByteLayout layout = bmp_byte_layout(bmp, name);
  const std::size_t step = bmp.bits / 8, channels = layout.alpha ? 4 : 3;
  const BmpRows rows(in, bmp, bmp.bits, name);
  Bitmap bitmap = blank_bitmap(bmp.width, bmp.height, channels);
  std::uint8_t* to = bitmap.samples.data();
  for (std::uint64_t y = 0; y < bmp.height; ++y)
    for (std::uint64_t x = 0; x < bmp.width; ++x)
      for (std::size_t c = 0; c < channels; ++c)
        *to++ = static_cast<std::uint8_t>(rows.row(y)[x * step + layout.at[c]]);
  return bitmap;
}

/// The pixels of a BMP whose header is read.
inline Bitmap decode_bmp_pixels(const ByteReader& in, const BmpHeader& bmp,
                                const ImageLimits& limits) {
  const std::string& name = in.name();
  check_size(bmp.width, bmp.height, limits, name);
  check_memory(bmp.width * bmp.height * 5, limits, name);
  if (bmp.bits <= 8) return decode_bmp_indices(in, bmp, name);
  if (bmp.compression == bmp_rle8 || bmp.compression == bmp_rle4)
    refuse_bmp("run-length encoding without a palette", name);
  return bmp.bits == 16 ? decode_bmp_16(in, bmp, name) : decode_bmp_bytes(in, bmp, name);
}

inline Bitmap decode_bmp(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  return decode_bmp_pixels(in, read_bmp_header(in, 14, in.little_endian(10, 4), name), limits);
}

/// A BMP without its first 14 bytes.
inline Bitmap decode_dib(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  return decode_bmp_pixels(in, read_bmp_header(in, 0, 0, name), limits);
}

}}}  // namespace idefics::v0::detail
