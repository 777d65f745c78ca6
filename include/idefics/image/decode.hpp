// Decoding, by format: which library, which guards before it, and where Pillow's rules need help.
// docs/layers/preprocessing.md lists the rules.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#ifndef IDEFICS_NO_WEBP
#include <webp/decode.h>
#endif

#include <idefics/image/decode_jpeg.hpp>
#include <idefics/image/guards.hpp>
#include <idefics/image/stb.hpp>
#include <idefics/io/mapped_file.hpp>

namespace idefics::inline v0 {

namespace detail {

/// Pixels from stb_image in `channels` channels, within the budget.
inline Image decode_with_stb(std::span<const std::byte> encoded, const std::string& name,
                             const ImageLimits& limits, int channels) {
  constexpr std::size_t max_int = 0x7fffffff;
  if (encoded.size() > max_int)
    fail(ErrorCode::image_too_large, "the file is too large", {.file = name});
  DecoderBudget::left() = limits.max_decoded_bytes;
  int width = 0, height = 0, found = 0;
  const std::unique_ptr<stbi_uc, void (*)(stbi_uc*)> pixels(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(encoded.data()),
                            static_cast<int>(encoded.size()), &width, &height, &found, channels),
      [](stbi_uc* p) { DecoderBudget::release(p); });
  if (!pixels) {
    const char* reason = stbi_failure_reason();
    const std::string why = reason == nullptr || *reason == '\0' ? "unknown" : reason;
    if (why == "outofmem")
      fail(ErrorCode::image_too_large, "decoding takes more memory than the limit",
           {.file = name, .limit = limits.max_decoded_bytes});
    fail(ErrorCode::invalid_image, "damaged picture: " + why, {.file = name});
  }
  const auto size = static_cast<std::size_t>(width) * static_cast<std::size_t>(height) *
                    static_cast<std::size_t>(channels);
  return Image::from_pixels(width, height, channels, {pixels.get(), size});
}

/// Grey, by Pillow's rules: 16-bit levels saturate at 255 and are never transparent; in others a
/// pixel is transparent where its level, stretched to 8 bits, is the number in the tRNS chunk.
inline Image decode_grey_png(std::span<const std::byte> encoded, const std::string& name,
                             const ImageLimits& limits, const PngHeader& png) {
  if (png.depth != 16) {
    Image image = decode_with_stb(encoded, name, limits, 1);
    for (std::uint8_t& level : image.rgb)
      if (png.transparency && level == png.transparent_grey) level = 255;
    return image;
  }
  DecoderBudget::left() = limits.max_decoded_bytes;
  int width = 0, height = 0, found = 0;
  const std::unique_ptr<stbi_us, void (*)(stbi_us*)> levels(
      stbi_load_16_from_memory(reinterpret_cast<const stbi_uc*>(encoded.data()),
                               static_cast<int>(encoded.size()), &width, &height, &found, 1),
      [](stbi_us* p) { DecoderBudget::release(p); });
  if (!levels) fail(ErrorCode::invalid_image, "damaged PNG", {.file = name});
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width) *
                                   static_cast<std::size_t>(height));
  for (std::size_t i = 0; i < pixels.size(); ++i)
    pixels[i] = static_cast<std::uint8_t>(std::min<stbi_us>(levels.get()[i], 255));
  return Image::from_pixels(width, height, 1, pixels);
}

inline Image decode_png(std::span<const std::byte> encoded, const std::string& name,
                        const ImageLimits& limits) {
  const PngHeader png = scan_png(encoded, name, limits);
  if (png.colour_type == 2)
    return decode_with_stb(encoded, name, limits, 3);  // RGB: transparency is ignored
  if (png.colour_type == 0) return decode_grey_png(encoded, name, limits, png);
  return decode_with_stb(encoded, name, limits, 4);
}

inline Image decode_gif(std::span<const std::byte> encoded, const std::string& name,
                        const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  check_size(in.little_endian(6, 2), in.little_endian(8, 2), limits, name);
  return decode_with_stb(encoded, name, limits, 4);
}

