// The sum within a matrix instruction.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace cuda_on_cpu {

/// c + sum a[i] b[i] over 16 products, as studies of tensor cores describe those of Hopper (Khattak
/// and Mikaitis, "Accurate models of NVIDIA tensor cores", 2025): the products are exact; all 17
/// terms are truncated to the bits from the largest exponent among them down to 25 places below it;
/// their sum is exact, and is truncated to f32. So the order of the 16 products does not matter,
/// but the choice of the 16 does. Bit-exact agreement with the hardware is not claimed.
inline float tensor_core_sum(float c, const float* a, const float* b) {
  double terms[17];
  std::uint64_t largest = 0;  // bits of a magnitude
  for (int i = 0; i < 17; ++i) {
    terms[i] = i < 16 ? double{a[i]} * double{b[i]} : double{c};
    const std::uint64_t magnitude = std::bit_cast<std::uint64_t>(terms[i]) << 1 >> 1;
    largest = magnitude > largest ? magnitude : largest;
  }
  const int exponent = static_cast<int>(largest >> 52);
  if (exponent == 0 || exponent == 2047) {  // all zero, or an infinity or NaN
    double plain = 0;
    for (const double term : terms) plain += term;
    return static_cast<float>(plain);
  }
  const auto power = [](int biased) {
    return std::bit_cast<double>(static_cast<std::uint64_t>(biased) << 52);
  };
  const double up = power(1023 + 1023 + 25 - exponent), down = power(exponent - 25);
  std::int64_t sum = 0;
  for (const double term : terms) sum += static_cast<std::int64_t>(term * up);
  const double exact = static_cast<double>(sum) * down;
  const float nearest = static_cast<float>(exact);
  return std::isfinite(nearest) && std::fabs(double{nearest}) > std::fabs(exact)
             ? std::nextafter(nearest, 0.0f)
             : nearest;
}

}  // namespace cuda_on_cpu
