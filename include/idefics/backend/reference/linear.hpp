// Linear layer: torch.nn.Linear.
//
//   out[m,n] = sum_k x[m,k] weight[n,k] + bias[n]
//
// The base class implements linear_group, normed_linear_group, gated_linear_unit, linear_add and
// linear_gated_add with these products (backend.hpp).
//
// 4-bit weights are codebook[code] * absmax, rounded to f32. With Compute::bf16 both factors of a
// product are rounded to bf16 first; of a 4-bit weight, the codebook's value is rounded and absmax
// is not. Products of two bf16 (or f32) values are exact in double, so only the sum rounds.
//
// Letters: M rows, N outputs, K inputs.
#pragma once

#include <idefics/backend/backend.hpp>
#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

/// Row `row` of an unquantized matrix with rows of width k, in the precision of `compute`.
inline Eigen::VectorXd plain_row(const Tensor& t, std::int64_t row, std::int64_t k,
                                 Compute compute) {
  Eigen::VectorXd values = read(t, row * k, k);
  if (compute == Compute::bf16) values = values.unaryExpr(&round_to_bf16).eval();
  return values;
}

/// Row `row` of a weight, in the precision of `compute`.
inline Eigen::VectorXd weight_row(const LinearWeight& weight, std::int64_t row, Compute compute) {
  if (!weight.packed) return plain_row(weight.values, row, weight.cols(), compute);
  const QuantizedTensor& q = weight.packed;
  const Codebook table = q.table();
  Eigen::VectorXd values(weight.cols());
  for (std::int64_t k = 0, i = row * weight.cols(); k < weight.cols(); ++k, ++i) {
    const auto pair = static_cast<std::uint8_t>(q.codes.raw()[i / 2]);
    const float code = table[i % 2 == 0 ? pair >> 4 : pair & 15];
    float absmax = 0;
    q.expand_absmax(i / q.blocksize, {&absmax, 1});
    values[k] = compute == Compute::bf16
                    ? static_cast<double>(to_f32(to_bf16(code))) * static_cast<double>(absmax)
                    : static_cast<double>(code * absmax);
  }
  return values;
}

inline void linear(Tensor out /*[M,N]*/, const Tensor& x /*[M,K]*/,
                   const LinearWeight& weight /*[N,K]*/, const Tensor& bias /*[N]*/,
                   Compute compute) {
  const std::int64_t n_rows = weight.rows(), k = weight.cols();
  auto result = out.as_mutable<float>();
  for (std::int64_t m = 0; m < x.dim(0); ++m) {
    const Eigen::VectorXd x_m = plain_row(x, m, k, compute);
    for (std::int64_t n = 0; n < n_rows; ++n) {
      const Eigen::VectorXd w_n = weight_row(weight, n, compute);
      const double sum = x_m.dot(w_n) + (bias ? value(bias, n) : 0.0);
      result[static_cast<std::size_t>(m * n_rows + n)] = static_cast<float>(sum);
    }
  }
}

}}}  // namespace idefics::v0::reference
