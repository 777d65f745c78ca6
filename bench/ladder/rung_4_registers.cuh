// Rung 4: a thread computes 8 x 8 outputs, so that a value read from shared memory is used 8 times.
//
// From the 8 + 8 values that a thread reads per k it makes 64 products: the multipliers are busy,
// and the f32 peak is near. The tiles are stored with k outermost, [16 k][128], so that a thread's
// values are two runs of four. What is left is the peak itself: tensor cores have one 15 times as
// high.
#pragma once

#include "problem.cuh"

namespace ladder {

/// tile[k][row] = 16 k of 128 rows, loaded by 256 threads, eight values each.
__device__ inline void load_transposed(float* tile, const bf16_t* from, int k_width) {
  const int row = thread_of_block() / 2, k = thread_of_block() % 2 * 8;
  const uint4 eight = load_vector<uint4>(from + static_cast<std::int64_t>(row) * k_width + k);
  const std::uint32_t pairs[4] = {eight.x, eight.y, eight.z, eight.w};
  UNROLL
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack_pair<bf16_t>(pairs[i]);
    tile[(k + 2 * i) * 128 + row] = pair.x;
    tile[(k + 2 * i + 1) * 128 + row] = pair.y;
  }
}

/// v = the values of rows first .. first + 3 and of those 64 further on.
__device__ inline void read_eight(float (&v)[8], const float* rows, int first) {
  for (int half = 0; half < 2; ++half) {
    const float4 four = load_vector<float4>(rows + first + 64 * half);
    v[4 * half] = four.x, v[4 * half + 1] = four.y, v[4 * half + 2] = four.z,
          v[4 * half + 3] = four.w;
  }
}

template <class P>
__global__ void __launch_bounds__(256) registers_kernel(P p) {
  SHARED_ARRAY(float, x_tile, 16 * 128);
  SHARED_ARRAY(float, w_tile, 16 * 128);
  const int row = static_cast<int>(blockIdx.y) * 128, column = static_cast<int>(blockIdx.x) * 128;
  const int own_x = thread_of_block() / 16 * 4, own_w = thread_of_block() % 16 * 4;
  float sums[64] = {};
  for (int k0 = 0; k0 < p.k; k0 += 16) {
    __syncthreads();
    load_transposed(x_tile, p.x_row(row) + k0, p.k);
    load_transposed(w_tile, p.w_row(column) + k0, p.k);
    __syncthreads();
    for (int k = 0; k < 16; ++k) {
      float x[8], w[8];
      read_eight(x, x_tile + k * 128, own_x);
      read_eight(w, w_tile + k * 128, own_w);
      UNROLL
      for (int i = 0; i < 64; ++i) sums[i] = fmaf(x[i / 8], w[i % 8], sums[i]);
    }
  }
  UNROLL
  for (int i = 0; i < 64; ++i)
    p.at(row + own_x + i / 8 % 4 + i / 32 * 64, column + own_w + i % 4 + i % 8 / 4 * 64) = sums[i];
}

inline void rung_4(Stream& stream, const Problem& p) {
  launch(stream, tiles(p, 128, 128), 256, 0, registers_kernel<Problem>, p);
}

}  // namespace ladder
