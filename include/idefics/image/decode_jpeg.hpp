// JPEG through libjpeg-turbo with Pillow's settings, accurate inverse DCT and smooth chroma, and fed
// as Pillow feeds it, so that the pixels equal Pillow's bit for bit, and so does what is refused: a
// file may end once all of its rows are decoded.
#pragma once

#include <idefics/core/config.hpp>

#ifndef IDEFICS_NO_LIBJPEG

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <jpeglib.h>

#include <jerror.h>

#include <idefics/image/bitmap.hpp>
#include <idefics/image/cmyk.hpp>
#include <idefics/image/jpeg_markers.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// libjpeg's error handler: jumps back instead of exiting, and prints nothing.
struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX];
  int max_scans;
  bool too_many_scans;

  static void on_error(j_common_ptr info) {
    auto* self = reinterpret_cast<JpegErrors*>(info->err);
    self->base.format_message(info, self->message);
    std::longjmp(self->back, 1);
  }
  static void on_message(j_common_ptr, int) {}  // a picture with warnings is still a picture
  static void silent(j_common_ptr) {}
  /// Limits the scans: an empty one of a few bytes costs a pass over the whole picture. Real files
  /// have about ten.
  static void on_progress(j_common_ptr info) {
    auto* self = reinterpret_cast<JpegErrors*>(info->err);
    if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= self->max_scans) return;
    self->too_many_scans = true;
    std::longjmp(self->back, 1);
  }
};

/// Gives libjpeg the file in pieces. Where it needs more, it returns to the caller.
struct JpegSource {
  jpeg_source_mgr base;
  std::size_t left;  // bytes of the file that libjpeg was not given yet
  std::size_t skip;  // bytes that it has to skip of these

  static void nothing(j_decompress_ptr) {}
  static boolean suspend(j_decompress_ptr) { return FALSE; }
  static void on_skip(j_decompress_ptr jpeg, long count) {
    reinterpret_cast<JpegSource*>(jpeg->src)->advance(static_cast<std::size_t>(count));
  }
  void advance(std::size_t count) {
    const std::size_t here = std::min(count, base.bytes_in_buffer);
    base.next_input_byte += here, base.bytes_in_buffer -= here;
    skip = count - here;
  }
  /// Reads one more piece. Returns false at the end.
  bool grow() {
    constexpr std::size_t piece = 1u << 16;
    const std::size_t count = std::min(piece, left);
    base.bytes_in_buffer += count, left -= count;
    if (skip > 0) advance(skip);
    return count > 0;
  }
};

/// One decoding. No C++ objects with destructors are created between setjmp and longjmp.
struct JpegRun {
  jpeg_decompress_struct jpeg{};
  JpegErrors errors{};
  JpegSource source{};
  jpeg_progress_mgr progress{};
  std::vector<std::uint8_t> line{};  // of ink
  bool cut_off = false;

  JpegRun(std::span<const std::byte> encoded, const ImageLimits& limits) {
    jpeg.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = JpegErrors::on_error;
    errors.base.emit_message = JpegErrors::on_message;
    errors.base.output_message = JpegErrors::silent;
    errors.max_scans = static_cast<int>(std::min<std::uint64_t>(limits.max_scans, 1 << 30));
    progress.progress_monitor = JpegErrors::on_progress;
    source.base = {.next_input_byte = reinterpret_cast<const JOCTET*>(encoded.data()),
                   .bytes_in_buffer = 0,
                   .init_source = JpegSource::nothing,
                   .fill_input_buffer = JpegSource::suspend,
                   .skip_input_data = JpegSource::on_skip,
                   .resync_to_restart = jpeg_resync_to_restart,
                   .term_source = JpegSource::nothing};
    source.left = encoded.size();
  }
  JpegRun(const JpegRun&) = delete;
  JpegRun& operator=(const JpegRun&) = delete;
  ~JpegRun() { jpeg_destroy_decompress(&jpeg); }

  /// Decodes into `out`, whose size is that of the picture. False if that fails.
  bool operator()(Bitmap& out, std::uint64_t memory) {
    if (setjmp(errors.back) != 0) return false;
    jpeg_create_decompress(&jpeg);
    jpeg.src = &source.base;
    jpeg.progress = &progress;
    jpeg.mem->max_memory_to_use = static_cast<long>(memory);
    while (source.grow())
      if (source.skip == 0 && advance(out)) return true;
    cut_off = true;
    return false;
  }

