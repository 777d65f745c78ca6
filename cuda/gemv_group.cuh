// Several matrices times the same few rows of x in one launch: queries, keys and values; gate and
// up. Their blocks follow one another in the grid, 16 weight rows each.
#pragma once

#include <algorithm>
#include <limits>
#include <span>

#include "linear_end.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// The most rows of x for these kernels; with more, tiles in shared memory pay off.
inline constexpr std::int64_t max_gemv_rows = 16;

/// `Matrix` is a pointer to plain weights [N,K], or a FourBitMatrix.
template <class Matrix>
struct GemvPart {
  float* out = nullptr;  // [M,N]
  Matrix weights{};
  LinearEnd end{};
  std::int64_t n_rows = 0;  // N
  /// Set by gemv_group; until then the part owns no blocks.
  unsigned first_block = std::numeric_limits<unsigned>::max();

  bool operator==(const GemvPart&) const = default;
};

template <class Matrix>
struct GemvGroup {
  static constexpr int most = 3;
  GemvPart<Matrix> parts[most];
  unsigned blocks = 0;

  bool operator==(const GemvGroup&) const = default;

  /// The part that a block works on.
  __device__ GemvPart<Matrix> part_of(unsigned block) const {
    if (block >= parts[2].first_block) return parts[2];
    return block >= parts[1].first_block ? parts[1] : parts[0];
  }
};

/// Groups up to three parts and assigns their blocks in the grid.
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
