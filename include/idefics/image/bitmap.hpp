// What every decoder returns, and its last steps: transparency, orientation, RGB.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <idefics/image/exif.hpp>
#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct Bitmap {
  std::uint64_t width = 0, height = 0;
  std::size_t channels = 3;             // 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha
  std::vector<std::uint8_t> samples{};  // [Y,X,channels]
  Orientation orientation{};            // from metadata; not applied yet
};

/// A bitmap of zeros: black, and transparent if it has alpha.
inline Bitmap blank_bitmap(std::uint64_t width, std::uint64_t height, std::size_t channels) {
  return {.width = width,
          .height = height,
          .channels = channels,
          .samples = std::vector<std::uint8_t>((Checked(width) * height * channels).size())};
}

/// Where pixel (x,y) of the upright picture is in one of W x H: its column and row.
inline std::pair<std::uint64_t, std::uint64_t> upright_source(unsigned orientation, std::uint64_t x,
                                                              std::uint64_t y, std::uint64_t w,
                                                              std::uint64_t h) {
  switch (orientation) {
    case 2: return {w - 1 - x, y};
    case 3: return {w - 1 - x, h - 1 - y};
    case 4: return {x, h - 1 - y};
    case 5: return {y, x};
    case 6: return {y, h - 1 - x};
    case 7: return {w - 1 - y, h - 1 - x};
    case 8: return {w - 1 - y, x};
    default: return {x, y};
  }
}

/// Turns and mirrors a picture: the transpositions of PIL.ImageOps.exif_transpose.
inline Bitmap make_upright(Bitmap bitmap, unsigned orientation) {
  if (orientation < 2 || orientation > 8) return bitmap;
  Bitmap turned = blank_bitmap(bitmap.width, bitmap.height, bitmap.channels);
  if (orientation >= 5) std::swap(turned.width, turned.height);
  std::uint8_t* to = turned.samples.data();
  for (std::uint64_t y = 0; y < turned.height; ++y)
    for (std::uint64_t x = 0; x < turned.width; ++x) {
      const auto [column, row] = upright_source(orientation, x, y, bitmap.width, bitmap.height);
      const std::uint8_t* from = &bitmap.samples[(row * bitmap.width + column) * bitmap.channels];
      for (std::size_t c = 0; c < bitmap.channels; ++c) *to++ = from[c];
    }
  return turned;
}

/// RGB, upright if `options` ask for it.
inline Image to_image(Bitmap bitmap, const ImageOptions& options, const std::string& name) {
  if (options.exif_transpose) {
    if (bitmap.orientation.damaged)
      fail(ErrorCode::invalid_image, "the EXIF data of the picture is damaged", {.file = name});
    const auto orientation = bitmap.orientation.value;
    bitmap = make_upright(std::move(bitmap), orientation);
  }
  Image image{.width = static_cast<std::int64_t>(bitmap.width),
              .height = static_cast<std::int64_t>(bitmap.height),
              .rgb = {}};
  const std::size_t count = bitmap.samples.size() / bitmap.channels;
  std::uint8_t* from = bitmap.samples.data();
  if (bitmap.channels < 3) {
    image.rgb.resize(3 * count);
    convert_to_rgb(from, image.rgb.data(), count, bitmap.channels, options.on_white);
    return image;
  }
  if (bitmap.channels == 4) convert_to_rgb(from, from, count, 4, options.on_white);
  bitmap.samples.resize(3 * count);
  image.rgb = std::move(bitmap.samples);
  return image;
}

}}}  // namespace idefics::v0::detail
