// The sum inside a matrix instruction.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace cuda_on_cpu {

/// c + sum a[i] b[i] over 16 products, as studies of tensor cores describe those of Hopper (Khattak and
/// Mikaitis, "Accurate models of NVIDIA tensor cores", 2025): products are exact; all 17 terms are cut
/// to the bits that reach from the largest exponent among them 25 places down; their sum is exact, and is
/// cut to f32. So the order of the 16 does not matter, and it does matter which 16 they are. That
/// the hardware does the same to the bit is not claimed.
inline float tensor_core_sum(float c, const float* a, const float* b) {
  double terms[17];
  std::uint64_t largest = 0;  // bits of a magnitude
  for (int i = 0; i < 17; ++i) {
    terms[i] = i < 16 ? double{a[i]} * double{b[i]} : double{c};
    const std::uint64_t magnitude = std::bit_cast<std::uint64_t>(terms[i]) << 1 >> 1;
    largest = magnitude > largest ? magnitude : largest;
  }
  const int exponent = static_cast<int>(largest >> 52);
  if (exponent == 0 || exponent == 2047) {  // zeros alone, or something that is no number
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
