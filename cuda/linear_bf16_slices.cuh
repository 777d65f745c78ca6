// Products in the bf16 order on Hopper whose tiles do not fill the GPU: the slices of K are divided
// among the blocks of a cluster.
//
// A cluster of 4 or 8 blocks owns a tile of linear_bf16_wgmma.cuh, each block one or two slices of K.
// Partial sums are never added to one another, as the order of the sum requires: every block puts the
// sums of its slices into its own shared memory, in place of the ring. Then each block adds all
// slices, in their order, for its share of the fragments, and reads them from the shared memory of
// all blocks.
//
//              block 0      block 1           block 7
//           ┌────────────┬────────────┬─ … ─┬────────────┐
//   128 n   │ slice 0    │ slice 1    │     │ slice 7    │  → sums of 128 n × tile_m, each in its block
//           └─────┬──────┴─────┬──────┴─ … ─┴─────┬──────┘
//                 └────────────┴───────┬──────────┘
//   block r: fragments r, r + 8, …     └→ ((s0 + s1) + s2) + … + s7, bias, residual, out
//
// Bound: the bytes that all blocks together receive from the L2 cache.
#pragma once

#include <algorithm>

#include "linear_bf16_wgmma.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// The slices of K of a block.
struct BlockSlices {
  int steps_of_slice, slices, each, first_step, steps;  // `each`: 1 or 2 per block

  __device__ explicit BlockSlices(std::int64_t k_width)
      : steps_of_slice(slice_width(k_width) / k_step) {
    const int all = static_cast<int>(ceil_div(k_width, k_step));
    slices = static_cast<int>(ceil_div(all, steps_of_slice));
    each = static_cast<int>(ceil_div(slices, cluster_size()));
    const int width = each * steps_of_slice;
    first_step = cluster_rank() * width < all ? cluster_rank() * width : all;
    steps = first_step + width < all ? width : all - first_step;
  }
};

/// Adds all slices of this block's fragments and stores the outputs. `partial` is shared, [slice of a
/// block][fragment][thread] of four sums.
template <class T>
__device__ inline void add_slices_of_cluster(float* out, const float4* partial,
                                             const BlockSlices& own, const LinearEnd& end,
                                             std::int64_t n0, std::int64_t m0, std::int64_t m_rows,
                                             std::int64_t n_rows) {
  constexpr int fragments = T::tile_m / 8;
  const int thread = thread_of_block() - 128;
  for (int j = cluster_rank(); j < fragments && m0 + 8 * j < m_rows; j += cluster_size()) {
    float4 sums[k_slices];
    UNROLL
    for (int s = 0; s < k_slices; ++s) {
      const int at = (own.each == 1 ? 0 : s % 2) * fragments + j;
      if (s < own.slices)
        sums[s] = load_from_block(partial + at * 256 + thread, own.each == 1 ? s : s / 2);
    }
    float total[4] = {};
    UNROLL
    for (int s = 0; s < k_slices; ++s) {
      if (s >= own.slices) continue;
      total[0] += sums[s].x, total[1] += sums[s].y, total[2] += sums[s].z, total[3] += sums[s].w;
    }
    store_outputs<1, 1>(out, end, n0, m0 + 8 * j, m_rows, n_rows,
                        [&](int, int, int e) { return total[e]; });
  }
}

template <class T>
__global__ void __launch_bounds__(T::threads, 1)
    gemm_slices_kernel(float* out, const __grid_constant__ TensorMap w,
                       const __grid_constant__ TensorMap x, LinearEnd end, std::int64_t m_rows,
                       std::int64_t n_rows, std::int64_t k_width) {
  const WgmmaRing<T> ring;
  const BlockSlices own(k_width);
  const int n0 = static_cast<int>(blockIdx.y) * T::tile_n;
  const int m0 = static_cast<int>(blockIdx.x) * T::tile_m;
  if (thread_of_block() == 0) ring.open();
  __syncthreads();
  if (thread_of_block() < 128) {
    fewer_registers<24>();
    if (thread_of_block() == 0) load_steps(ring, w, x, n0, m0, own.first_step * k_step, own.steps);
    return;
  }
  more_registers<240>();
  const int group = thread_of_block() / 128 - 1, thread = thread_of_block() - 128;
  constexpr int fragments = T::tile_m / 8;
  float d[2][T::sums];
  UNROLL
  for (int s = 0; s < 2; ++s) {
    const int begin = s * own.steps_of_slice, stop = begin + own.steps_of_slice;
    if (begin < own.steps)
      multiply_slice<T>(d[s], ring, group, begin, stop < own.steps ? stop : own.steps);
  }
  named_barrier_sync(1, 256);  // both warpgroups have finished with the ring
  float4* const partial = reinterpret_cast<float4*>(ring.stages);
  UNROLL
  for (int s = 0; s < 2; ++s) {
    if (s * own.steps_of_slice >= own.steps) continue;
    UNROLL
    for (int j = 0; j < fragments; ++j)
      store_vector(partial + (s * fragments + j) * 256 + thread,
                   make_float4(d[s][4 * j], d[s][4 * j + 1], d[s][4 * j + 2], d[s][4 * j + 3]));
  }
  cluster_sync();
  add_slices_of_cluster<T>(out, partial, own, end, n0 + group * 64 + warp_of_block() % 4 * 16, m0,
                           m_rows, n_rows);
  cluster_sync();  // no block ends while others read its sums
}

template <class T>
void launch_gemm_slices(Stream& stream, float* out, const bf16_t* x, const bf16_t* w, LinearEnd end,
                        std::int64_t m, std::int64_t n, std::int64_t k, int blocks) {
  static_assert(sizeof(float4) * 256 * 2 * (T::tile_m / 8) <= T::shared_bytes);
  const auto parts = static_cast<unsigned>(blocks);
  const dim3 grid(static_cast<unsigned>(ceil_div(m, T::tile_m)),
                  static_cast<unsigned>(ceil_div(n, T::tile_n)), parts);
  launch_clusters(stream, grid, dim3(T::threads), dim3(1, 1, parts), T::shared_bytes,
                  gemm_slices_kernel<T>, out, tensor_map(w, n, k, T::tile_n),
                  tensor_map(x, m, rounded_width(k), T::tile_m), end, m, n, k);
}

}}}  // namespace idefics::v0::cuda
