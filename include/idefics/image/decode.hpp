// Detects the format of a picture file and calls its decoder (docs/layers/preprocessing.md).
#pragma once

#include <idefics/core/config.hpp>
#include <idefics/image/image.hpp>

#if IDEFICS_ENGINE_BODIES

#include <cstring>
#include <string>
#include <string_view>

#include <idefics/image/decode_bmp.hpp>
#include <idefics/image/decode_gif.hpp>
#include <idefics/image/decode_jpeg.hpp>
#include <idefics/image/decode_png.hpp>
#include <idefics/image/decode_webp.hpp>
#include <idefics/io/mapped_file.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

inline bool starts_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

}  // namespace detail

IDEFICS_ENGINE_INLINE Image Image::decode(std::span<const std::byte> encoded, std::string_view name,
                                          const ImageLimits& limits) {
  const std::string file(name);
  if (encoded.size() > limits.max_file_bytes)
    fail(ErrorCode::image_too_large, "the file is too large",
         {.file = file, .actual = encoded.size(), .limit = limits.max_file_bytes});
  if (detail::is_git_lfs_pointer(encoded))
    fail(ErrorCode::git_lfs_pointer, "this is a Git LFS pointer, not the picture itself",
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
       encoded.empty() ? "the file is empty" : "not a JPEG, PNG, GIF, BMP or WebP", {.file = file});
}

IDEFICS_ENGINE_INLINE Image Image::open(const std::filesystem::path& path,
                                        const ImageLimits& limits) {
  const std::string file =
      detail::read_file(path, limits.max_file_bytes, ErrorCode::image_too_large);
  return decode(std::as_bytes(std::span(file)), path.string(), limits);
}

}}  // namespace idefics::v0

#endif
