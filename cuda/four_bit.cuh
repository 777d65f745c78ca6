// 4-bit weights in device memory (quant/blockwise.hpp): codes of 16 values, scaled by the largest
// magnitude of their block.
#pragma once

#include "linear_f32.cuh"

namespace idefics::inline v0::cuda {

/// A matrix [N,K] in 4 bits. Blocks are counted over the flattened matrix. Pointers are to device memory
/// and multiples of 16.
struct FourBitMatrix {
  const std::uint8_t* codes = nullptr;  // [ceil(N K / 2)], the first of a pair in the high nibble
  const void* absmax = nullptr;         // [blocks] f32, or u8 when doubly quantized
  const float* nested = nullptr;        // [ceil(blocks / 256)] when doubly quantized, or null
  const float* map = nullptr;           // [256] then
  float offset = 0;
  int block_shift = 6;           // log2 of the block size, 32 and up
  std::int64_t width = 0;        // K
  const float* table = nullptr;  // [16], what the codes stand for

  __device__ float absmax_of(std::int64_t block) const {
    if (!nested) return static_cast<const float*>(absmax)[block];
    const std::uint8_t code = static_cast<const std::uint8_t*>(absmax)[block];
    const float product =
        map[code] * nested[block / 256];  // rounded: nothing is fused (-fmad=false)
    return product + offset;
  }
  __device__ int code_at(std::int64_t i) const {
    const int pair = codes[i / 2];
    return i % 2 == 0 ? pair >> 4 : pair & 15;
  }
};

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

}  // namespace idefics::inline v0::cuda
