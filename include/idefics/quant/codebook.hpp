// The values of the codes of 4-bit weights and of their 8-bit constants. Every table is derived
// here and equals that of bitsandbytes bit for bit (tests/golden/quantization.cpp).
//
//   nf4      "normal float": the quantiles of a normal distribution, so that weights, which are
//            roughly normal, use all 16 codes about equally often (QLoRA, appendix E)
//   fp4      a float of 1 sign bit, 2 exponent bits and 1 mantissa bit
//   dynamic  8 bits: a sign, a unary exponent, and a linear fraction in the remaining bits
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <idefics/core/config.hpp>

namespace idefics { inline namespace v0 {

enum class QuantType : std::uint8_t { nf4, fp4 };

constexpr std::string_view name_of(QuantType type) noexcept {
  return type == QuantType::nf4 ? "nf4" : "fp4";
}

using Codebook = std::array<float, 16>;     // the value of each code, before scaling by absmax
using DynamicMap = std::array<float, 256>;  // sorted

namespace detail {

/// The i-th of n evenly spaced points from a to b, in f32, rounded as by torch.linspace: steps are
/// counted from the nearer end. Products are exact in double, so each point is rounded once.
constexpr float linspace(float a, float b, int n, int i) {
  const double step = static_cast<double>((b - a) / static_cast<float>(n - 1));
  return i < n / 2 ? static_cast<float>(static_cast<double>(a) + step * i)
                   : static_cast<float>(static_cast<double>(b) - step * (n - 1 - i));
}

/// exp(-x^2 / 2) / sqrt(2 pi) by its power series; quantiles need only |x| < 3.
constexpr double normal_density(double x) {
  double term = 0.39894228040143267794, sum = term;
  for (int n = 1; n < 60; ++n) sum += term *= -x * x / (2.0 * n);
  return sum;
}

/// The standard normal distribution function: 1/2 + density(x) (x + x^3/3 + x^5/(3*5) + …).
constexpr double normal_cdf(double x) {
  double term = x, sum = x;
  for (int n = 1; n < 60; ++n) sum += term *= x * x / (2.0 * n + 1.0);
  return 0.5 + normal_density(x) * sum;
}

/// The x with normal_cdf(x) = p, for 1/2 <= p < 0.99, by Newton's method.
constexpr double normal_quantile(double p) {
  double x = 0;
  for (int i = 0; i < 30; ++i) x -= (normal_cdf(x) - p) / normal_density(x);
  return x;
}

/// Zero has a code of its own, so the two sides differ: 8 quantiles above it, 7 below.
/// Probabilities are evenly spaced from 1/2 (zero itself) to an offset that leaves out the tails.
/// Values are scaled so that the largest is 1.
constexpr Codebook make_nf4() {
  // 1 - (1/32 + 1/30) / 2: one minus the mean of half a step on each side
  constexpr float offset = 0.9677083f;
  const auto quantile = [](int n, int i) {
    return static_cast<float>(normal_quantile(static_cast<double>(linspace(offset, 0.5f, n, i))));
  };
  const float largest = quantile(9, 0);
  Codebook table{};  // table[7] = 0
  for (int i = 0; i < 8; ++i) table[static_cast<std::size_t>(15 - i)] = quantile(9, i) / largest;
  for (int i = 0; i < 7; ++i) table[static_cast<std::size_t>(i)] = -quantile(8, i) / largest;
  return table;
}

/// Bits s e e m. The value is (1 + m/2) 2^(4 - e), smaller for larger e, or m/16 for e = 0; both
/// are divided by 12, so that the largest is 1. Zero has a code of each sign, as in a float.
constexpr Codebook make_fp4() {
  Codebook table{};
  for (unsigned code = 0; code < 16; ++code) {
    const unsigned e = code >> 1 & 3, m = code & 1;
    const double twelfths = e == 0 ? m / 16.0 : (1.0 + m / 2.0) * static_cast<double>(16u >> e);
    const auto value = static_cast<float>(twelfths / 12.0);
    table[code] = code >= 8 && value != 0 ? -value : value;
  }
  return table;
}

/// For each power of ten from 10^-6 to 1 (i = 0 to 6): the midpoints between 2^i + 1 evenly spaced
/// points on [0.1, 1], with both signs; then 0 and 1.
constexpr DynamicMap make_dynamic_map() {
  constexpr std::array<float, 7> powers = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  DynamicMap map{};
  std::size_t count = 0;
  for (int i = 0; i < 7; ++i)
    for (int j = 0; j < 1 << i; ++j) {
      const int points = (1 << i) + 1;
      const float middle =
          (linspace(0.1f, 1.0f, points, j) + linspace(0.1f, 1.0f, points, j + 1)) / 2;
      const float value = powers[static_cast<std::size_t>(i)] * middle;
      map[count++] = value;
      map[count++] = -value;
    }
  map[count++] = 0;
  map[count++] = 1;
  std::sort(map.begin(), map.end());
  return map;
}

inline constexpr Codebook nf4_table = make_nf4(), fp4_table = make_fp4();
inline constexpr DynamicMap dynamic_table = make_dynamic_map();

}  // namespace detail

/// The values of the 16 codes, in [-1, 1].
constexpr const Codebook& codebook(QuantType type) noexcept {
  return type == QuantType::nf4 ? detail::nf4_table : detail::fp4_table;
}

namespace detail {

/// The values of the 8-bit codes that double quantization stores.
constexpr const DynamicMap& dynamic_map() noexcept { return detail::dynamic_table; }

}  // namespace detail

}}  // namespace idefics::v0