inline Image decode_bmp(std::span<const std::byte> encoded, const std::string& name,
                        const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  const std::uint64_t header = in.little_endian(14, 4);
  const bool old = header == 12;
  const auto magnitude = [](std::uint64_t v) {
    return v > 0x7fffffff ? (std::uint64_t{1} << 32) - v : v;
  };
  const std::uint64_t width = in.little_endian(18, old ? 2 : 4);
  const std::uint64_t height = old ? in.little_endian(20, 2) : magnitude(in.little_endian(22, 4));
  check_size(width, height, limits, name);
  const std::uint64_t bits = in.little_endian(old ? 24 : 28, 2);
  if (const std::uint64_t start = in.little_endian(10, 4), row = (width * bits + 31) / 32 * 4;
      (old || in.little_endian(30, 4) == 0 || in.little_endian(30, 4) == 3) &&
      start + row * height > in.size())
    fail(ErrorCode::invalid_image, "the picture is cut off",
         {.file = name, .actual = in.size(), .limit = start + row * height});
  // Only a file that declares a mask for alpha has alpha; in others the fourth byte means nothing.
  const bool alpha =
      bits == 32 && header >= 56 && in.little_endian(30, 4) == 3 && in.little_endian(66, 4) != 0;
  return decode_with_stb(encoded, name, limits, alpha ? 4 : 3);
}

inline Image decode_webp(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
#ifdef IDEFICS_NO_WEBP
  (void)encoded, (void)limits;
  fail(ErrorCode::unsupported_image, "WebP: this build has no libwebp", {.file = name});
#else
  const auto* data = reinterpret_cast<const std::uint8_t*>(encoded.data());
  WebPBitstreamFeatures about{};
  if (WebPGetFeatures(data, encoded.size(), &about) != VP8_STATUS_OK || about.width <= 0 ||
      about.height <= 0)
    fail(ErrorCode::invalid_image, "damaged WebP", {.file = name});
  check_size(static_cast<std::uint64_t>(about.width), static_cast<std::uint64_t>(about.height),
             limits, name);
  if (about.has_animation) fail(ErrorCode::unsupported_image, "animated WebP", {.file = name});
  const int channels = about.has_alpha ? 4 : 3, stride = about.width * channels;
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(stride) *
                                   static_cast<std::size_t>(about.height));
  const auto* good =
      about.has_alpha
          ? WebPDecodeRGBAInto(data, encoded.size(), pixels.data(), pixels.size(), stride)
          : WebPDecodeRGBInto(data, encoded.size(), pixels.data(), pixels.size(), stride);
  if (good == nullptr) fail(ErrorCode::invalid_image, "damaged WebP", {.file = name});
  return Image::from_pixels(about.width, about.height, channels, pixels);
#endif
}

#ifdef IDEFICS_NO_LIBJPEG
inline Image decode_jpeg(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  int width = 0, height = 0, channels = 0;
  DecoderBudget::left() = limits.max_decoded_bytes;
  if (!stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(encoded.data()),
                             static_cast<int>(encoded.size()), &width, &height, &channels))
    fail(ErrorCode::invalid_image, "damaged JPEG", {.file = name});
  check_size(static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height), limits, name);
  return decode_with_stb(encoded, name, limits, 3);
}
#endif

inline bool starts_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

}  // namespace detail

inline Image Image::decode(std::span<const std::byte> encoded, std::string_view name,
                           const ImageLimits& limits) {
  const std::string file(name);
  if (encoded.size() > limits.max_file_bytes)
    fail(ErrorCode::image_too_large, "the file is too large",
         {.file = file, .actual = encoded.size(), .limit = limits.max_file_bytes});
  if (is_git_lfs_pointer(encoded))
    fail(ErrorCode::git_lfs_pointer, "this is a Git LFS pointer, not the picture it stands for",
         {.file = file});
  if (detail::starts_with(encoded, "\x89PNG\r\n\x1a\n"))
    return detail::decode_png(encoded, file, limits);
  if (detail::starts_with(encoded, "\xff\xd8\xff"))
    return detail::decode_jpeg(encoded, file, limits);
  if (detail::starts_with(encoded, "GIF87a") || detail::starts_with(encoded, "GIF89a"))
    return detail::decode_gif(encoded, file, limits);
  if (detail::starts_with(encoded, "BM")) return detail::decode_bmp(encoded, file, limits);
  if (encoded.size() >= 12 && detail::starts_with(encoded, "RIFF") &&
      detail::starts_with(encoded.subspan(8), "WEBP"))
    return detail::decode_webp(encoded, file, limits);
  fail(ErrorCode::invalid_image,
       encoded.empty() ? "the file is empty" : "this is no JPEG, PNG, GIF, BMP or WebP",
       {.file = file});
}

inline Image Image::open(const std::filesystem::path& path, const ImageLimits& limits) {
  const std::string file = read_file(path, limits.max_file_bytes, ErrorCode::image_too_large);
  return decode(std::as_bytes(std::span(file)), path.string(), limits);
}

}  // namespace idefics::inline v0
