// Product of two matrices: torch.matmul.
//
//   matmul   out[m,n] = sum_k a[m,k] b[k,n]
//
// Letters: M rows, N outputs, K inputs.
#pragma once

#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

inline void matmul(Tensor out /*[M,N]*/, const Tensor& a /*[M,K]*/, const Tensor& b /*[K,N]*/) {
  const std::int64_t k = b.dim(0), n = b.dim(1);
  auto result = out.as_mutable<float>();
  for (std::int64_t j = 0; j < n; ++j) {
    const Eigen::VectorXd column = Eigen::VectorXd::NullaryExpr(
        k, [&](Eigen::Index i) { return value(b, static_cast<std::int64_t>(i) * n + j); });
    for (std::int64_t m = 0; m < a.dim(0); ++m)
      result[static_cast<std::size_t>(m * n + j)] =
          static_cast<float>(read(a, m * k, k).dot(column) + 0.0);  // -0 becomes 0, as in linear
  }
}

}}}  // namespace idefics::v0::reference
