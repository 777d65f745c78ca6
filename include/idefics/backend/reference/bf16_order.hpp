// The bf16 order of summation, which every backend for CPUs follows bit for bit: docs/determinism.md.
//
//   of every 32 values:   e = o = +0;  e = fma(x, w, e) over even k, o = fma(x, w, o) over odd k
//                         sum = sum + (e + o)
//
// x and w are bf16, padded with zeros. Every step rounds to nearest even, and reads and writes
// subnormal numbers as zero. That is what the instruction `tdpbf16ps` computes.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <span>

#include <idefics/core/dtype.hpp>

namespace idefics { inline namespace v0 { namespace reference {

/// A subnormal number becomes a zero of its sign.
inline float without_subnormal(float x) {
  return std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}

/// a * b + c, rounded once. The result counts as subnormal if it is less than 2^-126 when rounded to
/// 24 bits, even if with the bits of a subnormal number it rounds up to that.
inline float fma_without_subnormals(float a, float b, float c) {
  a = without_subnormal(a), b = without_subnormal(b), c = without_subnormal(c);
  const float r = std::fma(a, b, c);
  if (std::abs(r) == 0x1p-126f &&
      std::abs(std::fma(a * 0x1p32f, b * 0x1p32f, c * 0x1p64f)) < 0x1p-62f)
    return std::copysign(0.0f, r);
  return without_subnormal(r);
}

/// The sum of products of two rows, which are rounded to bf16 first.
inline float dot_in_bf16_order(std::span<const float> x, std::span<const float> w) {
  const auto rounded = [](std::span<const float> row, std::size_t k) {
    return k < row.size() ? to_f32(to_bf16(row[k])) : 0.0f;
  };
  float sum = 0;
  for (std::size_t begin = 0; begin < x.size(); begin += 32) {
    float even = 0, odd = 0;
    for (std::size_t k = begin; k < begin + 32; k += 2) {
      even = fma_without_subnormals(rounded(x, k), rounded(w, k), even);
      odd = fma_without_subnormals(rounded(x, k + 1), rounded(w, k + 1), odd);
    }
    sum = fma_without_subnormals(1.0f, fma_without_subnormals(1.0f, even, odd), sum);
  }
  return sum;
}

}}}  // namespace idefics::v0::reference
