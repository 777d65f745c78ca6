// JPEG through libjpeg-turbo with Pillow's settings, accurate inverse DCT and smooth chroma, so
// that the pixels equal Pillow's bit for bit.
#pragma once

#ifndef IDEFICS_NO_LIBJPEG

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <jpeglib.h>

#include <jerror.h>

#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// libjpeg's error handler: jumps back instead of exiting, and prints nothing.
struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX];

  static void on_error(j_common_ptr info) {
    auto* self = reinterpret_cast<JpegErrors*>(info->err);
    self->base.format_message(info, self->message);
    std::longjmp(self->back, 1);
  }
  /// Premature end of data is an error, as in Pillow; other warnings still yield a picture.
  static void on_message(j_common_ptr info, int level) {
    if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) on_error(info);
  }
  static void silent(j_common_ptr) {}
  /// Limits the scans: an empty one of a few bytes costs a pass over the whole picture. Real files
  /// have about ten.
  static void on_progress(j_common_ptr info) {
    constexpr int max_scans = 100;
    if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= max_scans) return;
    auto* self = reinterpret_cast<JpegErrors*>(info->err);
    std::snprintf(self->message, sizeof self->message, "more than %d scans", max_scans);
    std::longjmp(self->back, 1);
  }
};

struct JpegPixels {
  int width = 0, height = 0, channels = 0;
  std::vector<std::uint8_t> bytes;
};

/// The code between setjmp and longjmp: no C++ objects with destructors that a jump would skip.
inline bool run_jpeg(jpeg_decompress_struct& jpeg, JpegErrors& errors, jpeg_progress_mgr& progress,
                     std::span<const std::byte> encoded, const ImageLimits& limits, JpegPixels& out,
                     bool& too_large) {
  if (setjmp(errors.back) != 0) return false;
  jpeg_create_decompress(&jpeg);
  jpeg.progress = &progress;
  jpeg.mem->max_memory_to_use = static_cast<long>(limits.max_decoded_bytes);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(encoded.data()),
               static_cast<unsigned long>(encoded.size()));
  jpeg_read_header(&jpeg, TRUE);
  too_large = exceeds(jpeg.image_width, jpeg.image_height, limits);
  if (too_large) return false;
  if (jpeg.num_components == 4) jpeg.out_color_space = JCS_CMYK;
  jpeg_start_decompress(&jpeg);
  out.width = static_cast<int>(jpeg.output_width);
  out.height = static_cast<int>(jpeg.output_height);
  out.channels = jpeg.output_components;
  const std::size_t row =
      static_cast<std::size_t>(out.width) * static_cast<std::size_t>(out.channels);
  out.bytes.resize(row * static_cast<std::size_t>(out.height));
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW line = &out.bytes[row * jpeg.output_scanline];
    jpeg_read_scanlines(&jpeg, &line, 1);
  }
  jpeg_finish_decompress(&jpeg);  // requires the end marker
  return true;
}

/// CMYK to RGB as Pillow converts it: ink is assumed to be stored inverted, as by Adobe, regardless
/// of what the file declares; (255 - ink) is scaled by (255 - key) and rounded.
inline std::vector<std::uint8_t> cmyk_to_rgb(const JpegPixels& in) {
  std::vector<std::uint8_t> rgb(in.bytes.size() / 4 * 3);
  for (std::size_t i = 0; i < in.bytes.size() / 4; ++i) {
    auto ink = [&](std::size_t c) { return 255 - int{in.bytes[i * 4 + c]}; };
    const int light = 255 - ink(3);
    for (std::size_t c = 0; c < 3; ++c) {
      const int product = ink(c) * light + 128;
      rgb[i * 3 + c] =
          static_cast<std::uint8_t>(std::clamp(light - (((product >> 8) + product) >> 8), 0, 255));
    }
  }
  return rgb;
}

inline Image decode_jpeg(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  jpeg_decompress_struct jpeg{};
  JpegErrors errors{};
  jpeg_progress_mgr progress{};
  progress.progress_monitor = JpegErrors::on_progress;
  const std::unique_ptr<jpeg_decompress_struct, void (*)(j_decompress_ptr)> release(
      &jpeg, jpeg_destroy_decompress);
  jpeg.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = JpegErrors::on_error;
  errors.base.emit_message = JpegErrors::on_message;
  errors.base.output_message = JpegErrors::silent;
  JpegPixels pixels;
  bool too_large = false;
  const bool good = run_jpeg(jpeg, errors, progress, encoded, limits, pixels, too_large);
  const auto width = jpeg.image_width, height = jpeg.image_height;
  if (too_large) check_size(width, height, limits, name);
  if (const int code = errors.base.msg_code;
      !good && (code == JERR_OUT_OF_MEMORY || code == JERR_NO_BACKING_STORE))
    fail(ErrorCode::image_too_large, "decoding needs too much memory",
         {.file = name, .limit = limits.max_decoded_bytes});
  if (!good)
    fail(ErrorCode::invalid_image, std::string("damaged JPEG: ") + errors.message, {.file = name});
  if (pixels.channels == 4)
    return Image::from_pixels(pixels.width, pixels.height, 3, cmyk_to_rgb(pixels));
  if (pixels.channels != 1 && pixels.channels != 3)
    fail(ErrorCode::unsupported_image,
         "unsupported JPEG: " + std::to_string(pixels.channels) + " components", {.file = name});
  return Image::from_pixels(pixels.width, pixels.height, pixels.channels, pixels.bytes);
}

}}}  // namespace idefics::v0::detail

#else

#include <string>

#include <idefics/image/stb.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Without libjpeg-turbo: levels differ from Pillow's by a few.
inline Image decode_jpeg(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  int width = 0, height = 0, channels = 0;
  DecoderBudget::begin(limits.max_decoded_bytes);
  if (!stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(encoded.data()),
                             static_cast<int>(encoded.size()), &width, &height, &channels))
    fail(ErrorCode::invalid_image, "damaged JPEG", {.file = name});
  check_size(static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height), limits, name);
  return decode_with_stb(encoded, name, limits, 3);
}

}}}  // namespace idefics::v0::detail

#endif
