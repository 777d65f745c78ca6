// WebP through libwebp, still or animated: the first frame on its canvas, which is transparent, or
// black if the file has no transparency.
#pragma once

#include <idefics/core/config.hpp>

#ifndef IDEFICS_NO_WEBP

#include <sys/mman.h>

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <webp/decode.h>
#include <webp/demux.h>

#include <idefics/image/bitmap.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The first frame of an open file; the destructor releases its memory.
class WebpFrame {
 public:
  explicit WebpFrame(const WebPDemuxer* file) : found_(WebPDemuxGetFrame(file, 1, &frame_) != 0) {}
  WebpFrame(const WebpFrame&) = delete;
  WebpFrame& operator=(const WebpFrame&) = delete;
  ~WebpFrame() { WebPDemuxReleaseIterator(&frame_); }
  bool found() const { return found_; }
  const WebPIterator* operator->() const { return &frame_; }

 private:
  WebPIterator frame_{};
  bool found_;
};

/// The first chunk of metadata with this name.
inline std::span<const std::byte> find_webp_chunk(const WebPDemuxer* file, const char* name) {
  WebPChunkIterator found{};
  std::span<const std::byte> bytes;
  if (WebPDemuxGetChunk(file, name, 1, &found) != 0)
    bytes = std::as_bytes(std::span(found.chunk.bytes, found.chunk.size));
  WebPDemuxReleaseChunkIterator(&found);
  return bytes;
}

/// Whether the file says that no pixel is transparent: the flag of its header, or that of its only
/// picture if it is lossless.
inline bool is_opaque_webp(const WebPData& data) {
  WebPBitstreamFeatures features{};
  return WebPGetFeatures(data.bytes, data.size, &features) == VP8_STATUS_OK &&
         features.has_alpha == 0;
}

/// Whether something in the file may be stored without loss: all but a lossy picture without alpha.
inline bool may_be_lossless(const WebPData& data) {
  constexpr int lossy = 1;
  WebPBitstreamFeatures features{};
  return WebPGetFeatures(data.bytes, data.size, &features) != VP8_STATUS_OK ||
         features.format != lossy || features.has_alpha != 0;
}

/// Throws std::bad_alloc if the tables of a lossless picture do not fit the address space: libwebp
/// 1.2.4 of Debian 12 crashes where it cannot allocate them. At most one group of tables belongs to
/// a block of 4 x 4 pixels. Memory is not reserved, since pictures have far fewer groups.
inline void require_webp_tables(std::size_t width, std::size_t height) {
  constexpr std::size_t group = 20 << 10, most = 1 << 16;
  const std::size_t bytes = group * std::min(most, (width + 3) / 4 * ((height + 3) / 4));
  constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* tables = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (tables == MAP_FAILED) throw std::bad_alloc();
  ::munmap(tables, bytes);
}

inline Bitmap decode_webp(std::span<const std::byte> encoded, const std::string& name,
                          const ImageLimits& limits) {
  const auto damaged = [&name] { fail(ErrorCode::invalid_image, "damaged WebP", {.file = name}); };
  const WebPData data{reinterpret_cast<const std::uint8_t*>(encoded.data()), encoded.size()};
  const std::unique_ptr<WebPDemuxer, void (*)(WebPDemuxer*)> file(WebPDemux(&data),
                                                                  WebPDemuxDelete);
  if (!file) damaged();
  const std::size_t width = WebPDemuxGetI(file.get(), WEBP_FF_CANVAS_WIDTH),
                    height = WebPDemuxGetI(file.get(), WEBP_FF_CANVAS_HEIGHT);
  check_size(width, height, limits, name);
  check_memory(std::uint64_t{8} * width * height, limits, name);
  if (may_be_lossless(data)) require_webp_tables(width, height);
  const WebpFrame frame(file.get());
  if (!frame.found()) damaged();
  Bitmap canvas = blank_bitmap(width, height, 4);
  const std::size_t first = 4 * (static_cast<std::size_t>(frame->y_offset) * width +
                                 static_cast<std::size_t>(frame->x_offset));
  if (WebPDecodeRGBAInto(frame->fragment.bytes, frame->fragment.size, canvas.samples.data() + first,
                         canvas.samples.size() - first, static_cast<int>(4 * width)) == nullptr)
    damaged();
  if (is_opaque_webp(data))
    for (std::size_t i = 3; i < canvas.samples.size(); i += 4) canvas.samples[i] = 255;
  canvas.orientation = read_orientation(find_webp_chunk(file.get(), "EXIF"),
                                        text_of(find_webp_chunk(file.get(), "XMP ")), name);
  return canvas;
}

}}}  // namespace idefics::v0::detail

#else

#include <string>

#include <idefics/image/bitmap.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline Bitmap decode_webp(std::span<const std::byte>, const std::string& name, const ImageLimits&) {
  fail(ErrorCode::unsupported_image, "WebP: this build has no libwebp", {.file = name});
}

}}}  // namespace idefics::v0::detail

#endif
