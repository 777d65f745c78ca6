// Rotary position embedding in the half-split form: IdeficsEmbedding, apply_rotary_pos_emb (Su et
// al. 2021). With a = x[..., :E/2] and b = x[..., E/2:] of a head,
//
//   a' = a cos[p] - b sin[p],   b' = b cos[p] + a sin[p],   p the position of the row.
//
// The base class implements rope_and_cache with rope and scatter_rows (backend.hpp).
// Letters: M rows, H heads, E head width, T columns.
#pragma once

#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

inline void rope(Tensor x /*[M,H,E]*/, const Tensor& cos /*[T,E/2]*/, const Tensor& sin /*[T,E/2]*/,
                 std::span<const std::int32_t> positions /*[M]*/) {
  const std::int64_t heads = x.dim(1), half = cos.dim(1);
  for (std::int64_t m = 0; m < x.dim(0); ++m) {
    const std::int64_t position = positions[static_cast<std::size_t>(m)];
    require_index(position, cos.dim(0), ErrorCode::invalid_argument, "position");
    const Eigen::VectorXd c = read(cos, position * half, half),
                          s = read(sin, position * half, half);
    for (std::int64_t h = 0; h < heads; ++h) {
      const std::int64_t begin = (m * heads + h) * 2 * half;
      const Eigen::VectorXd a = read(x, begin, half), b = read(x, begin + half, half);
      write(x, begin, a.cwiseProduct(c) - b.cwiseProduct(s));
      write(x, begin + half, b.cwiseProduct(c) + a.cwiseProduct(s));
    }
  }
}

}}}  // namespace idefics::v0::reference
