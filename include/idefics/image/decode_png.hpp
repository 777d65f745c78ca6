// PNG through stb_image, with Pillow's rules for palettes, transparency and 16 bits.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <idefics/image/palette.hpp>
#include <idefics/image/png_chunks.hpp>
#include <idefics/image/stb.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// 16-bit grey levels saturate at 255 and are never transparent.
inline Image decode_png_grey16(std::span<const std::byte> file, const std::string& name,
                               const ImageLimits& limits) {
  const StbPixels<stbi_us> levels(stbi_load_16_from_memory, file, name, limits, 1);
  std::vector<std::uint8_t> pixels(levels.size());
  std::ranges::transform(levels.values(), pixels.begin(), [](stbi_us level) {
    return static_cast<std::uint8_t>(std::min<stbi_us>(level, 255));
  });
  return Image::from_pixels(levels.width(), levels.height(), 1, pixels);
}

/// The colour of each level that stb_image returns; it stretches levels of fewer than 8 bits to 0
/// to 255. A grey level is transparent if the stretched level equals the number in the tRNS chunk.
inline Palette png_palette_of(const PngFile& png, const std::string& name) {
  auto level = [](std::byte b) { return static_cast<std::uint8_t>(b); };
  if (png.colour_type == 0) {
    Palette grey = grey_palette();
    if (png.transparency.size() >= 2 && png.transparency[0] == std::byte{0})
      grey[level(png.transparency[1])][3] = 0;
    return grey;
  }
  const std::size_t colours = png.palette.size() / 3;
  if (colours == 0 || colours > 256)
    fail(ErrorCode::invalid_image, "the palette of the PNG must have 1 to 256 colours",
         {.file = name, .actual = colours});
  Palette palette = black_palette();
  const std::size_t stretch = 255u / ((1u << png.depth) - 1), levels = 1u << png.depth;
  for (std::size_t i = 0; i < levels; ++i) {
    auto& colour = palette[i * stretch];
    for (std::size_t c = 0; c < 3 && i < colours; ++c) colour[c] = level(png.palette[3 * i + c]);
    if (i < png.transparency.size()) colour[3] = level(png.transparency[i]);
  }
  return palette;
}

inline Image decode_png(std::span<const std::byte> encoded, const std::string& name,
                        const ImageLimits& limits) {
  const PngFile png = scan_png(encoded, name, limits);
  const auto file = pack_png(encoded, png);
  if (png.colour_type == 2) return decode_with_stb(file, name, limits, 3);
  if (png.colour_type >= 4) return decode_with_stb(file, name, limits, 4);
  if (png.depth == 16) return decode_png_grey16(file, name, limits);
  const Palette palette = png_palette_of(png, name);
  const StbPixels<stbi_uc> levels(stbi_load_from_memory, file, name, limits, 1);
  return apply_palette(png.width, png.height, levels.values(), palette);
}

}}}  // namespace idefics::v0::detail
