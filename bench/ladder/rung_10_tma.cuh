// Rung 10: the kernel that the engine uses on Hopper (cuda/linear_bf16_wgmma.cuh).
//
// One thread tells the tensor memory accelerator which boxes to bring, so no other thread computes an
// address or waits for all others: a stage has a barrier for "it is there" and one for "it is free". The
// registers that the bringing warps give back go to sums, so tiles grow to 128 x 192, and a value that
// was brought is used more often. Its width suits the rows of x, and it takes every M and N.
#pragma once

#include "cuda/linear_bf16_wgmma.cuh"
#include "problem.cuh"

namespace ladder {

inline void rung_10(Stream& stream, const Problem& p) {
  gemm_wgmma(stream, p.out, p.x, p.w, {}, p.m, p.n, p.k, 132);
}

}  // namespace ladder
