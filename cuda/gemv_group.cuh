// Matrices that multiply the same few rows of x in one launch: queries, keys and values; gate and up.
// Their blocks lie behind each other in the grid, 16 weight rows each.
#pragma once

#include <algorithm>
#include <limits>
#include <span>

#include "linear_end.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Rows of x that these kernels take; more are worth tiles in shared memory.
inline constexpr std::int64_t gemv_rows_most = 16;

/// `Matrix` is a pointer to plain weights [N,K], or a FourBitMatrix.
template <class Matrix>
struct GemvPart {
  float* out = nullptr;  // [M,N]
  Matrix weights{};
  LinearEnd end{};
  std::int64_t n_rows = 0;                                      // N
  unsigned first_block = std::numeric_limits<unsigned>::max();  // none, unless `gemv_group` says so

  bool operator==(const GemvPart&) const = default;
};

template <class Matrix>
struct GemvGroup {
  static constexpr int most = 3;
  GemvPart<Matrix> parts[most];
  unsigned blocks = 0;

  bool operator==(const GemvGroup&) const = default;

  /// What a block works on.
  __device__ GemvPart<Matrix> part_of(unsigned block) const {
    if (block >= parts[2].first_block) return parts[2];
    return block >= parts[1].first_block ? parts[1] : parts[0];
  }
};

/// Up to three parts, with their places in the grid.
template <class Matrix>
GemvGroup<Matrix> gemv_group(std::span<const GemvPart<Matrix>> parts) {
  GemvGroup<Matrix> group;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    group.parts[i] = parts[i];
    group.parts[i].first_block = group.blocks;
    group.blocks += static_cast<unsigned>(ceil_div(parts[i].n_rows, 16));
  }
  return group;
}

}}}  // namespace idefics::v0::cuda
