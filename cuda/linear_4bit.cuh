// Linear layer with 4-bit weights.
//
//   out[m,n] = sum_k x[m,k] table[code[n,k]] absmax[block of (n,k)] + bias[n] + residual[m,n]
//
// Bound: the bytes of the codes up to 16 rows, then the peak of the products.
//   f32 order    a weight is table × absmax rounded to f32: the bits of a dequantized matrix and of the
//                CPU backend (linear_f32.cuh)
//   bf16 order   tensor cores; where rows hold whole blocks, linear_4bit_bf16.cuh up to 16 rows and
//                linear_4bit_gemm.cuh for more. Where they do not, the f32 order over x and table
//                rounded to bf16, for any number of rows: which of them it is depends on K alone
#pragma once

#include "linear_4bit_gemm.cuh"

namespace idefics::inline v0::cuda {

inline void linear_4bit_f32(cudaStream_t stream, float* out, const float* x,
                            const FourBitMatrix& matrix, LinearEnd end, std::int64_t m,
                            std::int64_t n) {
  if (matrix.width % 4 == 0)
    linear_f32_order(stream, out, x, FourBitWeights<true, false>{matrix}, end, m, n, matrix.width);
  else
    linear_f32_order(stream, out, x, FourBitWeights<false, false>{matrix}, end, m, n, matrix.width);
}

/// `rounded` is scratch, [M, rounded_width(K)], or x in bf16 already where `is_rounded`. x is read in
/// any case where rows hold no whole blocks.
inline void linear_4bit_bf16(cudaStream_t stream, float* out, const float* x, bf16_t* rounded,
                             bool is_rounded, const FourBitMatrix& matrix, LinearEnd end,
                             std::int64_t m, std::int64_t n) {
  if (m == 0 || n == 0) return;
  const std::int64_t k = matrix.width;
  if (k % (std::int64_t{1} << matrix.block_shift) != 0)
    return linear_f32_order(stream, out, x, FourBitWeights<false, true>{matrix}, end, m, n, k);
  if (!is_rounded) round_rows(stream, rounded, x, m, k);
  const bf16_t* const xs = rounded;
  if (m > 16) {
    const dim3 grid(static_cast<unsigned>(ceil_div(n, FourBitTile::tile_n)),
                    static_cast<unsigned>(ceil_div(m, FourBitTile::tile_m)));
    launch(stream, grid, FourBitTile::threads, four_bit_gemm_shared,
           gemm_4bit_kernel<FourBitMatrix>, out, xs, matrix, end, m, n);
    return;
  }
  launch(stream, blocks_for(n, 16), gemv_bf16_threads, 0,
         m <= 8 ? gemv_4bit_kernel<1, FourBitMatrix> : gemv_4bit_kernel<2, FourBitMatrix>, out, xs,
         matrix, end, m, n);
}

}  // namespace idefics::inline v0::cuda
