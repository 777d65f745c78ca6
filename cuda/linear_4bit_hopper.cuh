// The choice among the products with 4-bit weights in the bf16 order.
#pragma once

#include "linear_4bit.cuh"
#include "linear_4bit_wgmma.cuh"
#include "linear_bf16_hopper.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// The rows of x in a tile of wgmma: 128 if that many waves of tiles of 64 take longer.
inline int four_bit_tile(std::int64_t m, std::int64_t n, int processors) {
  const auto waves = [&](std::int64_t tile_m) {
    return ceil_div(ceil_div(n, 128) * ceil_div(m, tile_m), processors);
  };
  return 3 * waves(64) > 4 * waves(128) ? 128 : 64;
}

/// linear_4bit_bf16 with wgmma where the device has it, rows are many and blocks have at least 64
/// values. `rounded` and `permuted` are scratch [M, rounded_width(K)]; without x, `rounded` is x in
/// bf16.
inline void linear_4bit_bf16(Stream& stream, float* out, const float* x, bf16_t* rounded,
                             bf16_t* permuted, const FourBitMatrix& matrix, LinearEnd end,
                             std::int64_t m, std::int64_t n, Hopper hopper) {
  if (!hopper.wgmma || m <= max_gemv_rows || n == 0 || matrix.blocksize() < k_step)
    return linear_4bit_bf16(stream, out, x, rounded, matrix, end, m, n);
  if (x) round_rows(stream, rounded, x, m, matrix.width);
  const auto launched = four_bit_tile(m, n, hopper.processors) == 64
                            ? launch_gemm_4bit_wgmma<FourBitWgmmaTile<64>>
                            : launch_gemm_4bit_wgmma<FourBitWgmmaTile<128>>;
  launched(stream, out, rounded, permuted, matrix, end, m, n);
}

}}}  // namespace idefics::v0::cuda
