// Normalisation over the last dimension.
//
//   rms_norm     x / sqrt(mean(x^2) + eps) * weight                             IdeficsRMSNorm
//   layer_norm   (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias    torch.nn.LayerNorm
//
// Letters: M rows, D width.
#pragma once

#include <cmath>

#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

inline void rms_norm(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/, const Tensor& weight /*[D]*/,
                     float eps) {
  const std::int64_t d = weight.count();
  const Eigen::VectorXd w = read(weight, 0, d);
  for (std::int64_t begin = 0; begin < x.count(); begin += d) {
    const Eigen::VectorXd row = read(x, begin, d);
    const double mean_square = row.squaredNorm() / static_cast<double>(d);
    write(out, begin, row.cwiseProduct(w) / std::sqrt(mean_square + static_cast<double>(eps)));
  }
}

inline void layer_norm(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/,
                       const Tensor& weight /*[D]*/, const Tensor& bias /*[D]*/, float eps) {
  const std::int64_t d = weight.count();
  const Eigen::VectorXd w = read(weight, 0, d), b = read(bias, 0, d);
  for (std::int64_t begin = 0; begin < x.count(); begin += d) {
    const Eigen::VectorXd row = read(x, begin, d);
    const Eigen::VectorXd centred = row.array() - row.mean();
    const double variance = centred.squaredNorm() / static_cast<double>(d);
    const double scale = 1.0 / std::sqrt(variance + static_cast<double>(eps));
    write(out, begin, (centred * scale).cwiseProduct(w) + b);
  }
}

}}}  // namespace idefics::v0::reference
