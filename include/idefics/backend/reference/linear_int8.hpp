// Linear layer with an int8 weight: LLM.int8, as quant/int8.hpp defines it. Codes, absmax and
// outliers follow from f32 arithmetic; with them, the sums are those of exact products.
//
// Letters: M rows, N outputs, K inputs.
#pragma once

#include <cmath>
#include <vector>

#include <idefics/backend/backend.hpp>
#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

/// A row of x as codes, and its outliers.
struct Int8Codes {
  std::vector<std::int64_t> codes, outliers;  // [K]; columns, ascending
  float absmax = 0;
};

/// Values are rounded to f16 before all else.
inline Int8Codes int8_codes(const std::vector<float>& row, float threshold) {
  Int8Codes q;
  const float limit = detail::int8_outlier_limit(threshold);
  std::vector<float> values;
  for (const float v : row) {
    const float half = to_f32(to_f16(v));
    const bool outlier = threshold > 0 && std::abs(half) >= limit;
    if (outlier) q.outliers.push_back(std::ssize(values));
    values.push_back(outlier ? 0.0f : half);
    if (std::isnan(half) || std::abs(values.back()) > q.absmax) q.absmax = std::abs(values.back());
  }
  for (const float v : values) {
    const float code = std::nearbyint(v * detail::int8_scale(q.absmax));
    q.codes.push_back(std::isnan(code) ? 0 : static_cast<std::int64_t>(code));
  }
  return q;
}

/// `out` [M,N], x [M,K], bias [N] or empty.
inline void linear_int8(Tensor out, const Tensor& x, const Int8Matrix& weight, const Tensor& bias,
                        Compute compute) {
  const std::int64_t n_rows = weight.codes.dim(0), width = weight.codes.dim(1);
  const auto* codes = reinterpret_cast<const std::int8_t*>(weight.codes.raw());
  auto result = out.as_mutable<float>();
  for (std::int64_t m = 0; m < x.dim(0); ++m) {
    std::vector<float> row;
    for (std::int64_t k = 0; k < width; ++k) {
      const float v = detail::element_as_f32(x, m * width + k);
      row.push_back(compute == Compute::bf16 ? to_f32(to_bf16(v)) : v);
    }
    const Int8Codes q = int8_codes(row, weight.threshold);
    for (std::int64_t n = 0; n < n_rows; ++n) {
      const float absmax = detail::element_as_f32(weight.absmax, n);
      std::int64_t products = 0;
      for (std::int64_t k = 0; k < width; ++k)
        products += q.codes[static_cast<std::size_t>(k)] * codes[n * width + k];
      double sum = static_cast<double>(products) * static_cast<double>(q.absmax) *
                       static_cast<double>(absmax) *
                       static_cast<double>(detail::int8_product_step) +
                   (bias ? value(bias, n) : 0.0);
      for (const std::int64_t k : q.outliers) {
        const float code = static_cast<float>(codes[n * width + k]);
        float w = code * absmax * detail::int8_weight_step;
        if (compute == Compute::bf16) w = to_f32(to_bf16(w));
        sum += static_cast<double>(row[static_cast<std::size_t>(k)]) * static_cast<double>(w);
      }
      result[static_cast<std::size_t>(m * n_rows + n)] = static_cast<float>(sum);
    }
  }
}

}}}  // namespace idefics::v0::reference
