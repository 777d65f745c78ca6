// Pictures in the form that the model uses: 8-bit RGB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/core/checked.hpp>

namespace idefics { inline namespace v0 {

/// Limits on picture files, checked before anything is decoded. docs/pictures.md has what a picture
/// within them can cost.
struct ImageLimits {
  std::uint64_t max_file_bytes = 1u << 30;
  std::uint64_t warn_pixels = 89'478'485;        // above it, a warning, as by Pillow
  std::uint64_t max_pixels = 178'956'970;        // above it, Pillow refuses as well
  std::uint64_t max_side = 1u << 20;             // resizing a longer one needs gigabytes
  std::uint64_t max_decoded_bytes = 3ull << 30;  // memory of decoding, the picture included
  std::uint64_t max_scans = 100;                 // of a progressive JPEG; each costs a pass

  /// For pictures of strangers that a server decodes: a photograph of 40 megapixels passes, and no
  /// picture costs more than half a gigabyte.
  static constexpr ImageLimits for_servers() {
    return {.max_file_bytes = 32u << 20,
            .max_pixels = 40'000'000,
            .max_side = 32'768,
            .max_decoded_bytes = 512u << 20,
            .max_scans = 30};
  }
};

/// How a picture file becomes an Image. The defaults are what transformers' IdeficsImageProcessor
/// does with a PIL image.
struct ImageOptions {
  /// Turn and mirror the picture as its EXIF or XMP orientation says, like
  /// PIL.ImageOps.exif_transpose.
  bool exif_transpose = false;
  /// Put transparent pixels on white. Otherwise their transparency is dropped and their colours
  /// stay, like PIL's convert("RGB").
  bool on_white = true;
  ImageLimits limits{};
  /// Called with one line about a picture above `limits.warn_pixels`.
  std::function<void(const std::string& warning)> on_warning{};

  /// What transformers' image_utils.load_image does, through which pictures at URLs are loaded.
  static ImageOptions load_image(const ImageLimits& limits = {}) {
    return {.exif_transpose = true, .on_white = false, .limits = limits};
  }
};

struct Image {
  std::int64_t width = 0, height = 0;
  std::vector<std::uint8_t> rgb;  // [Y,X,3]

  /// Decodes a file: JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF, HEIC, PPM and its relatives, TGA, ICO,
  /// CUR or QOI, recognized by its contents; of several pages or frames the first. Throws
  /// `file_not_found`, `invalid_image`, `unsupported_image`, `image_too_large` or
  /// `git_lfs_pointer`.
  static Image open(const std::filesystem::path& path, const ImageOptions& options = {});

  /// Decodes a file in memory; errors name it `name`.
  static Image decode(std::span<const std::byte> encoded, std::string_view name = "",
                      const ImageOptions& options = {});

  /// From raw pixels [Y,X,channels]: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. Transparent
  /// ones are put on white.
  static Image from_pixels(std::int64_t width, std::int64_t height, int channels,
                           std::span<const std::uint8_t> pixels);
};

namespace detail {

/// One channel over white, rounded to nearest as by Pillow's alpha_composite.
constexpr std::uint8_t over_white(std::uint8_t value, std::uint8_t alpha) {
  return static_cast<std::uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

/// Converts `count` pixels of 1 to 4 channels to RGB. `to` may be `from`, unless the pixels grow.
inline void convert_to_rgb(const std::uint8_t* from, std::uint8_t* to, std::size_t count,
                           std::size_t channels, bool on_white) {
  const bool alpha = channels % 2 == 0 && on_white, grey = channels <= 2;
  for (std::size_t i = 0; i < count; ++i, from += channels, to += 3) {
    const std::uint8_t opacity = alpha ? from[channels - 1] : 255;
    const std::uint8_t red = from[0], green = from[grey ? 0 : 1], blue = from[grey ? 0 : 2];
    to[0] = alpha ? over_white(red, opacity) : red;
    to[1] = alpha ? over_white(green, opacity) : green;
    to[2] = alpha ? over_white(blue, opacity) : blue;
  }
}

}  // namespace detail

inline Image Image::from_pixels(std::int64_t width, std::int64_t height, int channels,
                                std::span<const std::uint8_t> pixels) {
  require(width > 0 && height > 0 && channels >= 1 && channels <= 4,
          "a picture needs pixels and 1 to 4 channels");
  const Checked count =
      Checked(static_cast<std::uint64_t>(width)) * static_cast<std::uint64_t>(height);
  require((count * static_cast<std::uint64_t>(channels)).value() == pixels.size(),
          "pixels must be [Y,X,channels]");
  Image image{
      .width = width, .height = height, .rgb = std::vector<std::uint8_t>((count * 3).size())};
  detail::convert_to_rgb(pixels.data(), image.rgb.data(), count.size(),
                         static_cast<std::size_t>(channels), true);
  return image;
}

}}  // namespace idefics::v0
