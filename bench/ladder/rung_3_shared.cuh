// Rung 3: a block loads tiles of x and w into shared memory and uses every value 32 times.
//
// A block owns 32 x 32 outputs: per step of 32 k it reads 2 x 32 x 32 values from memory for 32^3
// products, where rung 1 reads 2 per product. Rows in shared memory are 33 values apart, so that a
// column of them is in 32 different banks. Now shared memory limits the speed: 2 reads per product.
#pragma once

#include "problem.cuh"

namespace ladder {

template <class P>
__global__ void shared_kernel(P p) {
  SHARED_ARRAY(float, x_tile, 32 * 33);
  SHARED_ARRAY(float, w_tile, 32 * 33);
  const int i = static_cast<int>(threadIdx.x), j = static_cast<int>(threadIdx.y);
  const int row = static_cast<int>(blockIdx.y) * 32, column = static_cast<int>(blockIdx.x) * 32;
  float sum = 0;
  for (int k0 = 0; k0 < p.k; k0 += 32) {
    __syncthreads();  // the tiles of the previous step have been used
    x_tile[j * 33 + i] = to_float(p.x_row(row + j)[k0 + i]);
    w_tile[j * 33 + i] = to_float(p.w_row(column + j)[k0 + i]);
    __syncthreads();
    for (int k = 0; k < 32; ++k) sum = fmaf(x_tile[j * 33 + k], w_tile[i * 33 + k], sum);
  }
  p.at(row + j, column + i) = sum;
}

inline void rung_3(Stream& stream, const Problem& p) {
  launch(stream, tiles(p, 32, 32), dim3(32, 32), 0, shared_kernel<Problem>, p);
}

}  // namespace ladder
