// Rung 2: a warp per output, whose lanes share the sum.
//
// Neighbouring lanes read neighbouring values, 16 bytes each: whole sectors. The price is a tree of
// five shuffles per output. This is the best way to compute a product with one row; with many rows
// every output still reads 2 K values, and device memory or the L2 cache is the bottleneck.
#pragma once

#include "problem.cuh"

namespace ladder {

template <class P>
__global__ void warp_kernel(P p) {
  const int row = static_cast<int>(blockIdx.y), lane = lane_of_warp();
  const int column = static_cast<int>(blockIdx.x) * 8 + warp_of_block();
  float sum = 0;
  for (int k = 8 * lane; k < p.k; k += 256) {
    const uint4 xs = load_vector<uint4>(p.x_row(row) + k),
                ws = load_vector<uint4>(p.w_row(column) + k);
    const std::uint32_t x[4] = {xs.x, xs.y, xs.z, xs.w}, w[4] = {ws.x, ws.y, ws.z, ws.w};
    UNROLL
    for (int i = 0; i < 4; ++i) {
      const float2 a = unpack_pair<bf16_t>(x[i]), b = unpack_pair<bf16_t>(w[i]);
      sum = fmaf(a.y, b.y, fmaf(a.x, b.x, sum));
    }
  }
  for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(all_lanes, sum, mask);
  if (lane == 0) p.at(row, column) = sum;
}

inline void rung_2(Stream& stream, const Problem& p) {
  launch(stream, tiles(p, 8, 1), 256, 0, warp_kernel<Problem>, p);
}

}  // namespace ladder
