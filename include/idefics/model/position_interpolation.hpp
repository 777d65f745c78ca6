// Learned positions of the vision tower, interpolated to another grid of patches.
// Source: IdeficsVisionEmbeddings.interpolate_pos_encoding, which is torch's bicubic interpolation
// (a = -0.75, half-pixel centres, clamped at the border) with a scale of (patches + 0.1) / grid.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 {

struct PatchGrid {
  std::int64_t rows, columns;
};

namespace detail {

/// The four source indices of an output coordinate, clamped to the border, and their weights.
struct CubicTaps {
  std::array<std::int64_t, 4> index;
  std::array<float, 4> weight;
};

inline CubicTaps cubic_taps(std::int64_t out, float scale, std::int64_t size) {
  constexpr float a = -0.75f;  // torch's coefficient; Pillow's resize uses -0.5
  const float source = (static_cast<float>(out) + 0.5f) * scale - 0.5f;
  const float base = std::floor(source), t = source - base, u = 1.0f - t;
  auto near = [](float x) { return ((a + 2) * x - (a + 3)) * x * x + 1; };
  auto far = [](float x) { return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a; };
  CubicTaps taps{.index = {}, .weight = {far(t + 1), near(t), near(u), far(u + 1)}};
  for (std::int64_t i = 0; i < 4; ++i)
    taps.index[static_cast<std::size_t>(i)] =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(base) + i - 1, 0, size - 1);
  return taps;
}

/// Positions [1 + rows*columns, D] from a table [1 + side*side, D]; row 0 is the class token.
inline Tensor interpolate_positions(const Tensor& table, PatchGrid grid) {
  const std::int64_t d = table.dim(1);
  const auto side = static_cast<std::int64_t>(std::sqrt(static_cast<double>(table.dim(0) - 1)));
  // torch's step through the source is 1 / scale; the reference's scale is (patches + 0.1) / side
  auto step = [side](std::int64_t patches) {
    return static_cast<float>(1.0 /
                              ((static_cast<double>(patches) + 0.1) / static_cast<double>(side)));
  };
  Tensor result = Tensor::empty(DType::f32, {1 + grid.rows * grid.columns, d});
  const auto source = table.as<float>();
  const auto out = result.as_mutable<float>();
  std::copy_n(source.begin(), d, out.begin());
  for (std::int64_t y = 0; y < grid.rows; ++y) {
    const auto vertical = detail::cubic_taps(y, step(grid.rows), side);
    for (std::int64_t x = 0; x < grid.columns; ++x) {
      const auto horizontal = detail::cubic_taps(x, step(grid.columns), side);
      for (std::int64_t c = 0; c < d; ++c) {
        float sum = 0;
        for (std::size_t i = 0; i < 4; ++i) {
          float row = 0;
          for (std::size_t j = 0; j < 4; ++j)
            row += horizontal.weight[j] *
                   source[static_cast<std::size_t>(
                       (1 + vertical.index[i] * side + horizontal.index[j]) * d + c)];
          sum += vertical.weight[i] * row;
        }
        out[static_cast<std::size_t>((1 + y * grid.columns + x) * d + c)] = sum;
      }
    }
  }
  return result;
}

}  // namespace detail

}}  // namespace idefics::v0
