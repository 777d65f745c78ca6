// WebP through libwebp, still or animated: the first frame on its canvas, which is transparent, or
// black if the file declares that it has no transparency.
#pragma once

#ifndef IDEFICS_NO_WEBP

#include <memory>
#include <string>
#include <vector>

#include <webp/decode.h>
#include <webp/demux.h>

#include <idefics/image/guards.hpp>

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

inline Image decode_webp(std::span<const std::byte> encoded, const std::string& name,
                         const ImageLimits& limits) {
  const auto damaged = [&name] { fail(ErrorCode::invalid_image, "damaged WebP", {.file = name}); };
  const WebPData data{reinterpret_cast<const std::uint8_t*>(encoded.data()), encoded.size()};
  const std::unique_ptr<WebPDemuxer, void (*)(WebPDemuxer*)> file(WebPDemux(&data),
                                                                  WebPDemuxDelete);
  if (!file) damaged();
  const std::size_t width = WebPDemuxGetI(file.get(), WEBP_FF_CANVAS_WIDTH),
                    height = WebPDemuxGetI(file.get(), WEBP_FF_CANVAS_HEIGHT);
  check_size(width, height, limits, name);
  const WebpFrame frame(file.get());
  if (!frame.found()) damaged();
  std::vector<std::uint8_t> canvas(4 * width * height);
  const std::size_t first = 4 * (static_cast<std::size_t>(frame->y_offset) * width +
                                 static_cast<std::size_t>(frame->x_offset));
  if (WebPDecodeRGBAInto(frame->fragment.bytes, frame->fragment.size, canvas.data() + first,
                         canvas.size() - first, static_cast<int>(4 * width)) == nullptr)
    damaged();
  if ((WebPDemuxGetI(file.get(), WEBP_FF_FORMAT_FLAGS) & ALPHA_FLAG) == 0)
    for (std::size_t i = 3; i < canvas.size(); i += 4) canvas[i] = 255;
  return Image::from_pixels(static_cast<std::int64_t>(width), static_cast<std::int64_t>(height), 4,
                            canvas);
}

}}}  // namespace idefics::v0::detail

#else

#include <string>

#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline Image decode_webp(std::span<const std::byte>, const std::string& name, const ImageLimits&) {
  fail(ErrorCode::unsupported_image, "WebP: this build has no libwebp", {.file = name});
}

}}}  // namespace idefics::v0::detail

#endif
