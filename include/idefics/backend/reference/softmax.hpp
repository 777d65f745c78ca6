// Over the last dimension: probabilities of scores, and the index of the largest.
//
//   softmax   out[d] = exp(x[d] - max) / sum_d exp(x[d] - max)               torch.softmax
//   argmax    out = the first d whose x[d] is largest; NaN is larger than any number
//             (torch.argmax; where values are equal, torch does not say which index it returns)
//
// greedy_choice is an argmax with forbidden indices: backend/greedy_choice.hpp.
//
// Subtracting the largest value changes no quotient, and no exponential overflows. Where the
// largest is not finite, the sum is NaN, and with it the row, as in torch.
//
// Letters: M rows, D width.
#pragma once

#include <cmath>

#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

inline void softmax(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/) {
  const std::int64_t d = x.dim(-1);
  for (std::int64_t begin = 0; begin < x.count(); begin += d) {
    const Eigen::VectorXd row = read(x, begin, d);
    const Eigen::VectorXd exponentials =
        (row.array() - row.maxCoeff()).unaryExpr([](double v) { return std::exp(v); });
    write(out, begin, exponentials / exponentials.sum());
  }
}

inline void argmax(Tensor out /*[M] i64*/, const Tensor& x /*[M,D]*/) {
  const std::int64_t d = x.dim(-1);
  for (std::int64_t m = 0; m < out.count(); ++m) {
    const Eigen::VectorXd row = read(x, m * d, d);
    Eigen::Index best = 0;
    for (Eigen::Index i = 1; i < d; ++i)
      if (row[i] > row[best] || (std::isnan(row[i]) && !std::isnan(row[best]))) best = i;
    out.as_mutable<std::int64_t>()[static_cast<std::size_t>(m)] = best;
  }
}

}}}  // namespace idefics::v0::reference
