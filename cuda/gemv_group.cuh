// Several matrices times the same few rows of x in one launch: queries, keys and values; gate and
// up. Their blocks follow one another in the grid; each has one or a few bands of 16 weight rows.
// In a gated group, a band has 8 rows of gate and the same 8 of up, so that one thread has both sums
// of an output silu(gate) * up.
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
  unsigned bands = 1;  // that a block multiplies, one after another
  bool gated = false;  // parts[0] is gate, parts[1] is up

  bool operator==(const GemvGroup&) const = default;

  /// How many outputs of a row of x a band has.
  __host__ __device__ int band_outputs() const { return gated ? 8 : 16; }
  /// The part that a block works on, in the constant memory of the launch.
  __device__ const GemvPart<Matrix>& part_of(unsigned block) const {
    return parts[(block >= parts[1].first_block) + (block >= parts[2].first_block)];
  }
};

/// Blocks take several bands, for which they fetch x and tables once, while this many blocks remain:
/// a few for each multiprocessor.
inline constexpr std::int64_t gemv_least_blocks = 512;

/// Groups up to three parts and assigns their blocks in the grid. `gated`: gate and up.
template <class Matrix>
GemvGroup<Matrix> gemv_group(std::span<const GemvPart<Matrix>> parts, std::int64_t least_blocks,
                             bool gated = false) {
  GemvGroup<Matrix> group;
  group.gated = gated;
  const auto with_blocks = gated ? parts.first(1) : parts;
  std::int64_t all_bands = 0;
  for (const GemvPart<Matrix>& part : with_blocks)
    all_bands += ceil_div(part.n_rows, group.band_outputs());
  group.bands = static_cast<unsigned>(std::clamp<std::int64_t>(all_bands / least_blocks, 1, 4));
  std::ranges::copy(parts, group.parts);
  for (std::size_t i = 0; i < with_blocks.size(); ++i) {
    group.parts[i].first_block = group.blocks;
    group.blocks +=
        static_cast<unsigned>(ceil_div(parts[i].n_rows, group.band_outputs() * group.bands));
  }
  return group;
}

}}}  // namespace idefics::v0::cuda
