// Pillow's bicubic resize on 8-bit channels, bit for bit: antialiased (the filter widens when a
// picture shrinks), with fixed-point weights, first along rows and then along columns, rounded to 8
// bits in between. Source: the arithmetic of Pillow's ImagingResample with BICUBIC.
// docs/layers/preprocessing.md works through an example.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <idefics/core/threads.hpp>
#include <idefics/image/image.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// For one output coordinate: the first input coordinate, and the weights in fixed point.
struct ResizeTaps {
  std::int64_t first = 0;
  std::vector<std::int32_t> weights;
};

inline constexpr int resize_bits = 32 - 8 - 2;  // 8 for the pixel, 2 for sums above one

inline double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

inline std::vector<ResizeTaps> resize_taps(std::int64_t in, std::int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double widening = std::max(scale, 1.0), support = 2.0 * widening;
  std::vector<ResizeTaps> taps(static_cast<std::size_t>(out));
  for (std::int64_t i = 0; i < out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    // truncates toward zero: Pillow converts to int
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(center - support + 0.5));
    const auto last = std::min<std::int64_t>(in, static_cast<std::int64_t>(center + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (std::int64_t x = first; x < last; ++x) {
      weights.push_back(bicubic((static_cast<double>(x) - center + 0.5) * (1.0 / widening)));
      sum += weights.back();
    }
    ResizeTaps& tap = taps[static_cast<std::size_t>(i)];
    tap.first = first;
    for (double w : weights) {
      if (sum != 0.0) w /= sum;
      tap.weights.push_back(
          static_cast<std::int32_t>(w * (1 << resize_bits) + (w < 0 ? -0.5 : 0.5)));
    }
  }
  return taps;
}

inline std::uint8_t clip_to_byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> resize_bits, 0, 255));
}

/// Resamples one line to `taps.size()` outputs; `stride` is the distance of neighbours along it.
inline void resample_line(const std::uint8_t* in, std::uint8_t* out, std::size_t stride,
                          const std::vector<ResizeTaps>& taps) {
  for (std::size_t i = 0; i < taps.size(); ++i) {
    std::int32_t sum[3] = {1 << (resize_bits - 1), 1 << (resize_bits - 1), 1 << (resize_bits - 1)};
    const std::uint8_t* from = in + static_cast<std::size_t>(taps[i].first) * stride;
    for (const std::int32_t weight : taps[i].weights) {
      for (std::size_t c = 0; c < 3; ++c) sum[c] += from[c] * weight;
      from += stride;
    }
    for (std::size_t c = 0; c < 3; ++c) out[i * stride + c] = clip_to_byte(sum[c]);
  }
}

}  // namespace detail

/// Resizes to `width` x `height` without keeping the aspect ratio. A side that already fits is not
/// resampled.
inline Image resize_bicubic(const Image& image, std::int64_t width, std::int64_t height) {
  require(width > 0 && height > 0 && image.width > 0 && image.height > 0,
          "a picture needs at least one pixel");
  auto blank = [](std::int64_t w, std::int64_t h) {
    return Image{.width = w,
                 .height = h,
                 .rgb = std::vector<std::uint8_t>(static_cast<std::size_t>(w * h * 3))};
  };
  Image wide = image;
  if (width != image.width) {
    wide = blank(width, image.height);
    const auto taps = detail::resize_taps(image.width, width);
    parallel_for(image.height, [&](std::int64_t y) {
      detail::resample_line(&image.rgb[static_cast<std::size_t>(y * image.width * 3)],
                            &wide.rgb[static_cast<std::size_t>(y * width * 3)], 3, taps);
    });
  }
  if (height == image.height) return wide;
  Image result = blank(width, height);
  const auto taps = detail::resize_taps(image.height, height);
  parallel_for(width, [&](std::int64_t x) {
    detail::resample_line(&wide.rgb[static_cast<std::size_t>(x * 3)],
                          &result.rgb[static_cast<std::size_t>(x * 3)],
                          static_cast<std::size_t>(width * 3), taps);
  });
  return result;
}

}}  // namespace idefics::v0
