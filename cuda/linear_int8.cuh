// Linear layer with int8 weights: LLM.int8 (quant/int8.hpp has the rules, docs/determinism.md the
// order, whose bits are those of the CPU backend).
//
//   out[m,n] = sum_k CX[m,k] CW[n,k] * (absmax_x[m] * absmax_w[n]) * step + bias[n]
//              + outliers of x[m] * weight[n] + residual[m,n]
//
// A block quantizes a row of x: codes, absmax, and a list of its outliers. Then a warp multiplies
// one row of codes of the weight by up to eight of x, four products per instruction, and each of its
// lanes adds the outliers of one row of x.
//
// Bound: the bytes of the weight up to 8 rows; for more rows, its bytes once per 8 rows, from L2.
#pragma once

#include <idefics/quant/int8.hpp>

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int int8_threads = 256;
inline constexpr int int8_warps = int8_threads / 32;  // of a block: rows of the weight
inline constexpr int int8_x_rows = 8;                 // that share one reading of the weight

/// Quantized rows of x, in device memory.
struct Int8Rows {
  std::int8_t* codes;      // [M,padded], zeros from K on
  float* absmax;           // [M]
  std::int32_t* counts;    // [M], outliers
  std::int32_t* outliers;  // [M,K], their columns, ascending
  std::int64_t padded;     // K, rounded up to 32

  bool operator==(const Int8Rows&) const = default;

  static std::int64_t padded_width(std::int64_t k) { return ceil_div(k, 32) * 32; }
  /// The bytes that M rows need, and their arrays from `memory` on.
  static std::int64_t bytes(std::int64_t m, std::int64_t k) {
    return m * (padded_width(k) + 4 * k + 8);
  }
  static Int8Rows in(std::byte* memory, std::int64_t m, std::int64_t k) {
    auto* const codes = reinterpret_cast<std::int8_t*>(memory);
    auto* const absmax = reinterpret_cast<float*>(memory + m * padded_width(k));
    auto* const counts = reinterpret_cast<std::int32_t*>(absmax + m);
    return {codes, absmax, counts, counts + m, padded_width(k)};
  }
};

/// An int8 matrix [N,K].
struct DeviceInt8 {
  const std::int8_t* codes;
  const float* absmax;
  std::int64_t n, k;
  bool quads;  // rows are aligned to four codes

  bool operator==(const DeviceInt8&) const = default;

  /// Codes k .. k+3 of a row, zeros from K on.
  __device__ int four(std::int64_t row, std::int64_t column) const {
    const std::int8_t* const from = codes + row * k + column;
    if (quads && column < k) return load_vector<int>(from);
    int packed = 0;
    for (int i = 0; i < 4; ++i)
      if (column + i < k) packed |= (from[i] & 255) << 8 * i;
    return packed;
  }
};

/// What is done with x before its outliers are found.
struct Int8Input {
  float limit;    // magnitudes of outliers, rounded to f16
  bool outliers;  // whether there can be any
  bool bf16;      // x is rounded to bf16 first

  bool operator==(const Int8Input&) const = default;

  __device__ float compute(float x) const { return bf16 ? to_float(from_float<bf16_t>(x)) : x; }
  __device__ float half(float x) const { return to_float(from_float<f16_t>(compute(x))); }
  __device__ bool is_outlier(float half) const { return outliers && fabsf(half) >= limit; }
};

/// The columns whose bits are set in `masks` [K/32], in ascending order; by one warp.
__device__ inline int list_outliers(std::int32_t* columns, const std::uint32_t* masks,
                                    std::int64_t words) {
  int before = 0;
  for (std::int64_t begin = 0; begin < words; begin += 32) {
    const std::int64_t word = begin + lane_of_warp();
    std::uint32_t mask = word < words ? masks[word] : 0;
    int own = 0, sum = 0;
    for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) ++own;
    sum = own;
    for (int delta = 1; delta < 32; delta *= 2) {
      const int other = __shfl_up_sync(all_lanes, sum, static_cast<unsigned>(delta));
      if (lane_of_warp() >= delta) sum += other;
    }
    std::int32_t* to = columns + before + sum - own;
    for (int bit = 0; mask != 0; ++bit, mask >>= 1)
      if (mask & 1u) *to++ = static_cast<std::int32_t>(32 * word + bit);
    before += __shfl_sync(all_lanes, sum, 31);
  }
  return before;
}

