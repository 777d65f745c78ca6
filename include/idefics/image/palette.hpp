// Pictures stored as indices into a list of colours.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <idefics/image/bitmap.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// RGB and alpha of every index.
using Palette = std::array<std::array<std::uint8_t, 4>, 256>;

/// Every index is a level of grey.
constexpr Palette grey_palette() {
  Palette palette{};
  for (std::size_t i = 0; i < palette.size(); ++i) {
    const auto level = static_cast<std::uint8_t>(i);
    palette[i] = {level, level, level, 255};
  }
  return palette;
}

/// Opaque black, the colour of indices beyond the end of a short palette, as in Pillow.
constexpr Palette black_palette() {
  Palette palette{};
  for (auto& colour : palette) colour[3] = 255;
  return palette;
}

/// The colours of `indices` [Y,X]; with alpha if the palette has any.
inline Bitmap apply_palette(std::uint64_t width, std::uint64_t height,
                            std::span<const std::uint8_t> indices, const Palette& palette) {
  const bool opaque = std::ranges::all_of(palette, [](const auto& c) { return c[3] == 255; });
  Bitmap bitmap = blank_bitmap(width, height, opaque ? 3 : 4);
  std::uint8_t* to = bitmap.samples.data();
  for (const std::uint8_t index : indices)
    for (std::size_t c = 0; c < bitmap.channels; ++c) *to++ = palette[index][c];
  return bitmap;
}

/// The same for indices [Y,X], or for indices and alpha [Y,X,2].
inline Bitmap apply_palette_with_alpha(const Bitmap& indices, const Palette& palette) {
  if (indices.channels == 1)
    return apply_palette(indices.width, indices.height, indices.samples, palette);
  Bitmap bitmap = blank_bitmap(indices.width, indices.height, 4);
  for (std::size_t i = 0; i < bitmap.samples.size() / 4; ++i) {
    std::ranges::copy(palette[indices.samples[2 * i]], &bitmap.samples[4 * i]);
    bitmap.samples[4 * i + 3] = indices.samples[2 * i + 1];
  }
  return bitmap;
}

}}}  // namespace idefics::v0::detail
