// Pictures stored as indices into a list of colours, as in GIF and BMP.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include <idefics/image/image.hpp>

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

/// The picture [Y,X,3] of `indices` [Y,X], on white where the palette is transparent.
inline Image apply_palette(std::uint64_t width, std::uint64_t height,
                           std::span<const std::uint8_t> indices, const Palette& palette) {
  Palette opaque{};
  for (std::size_t i = 0; i < palette.size(); ++i)
    for (std::size_t c = 0; c < 3; ++c) opaque[i][c] = over_white(palette[i][c], palette[i][3]);
  Image image{.width = static_cast<std::int64_t>(width),
              .height = static_cast<std::int64_t>(height),
              .rgb = std::vector<std::uint8_t>(indices.size() * 3)};
  for (std::size_t i = 0; i < indices.size(); ++i)
    for (std::size_t c = 0; c < 3; ++c) image.rgb[i * 3 + c] = opaque[indices[i]][c];
  return image;
}

}}}  // namespace idefics::v0::detail
