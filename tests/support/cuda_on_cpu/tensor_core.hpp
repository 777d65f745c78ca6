// The sum within a matrix instruction, as a published model of tensor cores describes it: MMA-Sim
// (arXiv 2511.10909), which its authors compared with GPUs bit by bit.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include <idefics/core/dtype.hpp>

namespace cuda_on_cpu {

/// How a generation adds: `terms` products at a time, each cut off `fraction_bits` below the
/// largest exponent.
struct TensorCore {
  int terms, fraction_bits;
};
inline constexpr TensorCore ampere_core{8, 24};   // compute capability 8.x: two halves
inline constexpr TensorCore hopper_core{16, 25};  // 9.0, for mma.sync and wgmma alike, and 10.0

inline TensorCore tensor_core_of(int major) { return major < 9 ? ampere_core : hopper_core; }

/// The smallest exponent of a normal number.
inline constexpr int lowest_exponent = -126;

/// The exponent of a number of a type whose smallest is `lowest`: a subnormal number has that one,
/// with a significand below 1. That of zero is below any sum of two others.
inline int exponent_of(float x, int lowest) {
  const int biased = static_cast<int>(std::bit_cast<std::uint32_t>(x) >> 23 & 255);
  return x == 0 ? -1000 : std::max(biased - 127, lowest);
}

/// 16 factors: a row of one operand, or a column of the other.
struct Factors {
  float value[16];
  int exponent[16];
  bool finite = true, zero = true;

  template <class T>
  static Factors of(const T* x) {
    constexpr int lowest = std::is_same_v<T, idefics::f16_t> ? -14 : lowest_exponent;
    Factors made;
    for (int i = 0; i < 16; ++i) {
      made.value[i] = to_f32(x[i]);
      made.exponent[i] = exponent_of(made.value[i], lowest);
      made.finite = made.finite && std::isfinite(made.value[i]);
      made.zero = made.zero && made.value[i] == 0;
    }
    return made;
  }
};

/// Truncates towards zero; beyond the largest float is infinity.
inline float truncated(double x) {
  if (std::fabs(x) >= 0x1p-126)
    return static_cast<float>(std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) >> 29 << 29));
  return static_cast<float>(std::trunc(x * 0x1p149) * 0x1p-149);
}

/// c + the products of factors [begin, end): all terms are truncated to a multiple of the largest
/// exponent's power of two, times 2^-fraction_bits; then their sum is exact, and is truncated to
/// f32. The exponent of a product is the sum of its factors' exponents, even if its significand is
/// 2 or more.
inline float fused_sum(int fraction_bits, float c, const Factors& a, const Factors& b, int begin,
                       int end) {
  int largest = std::max(lowest_exponent, exponent_of(c, lowest_exponent));
  for (int i = begin; i < end; ++i) largest = std::max(largest, a.exponent[i] + b.exponent[i]);
  const auto power = [](int exponent) {
    return std::bit_cast<double>(static_cast<std::uint64_t>(1023 + exponent) << 52);
  };
  const double up = power(fraction_bits - largest);
  auto sum = static_cast<std::int64_t>(double{c} * up);
  for (int i = begin; i < end; ++i)
    sum += static_cast<std::int64_t>(double{a.value[i]} * double{b.value[i]} * up);
  return truncated(static_cast<double>(sum) * power(largest - fraction_bits));
}

/// c + the 16 products of a and b.
inline float tensor_core_sum(TensorCore core, float c, const Factors& a, const Factors& b) {
  const bool finite = a.finite && b.finite && std::isfinite(c);
  if (finite && (a.zero || b.zero)) return c + 0.0f;
  if (!finite) {
    double plain = c;
    for (int i = 0; i < 16; ++i) plain += double{a.value[i]} * double{b.value[i]};
    return std::isnan(plain) ? std::bit_cast<float>(0x7fffffffu) : static_cast<float>(plain);
  }
  for (int i = 0; i < 16; i += core.terms)
    c = fused_sum(core.fraction_bits, c, a, b, i, i + core.terms);
  return c;
}

}  // namespace cuda_on_cpu
