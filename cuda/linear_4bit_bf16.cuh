// Products with 4-bit weights in the bf16 order of the GPU, for rows that consist of whole blocks.
//
// The order (docs/determinism.md): codes stand for values rounded to bf16. Each block of a row is a
// chain of tensor-core products of its own; within a slice of K, total = fma(sum of the block,
// absmax of the block, total) for its blocks in order; the slices are added in order. Of each 32 k
// the first multiplication gets those with k mod 8 < 4, so that a thread's share of a row is 4
// bytes of codes.
//
// A byte is a pair of codes, so a table of 256 bf16 pairs turns it into an operand register in one
// access. Kernels: linear_4bit_gemv.cuh (few rows) and linear_4bit_gemm.cuh (many).
#pragma once

#include "four_bit.cuh"
#include "linear_bf16.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int k_unit = 32;  // two multiplications

/// d[16 n][8 m] += 16 weight rows times 8 rows of x over a unit. Thread t of a row has k = 8 t to
/// 8 t + 7.
__device__ inline void multiply_unit(float (&d)[4], const uint4& low, const uint4& high,
                                     const uint4& x) {
  multiply(d, {low.x, low.y}, {high.x, high.y}, {x.x, x.y});
  multiply(d, {low.z, low.w}, {high.z, high.w}, {x.z, x.w});
}

/// Slices of K are multiples of this: of blocks and of steps.
__host__ __device__ inline std::int64_t four_bit_multiple(const FourBitMatrix& matrix) {
  return matrix.blocksize() > k_step ? matrix.blocksize() : k_step;
}

/// Fills pairs[byte * copies …] with the pair of values of each byte, in shared memory. All threads
/// of the block take part; a barrier must follow.
template <int copies>
__device__ inline void fill_pairs(std::uint32_t* pairs, const float* table) {
  for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) {
    const std::uint32_t pair =
        pack_pair<bf16_t>(load_global<float>(table + i / 16), load_global<float>(table + i % 16));
    if constexpr (copies == 1) {
      pairs[i] = pair;
    } else {  // four copies at a time, neighbouring threads in different banks
      UNROLL
      for (unsigned j = 0; j < copies / 4; ++j)
        store_vector(pairs + i * copies + (i + j) % (copies / 4) * 4,
                     make_uint4(pair, pair, pair, pair));
    }
  }
}

/// The values of eight codes, four bytes: a thread's share of a row.
template <int copies>
__device__ inline uint4 look_up(const std::uint32_t* pairs, std::uint32_t codes) {
  return make_uint4(pairs[byte_of<0>(codes) * copies], pairs[byte_of<1>(codes) * copies],
                    pairs[byte_of<2>(codes) * copies], pairs[byte_of<3>(codes) * copies]);
}

}}}  // namespace idefics::v0::cuda
