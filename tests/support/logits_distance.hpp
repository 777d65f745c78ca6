// The distance of logits from recorded ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <idefics/core/tensor.hpp>

namespace golden {

/// The largest distance of logits [B,T,V+A] from the recorded ones, in standard deviations of the
/// latter; padding, where mask [B,T] is 0, does not count.
inline double logits_distance(const idefics::Tensor& ours, const idefics::Tensor& mask,
                              const idefics::Tensor& expected) {
  const auto a = ours.as<float>(), b = expected.as<float>();
  const auto seen = mask.as<std::int64_t>();
  const std::size_t width = b.size() / seen.size();
  double n = 0, sum = 0, squares = 0, worst = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (seen[i / width] == 0) continue;
    const auto x = static_cast<double>(b[i]);
    n += 1, sum += x, squares += x * x;
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - x));
  }
  return worst / std::sqrt(squares / n - sum * sum / (n * n));
}

}  // namespace golden
