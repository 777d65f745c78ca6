// Rung 7: the next two steps arrive while one is multiplied.
//
// cp.async copies from device memory to shared memory without a register or a waiting thread. With
// three stages of tiles, a step has the time of two multiplications to arrive, which hides the
// latency of memory; and one barrier per step is enough, since no thread writes to the stage that
// is being read.
#pragma once

#include "rung_6_swizzle.cuh"

namespace ladder {

inline constexpr int stages = 3, tile_values = tile_rows * step_k;

template <class Layout>
__device__ void start_loading(bf16_t* tile, const bf16_t* from, int k_width) {
  for (int i = thread_of_block(); i < tile_rows * 8; i += 256)
    cp_async16(tile + Layout::at(i / 8, i % 8), from + std::int64_t{i / 8} * k_width + i % 8 * 8);
}

/// Starts loading step `step` of both tiles, x first, into its stage; past the last step, nothing.
template <class Layout, class P>
__device__ void begin_step(bf16_t* all, const P& p, int step) {
  if (step * step_k < p.k) {
    bf16_t* const stage = all + step % stages * 2 * tile_values;
    const int row = static_cast<int>(blockIdx.y) * tile_rows;
    const int column = static_cast<int>(blockIdx.x) * tile_rows;
    start_loading<Layout>(stage, p.x_row(row) + step * step_k, p.k);
    start_loading<Layout>(stage + tile_values, p.w_row(column) + step * step_k, p.k);
  }
  cp_async_commit();  // also without copies at the end, so that the count of groups stays right
}

template <class Layout, class P>
__global__ void __launch_bounds__(256) stages_kernel(P p) {
  bf16_t* const all = dynamic_shared<bf16_t>();
  const WarpPlace warp;
  Sums d = {};
  for (int step = 0; step < stages - 1; ++step) begin_step<Layout>(all, p, step);
  for (int step = 0; step * step_k < p.k; ++step) {
    cp_async_wait<stages - 2>();
    __syncthreads();  // this step is complete, and all threads have finished the previous one
    begin_step<Layout>(all, p, step + stages - 1);
    const bf16_t* const stage = all + step % stages * 2 * tile_values;
    multiply<Layout>(d, stage + tile_values, stage, warp.w_row, warp.x_row);
  }
  write(p, d, warp);
}

inline void rung_7(Stream& stream, const Problem& p) {
  launch(stream, tiles(p, tile_rows, tile_rows), 256, sizeof(bf16_t) * stages * 2 * tile_values,
         stages_kernel<Swizzled, Problem>, p);
}

}  // namespace ladder
