// Rung 8: the kernel that the engine uses (cuda/linear_bf16_gemm.cuh).
//
// It assigns the k of a multiplication so that a thread's operands are 8 contiguous bytes: shared
// memory is read with plain loads instead of ldmatrix, and a product with one row can load the same
// operands from device memory without shared memory, in the same order of sums. For that order it
// sums eight slices of K separately, and it accepts every M, N, K and alignment.
#pragma once

#include "cuda/linear.cuh"
#include "problem.cuh"

namespace ladder {

inline void rung_8(Stream& stream, const Problem& p) {
  idefics::cuda::detail::launch_gemm_bf16<GemmTile<128, 128, 64, 32>>(stream, p.out, p.x, p.w, {},
                                                                      p.m, p.n, p.k);
}

}  // namespace ladder
