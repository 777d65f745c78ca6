// AVIF through libavif, still or animated: the first frame, with Pillow's settings. The file says by
// properties of its own how to turn it; its EXIF data only counts where these say nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <idefics/core/config.hpp>
#include <idefics/image/bitmap.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Whether a file of the container that AVIF and HEIC share has one of two brands: as its own, or
/// as one that it is compatible with.
inline bool has_brand(std::span<const std::byte> file, std::string_view brand,
                      std::string_view of_animations) {
  if (file.size() < 12 || !starts_with(file.subspan(4), "ftyp")) return false;
  const std::string no_name;
  const ByteReader in(file, no_name);
  const std::uint64_t end = std::min<std::uint64_t>(in.big_endian(0, 4), file.size());
  for (std::uint64_t at = 8; at + 4 <= end; at += at == 8 ? 8 : 4) {  // a version follows the first
    const std::string_view found = text_of(in.part(at, 4));
    if (found == brand || found == of_animations) return true;
  }
  return false;
}

inline bool is_avif(std::span<const std::byte> file) {
  if (file.size() < 12) return false;
  const std::string_view first = text_of(file.subspan(8, 4));
  return (first == "avif" || first == "avis" || first == "mif1" || first == "msf1") &&
         has_brand(file, "avif", "avis");
}

}}}  // namespace idefics::v0::detail

#ifndef IDEFICS_NO_AVIF

#include <array>
#include <cstring>
#include <memory>
#include <new>

#include <avif/avif.h>

