// Detects the format of a picture file and calls its decoder (docs/pictures.md).
#pragma once

#include <idefics/core/config.hpp>
#include <idefics/image/image.hpp>

#if IDEFICS_ENGINE_BODIES

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/image/decode_avif.hpp>
#include <idefics/image/decode_bmp.hpp>
#include <idefics/image/decode_gif.hpp>
#include <idefics/image/decode_heif.hpp>
#include <idefics/image/decode_ico.hpp>
#include <idefics/image/decode_jpeg.hpp>
#include <idefics/image/decode_png.hpp>
#include <idefics/image/decode_pnm.hpp>
#include <idefics/image/decode_qoi.hpp>
#include <idefics/image/decode_tga.hpp>
#include <idefics/image/decode_tiff.hpp>
#include <idefics/image/decode_webp.hpp>
#include <idefics/image/other_formats.hpp>
#include <idefics/io/mapped_file.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// A format: how its files begin, and its decoder.
struct PictureFormat {
  bool (*begins)(std::span<const std::byte>);
  Bitmap (*decode)(std::span<const std::byte>, const std::string&, const ImageLimits&);
};

/// Whether a file begins like a BMP that lacks its first 14 bytes.
inline bool is_dib(std::span<const std::byte> file) {
  constexpr std::array<unsigned, 7> sizes{12, 40, 52, 56, 64, 108, 124};
  return file.size() >= 4 &&
         std::ranges::find(sizes, static_cast<unsigned>(file[0])) != sizes.end() &&
         starts_with(file.subspan(1), std::string_view("\0\0\0", 3));
}

inline bool is_pnm(std::span<const std::byte> file) {
  return file.size() >= 2 && file[0] == std::byte{'P'} &&
         std::string_view("0123456fy").find(static_cast<char>(file[1])) != std::string_view::npos;
}

inline bool is_webp(std::span<const std::byte> file) {
  return file.size() >= 12 && starts_with(file, "RIFF") && starts_with(file.subspan(8), "WEBP");
}

inline bool is_tga(std::span<const std::byte> file) {
  return read_tga_header(ByteReader(file, {})).width != 0;
}

inline Bitmap decode_png_file(std::span<const std::byte> file, const std::string& name,
                              const ImageLimits& limits) {
  return decode_png(file, name, limits);
}

/// In the order in which Pillow tries them; TGA, which has no signature, comes last.
inline constexpr std::array picture_formats{
    PictureFormat{[](std::span<const std::byte> f) { return starts_with(f, "BM"); }, decode_bmp},
    PictureFormat{is_dib, decode_dib},
    PictureFormat{[](std::span<const std::byte> f) {
                    return starts_with(f, "GIF87a") || starts_with(f, "GIF89a");
                  },
                  decode_gif},
    PictureFormat{[](std::span<const std::byte> f) { return starts_with(f, "\xff\xd8\xff"); },
                  decode_jpeg},
    PictureFormat{is_pnm, decode_pnm},
    PictureFormat{[](std::span<const std::byte> f) { return starts_with(f, "\x89PNG\r\n\x1a\n"); },
                  decode_png_file},
    PictureFormat{is_cursor, decode_cur},
    PictureFormat{[](std::span<const std::byte> f) {
                    return starts_with(f, std::string_view("\0\0\1\0", 4));
                  },
                  decode_ico},
    PictureFormat{is_tiff, decode_tiff},
    PictureFormat{[](std::span<const std::byte> f) { return starts_with(f, "qoif"); }, decode_qoi},
    PictureFormat{is_webp, decode_webp},
    PictureFormat{is_avif, decode_avif},
    PictureFormat{is_heif, decode_heif},
    PictureFormat{is_tga, decode_tga},
};

inline Bitmap decode_any(std::span<const std::byte> encoded, const std::string& file,
                         const ImageLimits& limits) {
  if (encoded.size() > limits.max_file_bytes)
    fail(ErrorCode::image_too_large, "the file is too large",
         {.file = file, .actual = encoded.size(), .limit = limits.max_file_bytes});
  if (encoded.empty()) fail(ErrorCode::invalid_image, "the file is empty", {.file = file});
  if (is_git_lfs_pointer(encoded))
    fail(ErrorCode::git_lfs_pointer, "this is a Git LFS pointer, not the picture itself",
         {.file = file});
  for (const PictureFormat& format : picture_formats)
    if (format.begins(encoded)) return format.decode(encoded, file, limits);
  const auto other = name_other_format(encoded);
  if (is_text_format(other))
    fail(ErrorCode::invalid_image, "this is " + std::string(other) + ", not a picture",
         {.file = file});
  if (!other.empty())
    fail(ErrorCode::unsupported_image, "this is " + std::string(other) + ", which is not supported",
         {.file = file});
  fail(ErrorCode::invalid_image, "not a picture of a known format", {.file = file});
}

}  // namespace detail

IDEFICS_ENGINE_INLINE Image Image::decode(std::span<const std::byte> encoded, std::string_view name,
                                          const ImageOptions& options) {
  const std::string file(name);
  detail::Bitmap bitmap = detail::decode_any(encoded, file, options.limits);
  const std::uint64_t pixels = bitmap.width * bitmap.height;
  if (options.on_warning && pixels > options.limits.warn_pixels)
    options.on_warning("the picture has " + std::to_string(pixels) + " pixels [file: " + file +
                       "]");
  return detail::to_image(std::move(bitmap), options, file);
}

IDEFICS_ENGINE_INLINE Image Image::open(const std::filesystem::path& path,
                                        const ImageOptions& options) {
  const std::string file =
      detail::read_file(path, options.limits.max_file_bytes, ErrorCode::image_too_large);
  return decode(std::as_bytes(std::span(file)), path.string(), options);
}

}}  // namespace idefics::v0

#endif
