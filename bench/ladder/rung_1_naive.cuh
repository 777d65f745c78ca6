// Rung 1: a thread per output, which reads its two rows from device memory.
//
// Every output reads 2 K values for K products. Neighbouring threads read the same row of x, but
// different rows of w at the same k: 16 addresses that are 2 K bytes apart. So of each sector of 32
// bytes that arrives, 2 bytes are used at a time, and the rest relies on the cache.
#pragma once

#include "problem.cuh"

namespace ladder {

template <class P>
__global__ void naive_kernel(P p) {
  const int row = static_cast<int>(blockIdx.y * 16 + threadIdx.y);
  const int column = static_cast<int>(blockIdx.x * 16 + threadIdx.x);
  float sum = 0;
  for (int k = 0; k < p.k; ++k)
    sum = fmaf(to_float(p.x_row(row)[k]), to_float(p.w_row(column)[k]), sum);
  p.at(row, column) = sum;
}

inline void rung_1(Stream& stream, const Problem& p) {
  launch(stream, tiles(p, 16, 16), dim3(16, 16), 0, naive_kernel<Problem>, p);
}

}  // namespace ladder
