// Linear layer with 4-bit weights.
//
//   out[m,n] = sum_k x[m,k] table[code[n,k]] absmax[block of (n,k)] + bias[n] + residual[m,n]
//
// Bound: the bytes of the codes up to a few rows, then the peak of the multiplications.
//   f32 order    a weight is table × absmax rounded to f32: the kernels of linear_f32.cuh give the
//                bits of a dequantized matrix and of the CPU backend
//   bf16 order   tensor cores (linear_4bit_gemv.cuh, linear_4bit_gemm.cuh) if rows hold whole
//                blocks. Otherwise the f32 order over x and table rounded to bf16, for any number of
//                rows: the choice depends on K and the block size alone
#pragma once

#include "linear_4bit_gemm.cuh"
#include "linear_4bit_gemv.cuh"
#include "linear_f32.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Weights for the kernels of the f32 order. `rounded`: x and the values of the codes are rounded
/// to bf16. `aligned`: K is a multiple of 32, so that four weights are two bytes, and two steps of
/// 16 k are within one block.
template <bool aligned, bool rounded>
struct FourBitWeights {
  static constexpr int ahead = aligned ? 32 : 1;
  static constexpr int steps_of_scale = aligned ? 2 : 1;
  static constexpr bool several_rows = aligned;  // the others are rare: one row after another
  FourBitMatrix matrix;

  bool operator==(const FourBitWeights&) const = default;

  struct Fetched {
    std::uint32_t codes;            // two bytes as stored
    float absmax[aligned ? 1 : 4];  // of each weight, unless `scale` returns it
  };
  __device__ Fetched fetch(std::int64_t n, std::int64_t k) const {
    const std::int64_t at = n * matrix.width + k;
    Fetched fetched{};
    if constexpr (aligned) {
      fetched.codes = load_vector<std::uint16_t>(matrix.codes + at / 2);
    } else {
      for (int i = 0; i < 4; ++i) {
        if (k + i >= matrix.width) break;  // past the row: absmax 0 times the value of code 0
        fetched.codes |= static_cast<std::uint32_t>(matrix.code_at(at + i)) << shift(i);
        fetched.absmax[i] = matrix.absmax_of((at + i) >> matrix.block_shift);
      }
    }
    return fetched;
  }
  __device__ float scale(std::int64_t n, std::int64_t k) const {
    return aligned ? matrix.absmax_of((n * matrix.width + k) >> matrix.block_shift) : 1.0f;
  }
  __device__ void widen(float (&v)[4], const Fetched& fetched, float scale,
                        const float* table) const {
    for (int i = 0; i < 4; ++i)
      v[i] = table[fetched.codes >> shift(i) & 15] *
             (aligned ? scale : fetched.absmax[aligned ? 0 : i]);
  }
  __device__ void fill(float* table) const {
    if (threadIdx.x < 16) table[threadIdx.x] = input(matrix.table[threadIdx.x]);
  }
  static __device__ float input(float x) { return rounded ? to_float(from_float<bf16_t>(x)) : x; }
  /// The shift of weight i in two bytes: high nibble before low nibble, first byte before second.
  static __device__ int shift(int i) { return i % 2 == 0 ? 4 * i + 4 : 4 * i - 4; }
};

/// out [M,N] from x [M,K] in the f32 order; with `rounded`, x and table are rounded to bf16.
inline void linear_4bit_f32(Stream& stream, float* out, const float* x, const FourBitMatrix& matrix,
                            bool rounded, LinearEnd end, std::int64_t m, std::int64_t n) {
  const auto run = [&](auto weights) {
    linear_f32_order(stream, out, x, weights, end, m, n, matrix.width);
  };
  if (rounded) return run(FourBitWeights<false, true>{matrix});
  if (matrix.width % 32 == 0) return run(FourBitWeights<true, false>{matrix});
  run(FourBitWeights<false, false>{matrix});
}

/// out [M,N] from x [M,K] in the bf16 order, for a matrix whose rows hold whole blocks. `rounded`
/// is a scratch buffer [M, rounded_width(K)], or, if x is null, x already in bf16.
inline void linear_4bit_bf16(Stream& stream, float* out, const float* x, bf16_t* rounded,
                             const FourBitMatrix& matrix, LinearEnd end, std::int64_t m,
                             std::int64_t n) {
  if (m == 0 || n == 0) return;
  const bool late = x && rounded_late(m, matrix.width);
  if (x && !late) round_rows(stream, rounded, x, m, matrix.width);
  const bf16_t* const xs = rounded;
  if (m > max_gemv_rows) return gemm_4bit(stream, out, xs, matrix, end, m, n);
  const GemvPart<FourBitMatrix> alone{out, matrix, end, n};
  if (late) return gemv_4bit(stream, {&alone, 1}, gemv_rows(x, m, matrix.width));
  gemv_4bit(stream, {&alone, 1}, gemv_rows(xs, m, matrix.width));
}

}}}  // namespace idefics::v0::cuda