/// One block per row. Magnitudes are ordered like their bits, NaN above infinity.
__global__ void __launch_bounds__(int8_threads)
    quantize_int8_kernel(Int8Rows rows, const float* x, Int8Input input, std::int64_t k) {
  SHARED_ARRAY(std::uint32_t, largest_of_warps, int8_warps);
  auto* const masks = dynamic_shared<std::uint32_t>();
  const std::int64_t m = blockIdx.x;
  std::uint32_t largest = 0;
  for (std::int64_t begin = 32 * warp_of_block(); begin < rows.padded; begin += int8_threads) {
    const std::int64_t column = begin + lane_of_warp();
    const float value = column < k ? input.half(x[m * k + column]) : 0.0f;
    const bool outlier = column < k && input.is_outlier(value);
    if (!outlier) {
      const std::uint32_t bits = __float_as_uint(fabsf(value));
      largest = bits > largest ? bits : largest;
    }
    const std::uint32_t mask = __ballot_sync(all_lanes, outlier);
    if (lane_of_warp() == 0) masks[begin / 32] = mask;
  }
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const std::uint32_t other = __shfl_xor_sync(all_lanes, largest, lanes);
    largest = other > largest ? other : largest;
  }
  if (lane_of_warp() == 0) largest_of_warps[warp_of_block()] = largest;
  __syncthreads();
  for (int warp = 0; warp < int8_warps; ++warp)
    largest = largest_of_warps[warp] > largest ? largest_of_warps[warp] : largest;
  const float absmax = __uint_as_float(largest), scale = 1.0f / absmax * 127.0f;
  for (std::int64_t column = thread_of_block(); column < rows.padded; column += int8_threads) {
    const float value = column < k ? input.half(x[m * k + column]) : 0.0f;
    const float code = rintf(value * scale);
    const bool valid = fabsf(code) <= 127.0f && !(column < k && input.is_outlier(value));
    rows.codes[m * rows.padded + column] = static_cast<std::int8_t>(valid ? code : 0.0f);
  }
  if (warp_of_block() == 0) {
    const int count = list_outliers(rows.outliers + m * k, masks, rows.padded / 32);
    if (lane_of_warp() == 0) rows.absmax[m] = absmax, rows.counts[m] = count;
  }
}

/// The outliers of row m of x times row n of the weight, by ascending column.
__device__ inline float outlier_sum(const Int8Rows& rows, const float* x, const DeviceInt8& w,
                                    const Int8Input& input, std::int64_t m, std::int64_t n) {
  float sum = 0;
  for (std::int32_t i = 0; i < rows.counts[m]; ++i) {
    const std::int64_t column = rows.outliers[m * w.k + i];
    const float code = static_cast<float>(w.codes[n * w.k + column]);
    const float weight = code * w.absmax[n] * idefics::detail::int8_weight_step;
    sum = fmaf(input.compute(x[m * w.k + column]), input.compute(weight), sum);
  }
  return sum;
}

/// A warp per row of the weight; lane r completes row m0 + r. Rows from `m_rows` on repeat the
/// last.
template <int x_rows>
__global__ void __launch_bounds__(int8_threads)
    multiply_int8_kernel(float* out, const float* x, Int8Rows rows, DeviceInt8 w, Int8Input input,
                         DeviceFloats bias, const float* residual, std::int64_t m_rows) {
  const std::int64_t m0 = static_cast<std::int64_t>(blockIdx.y) * x_rows;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * int8_warps + warp_of_block();
  const std::int64_t n = row < w.n ? row : w.n - 1;
  int sums[x_rows] = {};
  for (std::int64_t k = 4 * lane_of_warp(); k < rows.padded; k += 128) {
    const int codes = w.four(n, k);
    UNROLL
    for (int r = 0; r < x_rows; ++r) {
      const std::int64_t m = m0 + r < m_rows ? m0 + r : m_rows - 1;
      sums[r] = __dp4a(codes, load_vector<int>(rows.codes + m * rows.padded + k), sums[r]);
    }
  }
  int own = 0;
  UNROLL
  for (int r = 0; r < x_rows; ++r) {
    for (int lanes = 16; lanes > 0; lanes /= 2)
      sums[r] += __shfl_xor_sync(all_lanes, sums[r], lanes);
    own = lane_of_warp() == r ? sums[r] : own;
  }
  const std::int64_t m = m0 + lane_of_warp();
  if (lane_of_warp() >= x_rows || m >= m_rows || row >= w.n) return;
  float result = static_cast<float>(own) * (rows.absmax[m] * w.absmax[n]);
  result = result * idefics::detail::int8_product_step;
  if (bias.data) result += float_at(bias, n);
  if (rows.counts[m] > 0) result += outlier_sum(rows, x, w, input, m, n);
  if (residual) result += residual[m * w.n + n];
  out[m * w.n + n] = result;
}

/// out [M,N] = x [M,K] times an int8 matrix, plus bias [N] and residual [M,N], which may be null.
/// `scratch` has Int8Rows::bytes(M, K).
inline void linear_int8(Stream& stream, float* out, const float* x, DeviceInt8 w, float threshold,
                        bool bf16, DeviceFloats bias, const float* residual, std::byte* scratch,
                        std::int64_t m) {
  if (m == 0 || w.n == 0) return;
  const Int8Rows rows = Int8Rows::in(scratch, m, w.k);
  const Int8Input input{idefics::detail::int8_outlier_limit(threshold), threshold > 0, bf16};
  launch(stream, dim3(static_cast<unsigned>(m)), int8_threads,
         static_cast<std::size_t>(rows.padded / 8), quantize_int8_kernel, rows, x, input, w.k);
  const auto run = [&](auto kernel, int x_rows) {
    const dim3 grid(static_cast<unsigned>(ceil_div(w.n, int8_warps)),
                    static_cast<unsigned>(ceil_div(m, x_rows)));
    launch(stream, grid, int8_threads, 0, kernel, out, x, rows, w, input, bias, residual, m);
  };
  if (m == 1) return run(multiply_int8_kernel<1>, 1);
  run(multiply_int8_kernel<int8_x_rows>, int8_x_rows);
}

}}}  // namespace idefics::v0::cuda