namespace idefics { inline namespace v0 { namespace detail {

/// The orientation that the properties of the picture say, as a number of EXIF.
inline unsigned avif_orientation(const avifImage& image) {
  const bool mirrored = (image.transformFlags & AVIF_TRANSFORM_IMIR) != 0;
#if AVIF_VERSION_MAJOR >= 1
  const bool sideways = image.imir.axis != 0;
#else
  const bool sideways = image.imir.mode != 0;
#endif
  const unsigned angle = (image.transformFlags & AVIF_TRANSFORM_IROT) != 0 ? image.irot.angle : 0;
  constexpr std::array<std::array<unsigned, 3>, 4> known{
      {{1, 4, 2}, {8, 5, 7}, {3, 2, 4}, {6, 7, 5}}};  // of an angle: plain, upside down, sideways
  return known[angle & 3][mirrored ? 1 + sideways : 0];
}

inline Orientation read_avif_orientation(const avifImage& image, const std::string& name) {
  const auto bytes = [](const avifRWData& data) {
    return std::as_bytes(std::span(data.data, data.size));
  };
  const auto exif = bytes(image.exif);
  const Orientation in_exif = read_orientation(exif, {}, name);
  if (in_exif.damaged)
    fail(ErrorCode::invalid_image, "the EXIF data of the AVIF is damaged", {.file = name});
  const unsigned value = avif_orientation(image);
  if (value != in_exif.value) return {.value = value, .found = true};
  return read_orientation(exif, text_of(bytes(image.xmp)), name);
}

#if AVIF_VERSION_MAJOR < 1
/// Whether libavif 1 leaves out the low bits of such a picture: where libyuv, which it converts
/// colours by, has no function for them.
inline bool loses_low_bits(const avifImage& image, bool has_alpha) {
  const bool by_libyuv = image.matrixCoefficients != AVIF_MATRIX_COEFFICIENTS_IDENTITY &&
                         image.matrixCoefficients != AVIF_MATRIX_COEFFICIENTS_YCGCO &&
                         image.yuvFormat != AVIF_PIXEL_FORMAT_YUV400;
  const bool has_function =
      has_alpha && (image.depth == 10 || image.yuvFormat == AVIF_PIXEL_FORMAT_YUV420);
  return by_libyuv && !has_function;
}

/// The planes of a picture of 10 or 12 bits without the low ones.
inline std::unique_ptr<avifImage, void (*)(avifImage*)> reduce_avif(const avifImage& image) {
  std::unique_ptr<avifImage, void (*)(avifImage*)> result(
      avifImageCreate(image.width, image.height, 8, image.yuvFormat), avifImageDestroy);
  if (!result) throw std::bad_alloc();
  result->yuvRange = image.yuvRange;
  result->matrixCoefficients = image.matrixCoefficients;
  result->colorPrimaries = image.colorPrimaries;
  result->alphaPremultiplied = image.alphaPremultiplied;
  const bool alpha = image.alphaPlane != nullptr;
  if (avifImageAllocatePlanes(result.get(), alpha ? AVIF_PLANES_ALL : AVIF_PLANES_YUV) !=
      AVIF_RESULT_OK)
    throw std::bad_alloc();
  const auto copy = [shift = image.depth - 8](const std::uint8_t* from, std::uint32_t from_row,
                                              std::uint8_t* to, std::uint32_t to_row,
                                              std::size_t width, std::size_t height) {
    for (std::size_t y = 0; y < height; ++y)
      for (std::size_t x = 0; x < width; ++x) {
        std::uint16_t value = 0;
        std::memcpy(&value, from + y * from_row + 2 * x, sizeof value);
        to[y * to_row + x] = static_cast<std::uint8_t>(std::min(value >> shift, 255));
      }
  };
  const bool half_width = image.yuvFormat != AVIF_PIXEL_FORMAT_YUV444,
             half_height = image.yuvFormat == AVIF_PIXEL_FORMAT_YUV420;
  for (std::size_t plane = 0; plane < 3; ++plane)
    copy(image.yuvPlanes[plane], image.yuvRowBytes[plane], result->yuvPlanes[plane],
         result->yuvRowBytes[plane], plane > 0 && half_width ? (image.width + 1) / 2 : image.width,
         plane > 0 && half_height ? (image.height + 1) / 2 : image.height);
  if (alpha)
    copy(image.alphaPlane, image.alphaRowBytes, result->alphaPlane, result->alphaRowBytes,
         image.width, image.height);
  return result;
}
#endif

inline Bitmap decode_avif(std::span<const std::byte> encoded, const std::string& name,
                          const ImageLimits& limits) {
  const std::unique_ptr<avifDecoder, void (*)(avifDecoder*)> decoder(avifDecoderCreate(),
                                                                     avifDecoderDestroy);
  if (!decoder) throw std::bad_alloc();
  const auto check = [&](avifResult result) {
    if (result == AVIF_RESULT_OUT_OF_MEMORY) throw std::bad_alloc();
    if (result != AVIF_RESULT_OK)
      fail(ErrorCode::invalid_image, std::string("damaged AVIF: ") + avifResultToString(result),
           {.file = name});
  };
  decoder->strictFlags &=
      ~static_cast<avifStrictFlags>(AVIF_STRICT_CLAP_VALID | AVIF_STRICT_PIXI_REQUIRED);
  decoder->imageSizeLimit = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(limits.max_pixels, 1, AVIF_DEFAULT_IMAGE_SIZE_LIMIT));
  check(avifDecoderSetIOMemory(decoder.get(), reinterpret_cast<const std::uint8_t*>(encoded.data()),
                               encoded.size()));
  check(avifDecoderParse(decoder.get()));
  const avifImage& image = *decoder->image;
  check_size(image.width, image.height, limits, name);
  // planes in the decoder and outside of it, and the picture
  constexpr std::uint64_t bytes_per_pixel = 20;
  check_memory(bytes_per_pixel * image.width * image.height, limits, name);
  check(avifDecoderNthImage(decoder.get(), 0));
  const std::size_t channels = decoder->alphaPresent != AVIF_FALSE ? 4 : 3;
  Bitmap bitmap = blank_bitmap(image.width, image.height, channels);
  avifRGBImage rgb{};
  avifRGBImageSetDefaults(&rgb, &image);
  rgb.depth = 8;
  rgb.format = channels == 4 ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
  rgb.pixels = bitmap.samples.data();
  rgb.rowBytes = static_cast<std::uint32_t>(channels * image.width);
#if AVIF_VERSION_MAJOR < 1
  if (image.depth > 8 && loses_low_bits(image, channels == 4))
    check(avifImageYUVToRGB(reduce_avif(image).get(), &rgb));
  else
#endif
    check(avifImageYUVToRGB(&image, &rgb));
  bitmap.orientation = read_avif_orientation(image, name);
  return bitmap;
}

}}}  // namespace idefics::v0::detail

#else

namespace idefics { inline namespace v0 { namespace detail {

inline Bitmap decode_avif(std::span<const std::byte>, const std::string& name, const ImageLimits&) {
  fail(ErrorCode::unsupported_image, "AVIF: this build has no libavif", {.file = name});
}

}}}  // namespace idefics::v0::detail

#endif
