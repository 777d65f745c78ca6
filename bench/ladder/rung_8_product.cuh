// Rung 8: the kernel that the engine uses (cuda/linear_bf16_gemm.cuh).
//
// It deals the k of a multiplication out so that a thread's operands are 8 bytes behind each other:
// shared memory is read by plain loads instead of ldmatrix, and a product with one row can take
// the same operands from device memory without shared memory, in the same order of sums. For that
// order it adds up eight slices of K by themselves, and it takes every M, N, K and alignment.
#pragma once

#include "cuda/linear.cuh"
#include "problem.cuh"

namespace ladder {

inline void rung_8(Stream& stream, const Problem& p) {
  idefics::cuda::detail::launch_gemm_bf16<GemmTile<128, 128, 64, 32>>(stream, p.out, p.x, p.w, {},
                                                                      p.m, p.n, p.k);
}

}  // namespace ladder