 private:
  enum class Step { header, start, rows };
  Step step = Step::header;

  /// Decodes as far as the data goes; returns whether all rows are there.
  bool advance(Bitmap& out) {
    if (step == Step::header) {
      int found = JPEG_HEADER_TABLES_ONLY;
      while (found == JPEG_HEADER_TABLES_ONLY) found = jpeg_read_header(&jpeg, FALSE);
      if (found == JPEG_SUSPENDED) return false;
      if (jpeg.image_width != out.width || jpeg.image_height != out.height)
        ERREXIT(&jpeg, JERR_IMAGE_TOO_BIG);
      jpeg.out_color_space = line.empty() ? out.channels == 1 ? JCS_GRAYSCALE : JCS_RGB : JCS_CMYK;
      step = Step::start;
    }
    if (step == Step::start) {
      if (!jpeg_start_decompress(&jpeg)) return false;
      step = Step::rows;
    }
    const std::size_t row = out.width * out.channels;
    while (jpeg.output_scanline < jpeg.output_height) {
      std::uint8_t* to = &out.samples[row * jpeg.output_scanline];
      JSAMPROW rows = line.empty() ? to : line.data();
      if (jpeg_read_scanlines(&jpeg, &rows, 1) != 1) return false;
      // The ink is taken for inverted, as by Adobe, whatever the file says.
      if (!line.empty()) convert_cmyk(line.data(), to, out.width, true);
    }
    // What follows the last row counts as far as it was read: a fault there is a fault of the file.
    jpeg_finish_decompress(&jpeg);
    return true;
  }
};

[[noreturn]] inline void refuse_jpeg(const JpegRun& run, const std::string& name,
                                     const ImageLimits& limits) {
  if (run.cut_off)
    fail(ErrorCode::invalid_image, "damaged JPEG: it ends before its last row", {.file = name});
  if (run.errors.too_many_scans)
    fail(ErrorCode::unsupported_image, "unsupported JPEG: more scans than the limit allows",
         {.file = name, .limit = limits.max_scans});
  const int code = run.errors.base.msg_code;
  if (code == JERR_OUT_OF_MEMORY || code == JERR_NO_BACKING_STORE)
    fail(ErrorCode::image_too_large, "decoding needs too much memory",
         {.file = name, .limit = limits.max_decoded_bytes});
  constexpr std::array<int, 6> features{JERR_SOF_UNSUPPORTED, JERR_ARITH_NOTIMPL,
                                        JERR_BAD_PRECISION,   JERR_CONVERSION_NOTIMPL,
                                        JERR_CCIR601_NOTIMPL, JERR_FRACT_SAMPLE_NOTIMPL};
  const bool feature = std::ranges::find(features, code) != features.end();
  fail(feature ? ErrorCode::unsupported_image : ErrorCode::invalid_image,
       (feature ? "unsupported JPEG: " : "damaged JPEG: ") + std::string(run.errors.message),
       {.file = name});
}

inline Bitmap decode_jpeg(std::span<const std::byte> encoded, const std::string& name,
                          const ImageLimits& limits) {
  const ByteReader in(encoded, name);
  const JpegInfo info = JpegMarkers(in).read();
  check_size(info.width, info.height, limits, name);
  const std::size_t channels = info.components == 1 ? 1 : 3;
  const std::uint64_t pixels = info.width * info.height * channels;
  check_memory(pixels, limits, name);
  JpegRun run(encoded, limits);
  if (info.components == 4) run.line.resize(4 * info.width);
  Bitmap bitmap = blank_bitmap(info.width, info.height, channels);
  if (!run(bitmap, limits.max_decoded_bytes - pixels)) refuse_jpeg(run, name, limits);
  bitmap.orientation = read_jpeg_orientation(info, name);
  return bitmap;
}

}}}  // namespace idefics::v0::detail

#else

#include <string>

#include <idefics/image/bitmap.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline Bitmap decode_jpeg(std::span<const std::byte>, const std::string& name, const ImageLimits&) {
  fail(ErrorCode::unsupported_image, "JPEG: this build has no libjpeg", {.file = name});
}

}}}  // namespace idefics::v0::detail

#endif
