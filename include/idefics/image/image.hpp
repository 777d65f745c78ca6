// Pictures in the form that the model uses: 8-bit RGB, on white where they were transparent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include <idefics/core/checked.hpp>

namespace idefics { inline namespace v0 {

/// Limits on picture files, checked before anything is decoded.
struct ImageLimits {
  std::uint64_t max_file_bytes = 64u << 20;
  std::uint64_t max_pixels = 89'478'485;  // Pillow's bound against decompression bombs
  std::uint64_t max_side = 32'768;
  std::uint64_t max_decoded_bytes = 1u << 30;  // memory of the decoder itself
};

struct Image {
  std::int64_t width = 0, height = 0;
  std::vector<std::uint8_t> rgb;  // [Y,X,3]

  /// Decodes a file: JPEG, PNG, GIF (first frame), BMP or WebP, recognized by its first bytes. EXIF
  /// orientation is ignored, as in the reference. Throws `file_not_found`, `invalid_image`,
  /// `unsupported_image`, `image_too_large` or `git_lfs_pointer`.
  static Image open(const std::filesystem::path& path, const ImageLimits& limits = {});

  /// Decodes a file in memory; errors name it `name`.
  static Image decode(std::span<const std::byte> encoded, std::string_view name = "",
                      const ImageLimits& limits = {});

  /// From raw pixels [Y,X,channels]: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
  static Image from_pixels(std::int64_t width, std::int64_t height, int channels,
                           std::span<const std::uint8_t> pixels);
};

namespace detail {

/// One channel over white, rounded to nearest as by Pillow's alpha_composite.
constexpr std::uint8_t over_white(std::uint8_t value, std::uint8_t alpha) {
  return static_cast<std::uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
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
  const bool alpha = channels % 2 == 0, grey = channels <= 2;
  const auto step = static_cast<std::size_t>(channels);
  for (std::size_t i = 0; i < count.size(); ++i) {
    const std::uint8_t* from = &pixels[i * step];
    for (std::size_t c = 0; c < 3; ++c) {
      const std::uint8_t value = from[grey ? 0 : c];
      image.rgb[i * 3 + c] = alpha ? detail::over_white(value, from[step - 1]) : value;
    }
  }
  return image;
}

}}  // namespace idefics::v0
