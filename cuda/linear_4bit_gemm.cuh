// Products with 4-bit weights in the bf16 order for many rows, from bf16 tiles in shared memory.
//
//   step s           codes of 64 k × 128 n: 16 bytes per thread, loaded into registers while step
//                    s - 1 is multiplied, then looked up and stored to shared memory with absmax
//   x                as in linear_bf16_gemm.cuh, one step ahead (cp.async)
//   end of a block   totals = fma(sums, absmax, totals), sums = 0
//   end of a slice   result += totals, totals = 0
//
// The order is that of linear_4bit_bf16.cuh. Bound: the peak of the tensor cores for mma.sync.
#pragma once

#include "linear_4bit_bf16.cuh"
#include "linear_bf16_gemm.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// 128 n × 64 m in 8 warps of 32 × 32, because three sets of sums must fit into registers.
using FourBitTile = GemmTile<128, 64, 32, 32>;

/// What a thread loads per step: half a row, 32 codes, and the absmax of their block.
struct FourBitHalfRow {
  uint4 codes;
  float absmax;
};

__device__ inline FourBitHalfRow fetch_half_row(const FourBitMatrix& matrix, std::int64_t n0,
                                                std::int64_t last, std::int64_t k0) {
  const std::int64_t n = n0 + threadIdx.x / 2, k = k0 + threadIdx.x % 2 * k_unit;
  if (k >= matrix.width) return {make_uint4(0, 0, 0, 0), 0.0f};
  const std::int64_t at = (n < last ? n : last) * matrix.width + k;
  return {load_vector<uint4>(matrix.codes + at / 2), matrix.absmax_of(at >> matrix.block_shift)};
}

/// Stores the values to a tile, and absmax to [unit][row].
__device__ inline void store_half_row(bf16_t* tile, float* absmax, const FourBitHalfRow& half,
                                      const std::uint32_t* pairs) {
  const int row = static_cast<int>(threadIdx.x / 2), unit = static_cast<int>(threadIdx.x % 2);
  const std::uint32_t words[4] = {half.codes.x, half.codes.y, half.codes.z, half.codes.w};
  UNROLL
  for (int i = 0; i < 4; ++i)
    store_vector(tile + swizzled(row, 4 * unit + i), look_up<1>(pairs, words[i]));
  absmax[unit * FourBitTile::tile_n + row] = half.absmax;
}

/// d[n fragment][m fragment] += unit 0 or 1 of a step.
template <class T>
__device__ inline void multiply_unit_of_step(float (&d)[T::n_fragments][T::m_fragments][4],
                                             const bf16_t* w_tile, const bf16_t* x_tile, int lane,
                                             int unit) {
  const int chunk = unit * 4 + lane % 4, row = lane / 4;
  uint4 xs[T::m_fragments];
  UNROLL
  for (int j = 0; j < T::m_fragments; ++j)
    xs[j] = load_vector<uint4>(x_tile + swizzled(8 * j + row, chunk));
  UNROLL
  for (int i = 0; i < T::n_fragments; ++i) {
    const uint4 low = load_vector<uint4>(w_tile + swizzled(16 * i + row, chunk));
    const uint4 high = load_vector<uint4>(w_tile + swizzled(16 * i + 8 + row, chunk));
    UNROLL
    for (int j = 0; j < T::m_fragments; ++j) multiply_unit(d[i][j], low, high, xs[j]);
  }
}

using FourBitSums = float[FourBitTile::n_fragments][FourBitTile::m_fragments][4];

/// totals = fma(d, absmax of the row, totals), d = 0. `absmax` begins at the warp's first row.
__device__ inline void scale_block(FourBitSums& totals, FourBitSums& d, const float* absmax,
                                   int lane) {
  UNROLL
  for (int i = 0; i < FourBitTile::n_fragments; ++i) {
    const float of_row[2] = {absmax[16 * i + lane / 4], absmax[16 * i + 8 + lane / 4]};
    UNROLL
    for (int j = 0; j < FourBitTile::m_fragments; ++j) UNROLL
    for (int e = 0; e < 4; ++e) {
      totals[i][j][e] = fmaf(d[i][j][e], of_row[e / 2], totals[i][j][e]);
      d[i][j][e] = 0;
    }
  }
}

