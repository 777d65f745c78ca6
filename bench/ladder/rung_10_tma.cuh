// Rung 10: the kernel that the engine uses on Hopper (cuda/linear_bf16_wgmma.cuh).
//
// One thread tells the tensor memory accelerator which boxes to load, so that no other thread
// computes an address or waits for all others: each stage has a barrier for "full" and one for
// "empty". The registers that the loading warps release are used for sums, so tiles grow to
// 128 x 192, and each loaded value is used more often. The width of the tile is chosen for the
// number of rows of x, and the kernel accepts every M and N.
#pragma once

#include "cuda/linear_bf16_hopper.cuh"
#include "problem.cuh"

namespace ladder {

inline void rung_10(Stream& stream, const Problem& p) {
  gemm_wgmma(stream, p.out, p.x, p.w, {}, p.m, p.n, p.k, 132);
}

}  // namespace ladder
