// int8 weights: LLM.int8, vector-wise. Rows of the weight and rows of x are each scaled to int8 by
// their absmax; entries of x of at least a threshold, the outliers, stay in the compute dtype.
//
//   weight     W' = f16(W),  absmax_w[n] = max |W'[n]|,  CW = round(W' * (1 / absmax_w * 127))
//   x          x' = f16(x),  outliers O[m] = {k : |x'[m,k]| >= f16(threshold)}
//              absmax_x[m] = max of |x'[m]| without outliers, CX likewise, 0 for outliers
//   product    out[m,n] = sum_k CX[m,k] CW[n,k] * (absmax_x[m] * absmax_w[n]) * 6.200124e-05
//                         + bias[n] + sum over O[m] of x[m,k] * (CW[n,k] * absmax_w[n] * 0.007874016)
//
// Every product is rounded to f32, from left to right; round() takes ties to even, and NaN to 0.
//
// Source: bitsandbytes 0.50.2, int8_vectorwise_quant, int8_scaled_mm and int8_mixed_scaled_mm on
// the CPU, whose first constant is not quite 1 / 127^2. There, an outlier in one row makes its
// column an outlier column of all rows of the same call. Here a row has the outliers that it has
// alone, as when bitsandbytes multiplies one row: a result must not depend on what else is in the
// batch.
#pragma once

#include <cstdint>

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 {

/// An int8 matrix, used in products with rows of x that are quantized on the way.
struct Int8Matrix {
  Tensor codes{};          // i8 [N,K], at any alignment
  Tensor absmax{};         // f32 [N], at any alignment; "SCB" in files
  float threshold = 6.0f;  // of outliers in x; 0 disables them

  explicit operator bool() const { return static_cast<bool>(codes); }
};

namespace detail {

inline constexpr float int8_product_step = 6.200124e-05f;         // of two codes, over 1
inline constexpr float int8_weight_step = 7.874015718698502e-3f;  // of one code, over 1

/// Sums of this many products of two codes fit in 32 bits.
inline constexpr std::int64_t max_int8_width = 1 << 17;

/// What values are multiplied by before they are rounded to codes.
inline float int8_scale(float absmax) { return 1.0f / absmax * 127.0f; }

/// Magnitudes from here on are outliers, after rounding to f16.
inline float int8_outlier_limit(float threshold) { return to_f32(to_f16(threshold)); }

}  // namespace detail

}}  // namespace idefics::v0