inline constexpr std::size_t four_bit_gemm_shared =
    2 * (2 * FourBitTile::stage_values + 4 * 2 * FourBitTile::tile_n) + 4 * 256;

template <class Matrix>
__global__ void __launch_bounds__(FourBitTile::threads)
    gemm_4bit_kernel(float* out, const bf16_t* x, Matrix matrix, LinearEnd end, std::int64_t m_rows,
                     std::int64_t n_rows) {
  using T = FourBitTile;
  bf16_t* const stages = dynamic_shared<bf16_t>();
  float* const absmax = reinterpret_cast<float*>(stages + 2 * T::stage_values);
  auto* const pairs = reinterpret_cast<std::uint32_t*>(absmax + 4 * T::tile_n);
  fill_pairs<1>(pairs, matrix.table);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warp_n = warp % (T::tile_n / T::warp_n) * T::warp_n;
  const int warp_m = warp / (T::tile_n / T::warp_n) * T::warp_m;
  const std::int64_t n0 = static_cast<std::int64_t>(blockIdx.x) * T::tile_n;
  const std::int64_t m0 = static_cast<std::int64_t>(blockIdx.y) * T::tile_m;
  const std::int64_t k_width = matrix.width;
  const int steps = static_cast<int>(ceil_div(k_width, k_step));
  const int steps_of_slice = slice_width(k_width, four_bit_multiple(matrix)) / k_step;
  const int units_of_block = 1 << (matrix.block_shift - 5);
  const auto load_x = [&](int step) {
    load_tile<T::tile_m, T::threads>(stages + step % 2 * T::stage_values + T::tile_n * k_step, x,
                                     m0, m_rows - 1, rounded_width(k_width),
                                     std::int64_t{step} * k_step, true);
    cp_async_commit();
  };
  FourBitSums d = {}, totals = {}, result = {};
  FourBitHalfRow half = fetch_half_row(matrix, n0, n_rows - 1, 0);
  load_x(0);
  for (int step = 0; step < steps; ++step) {
    bf16_t* const w_tile = stages + step % 2 * T::stage_values;
    float* const of_step = absmax + step % 2 * 2 * T::tile_n;
    if (step == 0) __syncthreads();  // the table of pairs is complete
    store_half_row(w_tile, of_step, half, pairs);
    cp_async_wait<0>();
    __syncthreads();  // this step is complete, and all threads have finished the previous one
    if (step + 1 < steps) {
      load_x(step + 1);
      half = fetch_half_row(matrix, n0, n_rows - 1, std::int64_t{step + 1} * k_step);
    }
    UNROLL
    for (int unit = 0; unit < 2; ++unit) {
      multiply_unit_of_step<T>(d, w_tile + warp_n * k_step, w_tile + (T::tile_n + warp_m) * k_step,
                               lane, unit);
      if ((2 * step + unit + 1) % units_of_block == 0)
        scale_block(totals, d, of_step + unit * T::tile_n + warp_n, lane);
    }
    if ((step + 1) % steps_of_slice == 0 || step + 1 == steps) add_slice(result, totals);
  }
  store_outputs<T::n_fragments, T::m_fragments>(
      out, end, n0 + warp_n, m0 + warp_m, m_rows, n_rows,
      [&](int i, int j, int e) { return result[i][j][e]; });
}

/// out [M,N] from x [M, rounded_width(K)] in bf16.
inline void gemm_4bit(Stream& stream, float* out, const bf16_t* x, const FourBitMatrix& matrix,
                      LinearEnd end, std::int64_t m, std::int64_t n) {
  const dim3 grid(static_cast<unsigned>(ceil_div(n, FourBitTile::tile_n)),
                  static_cast<unsigned>(ceil_div(m, FourBitTile::tile_m)));
  launch(stream, grid, FourBitTile::threads, four_bit_gemm_shared, gemm_4bit_kernel<FourBitMatrix>,
         out, x, matrix, end, m, n);
}

}}}  // namespace idefics::v0::cuda
