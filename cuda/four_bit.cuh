// 4-bit weights in device memory (quant/blockwise.hpp): codes of 16 values, scaled by the largest
// magnitude of their block.
#pragma once

#include "device.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

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

  bool operator==(const FourBitMatrix&) const = default;

  __host__ __device__ std::int64_t blocksize() const { return std::int64_t{1} << block_shift; }
  bool rows_hold_whole_blocks() const { return width % blocksize() == 0; }
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

}}}  // namespace idefics::v0::cuda
