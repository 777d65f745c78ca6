// Rung 9: wgmma, an instruction that only Hopper has, instead of mma.sync.
//
// Four warps together multiply 64 weight rows with 128 rows of x, and the tensor cores themselves
// read both operands from shared memory: no fragments, no loads into registers, 8 instructions
// instead of the 128 and 96 of rung 7. The swizzle of rung 6 is one that the instruction supports.
// The tensor cores see what cp.async has copied only after a fence. This needs sm_90a.
#pragma once

#include "cuda/hopper.cuh"
#include "rung_7_stages.cuh"

namespace ladder {

template <class P>
__global__ void __launch_bounds__(256) wgmma_kernel(P p) {
  bf16_t* const all = dynamic_shared<bf16_t>();
  const int first = warp_of_block() / 4 * 64;  // first weight row of these four warps
  float d[64] = {};
  for (int step = 0; step < stages - 1; ++step) begin_step<Swizzled>(all, p, step);
  for (int step = 0; step * step_k < p.k; ++step) {
    cp_async_wait<stages - 2>();
    async_proxy_fence();
    __syncthreads();  // this step is complete, and all threads have finished the previous one
    begin_step<Swizzled>(all, p, step + stages - 1);
    const bf16_t* const x_tile = all + step % stages * 2 * tile_values;
    const std::uint64_t x = describe_tile(x_tile);
    const std::uint64_t w = describe_tile(x_tile + tile_values + first * step_k);
    wgmma_fence(d);
    UNROLL
    for (unsigned i = 0; i < step_k / 16; ++i) wgmma<128>(d, w + 2 * i, x + 2 * i);
    wgmma_commit();
    wgmma_wait_for(d);
  }
  const int column = static_cast<int>(blockIdx.x) * tile_rows + first + warp_of_block() % 4 * 16;
  const int row = static_cast<int>(blockIdx.y) * tile_rows;
  UNROLL
  for (int i = 0; i < 64; ++i)
    p.at(row + i / 4 * 8 + lane_of_warp() % 4 * 2 + i % 2,
         column + lane_of_warp() / 4 + i / 2 % 2 * 8) = d[i];
}

inline void rung_9(Stream& stream, const Problem& p) {
  launch(stream, tiles(p, tile_rows, tile_rows), 256, sizeof(bf16_t) * stages * 2 * tile_values,
         wgmma_kernel<Problem>, p);
}

}  // namespace ladder
