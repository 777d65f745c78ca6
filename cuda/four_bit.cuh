// 4-bit weights in device memory (quant/blockwise.hpp): codes for 16 values, scaled by the largest
// magnitude of their block.
#pragma once

#include "device.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// A matrix [N,K] in 4 bits. Blocks are counted over the flattened matrix. Pointers are to device
/// memory, aligned to 16 bytes.
struct FourBitMatrix {
  const std::uint8_t* codes = nullptr;  // [ceil(N K / 2)], the first of a pair in the high nibble
  const void* absmax = nullptr;         // [blocks] f32, or u8 when doubly quantized
  const float* nested = nullptr;        // [ceil(blocks / 256)] when doubly quantized, or null
  const float* map = nullptr;           // [256] when doubly quantized, or null
  float offset = 0;
  int block_shift = 6;           // log2 of the block size, which is at least 32
  std::int64_t width = 0;        // K
  const float* table = nullptr;  // [16], the values that the codes stand for

  bool operator==(const FourBitMatrix&) const = default;

  __host__ __device__ std::int64_t blocksize() const { return std::int64_t{1} << block_shift; }
  bool rows_hold_whole_blocks() const { return width % blocksize() == 0; }
  __device__ float absmax_of(std::int64_t block) const {
    // Plain loads: with load_global, the f32 order of two rows needs more registers than it has.
    if (!nested) return static_cast<const float*>(absmax)[block];
    const std::uint8_t code = static_cast<const std::uint8_t*>(absmax)[block];
    // Rounded before the addition: nothing is fused (-fmad=false).
    const float product = map[code] * nested[block / 256];
    return product + offset;
  }
  __device__ int code_at(std::int64_t i) const {
    const int pair = codes[i / 2];
    return i % 2 == 0 ? pair >> 4 : pair & 15;
  }
};

}}}  // namespace idefics::v0::cuda
