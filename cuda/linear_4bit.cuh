// Linear layer with 4-bit weights.
//
//   out[m,n] = sum_k x[m,k] table[code[n,k]] absmax[block of (n,k)] + bias[n] + residual[m,n]
//
// Bound: the bytes of the codes up to a few rows, then the peak of the products.
//   f32 order    a weight is table × absmax rounded to f32: the bits of a dequantized matrix and of the
//                CPU backend, by the kernels of linear_f32.cuh
//   bf16 order   tensor cores (linear_4bit_gemm.cuh) where rows hold whole blocks. Where they do not,
//                the f32 order over x and table rounded to bf16, for any number of rows: which of the
//                two it is depends on K and the block size alone
#pragma once

#include "four_bit.cuh"
#include "linear_f32.cuh"

namespace idefics::inline v0::cuda {

/// Weights for the kernels of the f32 order. `quads`: K is a multiple of 4, so four weights are two
/// bytes of one block. `rounded`: x is rounded to bf16, and the values of codes are.
template <bool quads, bool rounded>
struct FourBitWeights {
  static constexpr int ahead = quads ? 8 : 1;
  FourBitMatrix matrix;

  struct Fetched {
    std::uint32_t codes;  // the first in the lowest four bits
    float absmax[quads ? 1 : 4];
  };
  __device__ Fetched fetch(std::int64_t n, std::int64_t k) const {
    const std::int64_t at = n * matrix.width + k;
    Fetched fetched{};
    if constexpr (quads) {
      const std::uint32_t two = load_vector<std::uint16_t>(matrix.codes + at / 2);
      fetched.codes = (two >> 4 & 0x0f0fu) | (two << 4 & 0xf0f0u);
      fetched.absmax[0] = matrix.absmax_of(at >> matrix.block_shift);
    } else {
      for (int i = 0; i < 4; ++i) {
        if (k + i >= matrix.width) break;  // what lies behind is 0 times the value of code 0
        fetched.codes |= static_cast<std::uint32_t>(matrix.code_at(at + i)) << 4 * i;
        fetched.absmax[i] = matrix.absmax_of((at + i) >> matrix.block_shift);
      }
    }
    return fetched;
  }
  __device__ void widen(float (&v)[4], const Fetched& fetched, const float* table) const {
    for (int i = 0; i < 4; ++i)
      v[i] = table[fetched.codes >> 4 * i & 15] * fetched.absmax[quads ? 0 : i];
  }
  __device__ void fill(float* table) const {
    if (threadIdx.x < 16) table[threadIdx.x] = input(matrix.table[threadIdx.x]);
  }
  static __device__ float input(float x) { return rounded ? to_float(from_float<bf16_t>(x)) : x; }
};

/// out [M,N] from x [M,K], in the f32 order; with `rounded`, over x and table rounded to bf16.
inline void linear_4bit_f32(cudaStream_t stream, float* out, const float* x,
                            const FourBitMatrix& matrix, bool rounded, LinearEnd end,
                            std::int64_t m, std::int64_t n) {
  const auto run = [&](auto weights) {
    linear_f32_order(stream, out, x, weights, end, m, n, matrix.width);
  };
  if (rounded) return run(FourBitWeights<false, true>{matrix});
  if (matrix.width % 4 == 0) return run(FourBitWeights<true, false>{matrix});
  run(FourBitWeights<false, false>{matrix});
}

}  // namespace idefics::inline v0::cuda
