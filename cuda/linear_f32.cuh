// Products in the f32 order: weights widened to f32, one fused multiply-add per element and lane.
//
//   out[m,n] = sum_k x[m,k] w[n,k] + bias[n] + residual[m,n]
//
// The order is that of the CPU backend, and so are the bits (docs/determinism.md): lane l of 16
// sums k = l, l + 16, …; a tree adds up the lanes; bias and then residual are added. Both kernels
// assign one lane, or four, to a thread, which works on several outputs:
//
//   up to 8 rows   thread p of 4 holds lanes 4p .. 4p+3 of a weight row; eight weight rows per warp
//   more rows      thread l of 16 holds lane l of 8 x 8 outputs; 32 x 32 outputs per block
//
//        k →  0  4  8  12│16 …               k →  0 1 2 …  15│16 …
//   row n     p0 p1 p2 p3│p0 …     8 rows of x    l0 l1 … l15│l0 …   64 products per 16 values read
//   row n+1   p0 p1 p2 p3│p0 …     8 rows of w    l0 l1 … l15│l0 …
//
// Bound: the bytes of w up to 8 rows, then the peak of f32 without tensor cores.
#pragma once

#include "linear_end.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Weights read as stored, [N,K]. A kernel requests four weights of a row at a time: `fetch` starts
/// loading them, `scale` loads the factor that they share with those of the next steps, and `widen`
/// converts them to f32, using what `fill` put into a table in shared memory; `input` converts x.
template <class W>
struct PlainWeights {
  static constexpr int ahead = 16;          // steps of 16 k that are loaded before they are used
  static constexpr int steps_of_scale = 8;  // any number: there is no scale
  static constexpr bool several_rows = true;
  const W* data;
  std::int64_t width;  // K
  bool quads;          // rows are aligned to four values

  bool operator==(const PlainWeights&) const = default;

  struct Fetched {
    W values[4];
  };
  __device__ Fetched fetch(std::int64_t n, std::int64_t k) const {
    Fetched fetched;
    const W* const from = data + n * width + k;
    if (quads) {
      const auto four = load_vector<std::conditional_t<sizeof(W) == 4, float4, uint2>>(from);
      static_assert(sizeof(four) == sizeof(fetched));
      std::memcpy(&fetched, &four, sizeof(four));
    } else {
      for (int i = 0; i < 4; ++i) fetched.values[i] = k + i < width ? from[i] : from_float<W>(0.0f);
    }
    return fetched;
  }
  __device__ float scale(std::int64_t, std::int64_t) const { return 1.0f; }
  __device__ void widen(float (&v)[4], const Fetched& fetched, float, const float*) const {
    for (int i = 0; i < 4; ++i) v[i] = to_float(fetched.values[i]);
  }
  __device__ void fill(float*) const {}
  static __device__ float input(float x) { return x; }
};

inline constexpr int gemv_f32_threads = 64;
inline constexpr int gemv_f32_columns = gemv_f32_threads / 4;

/// Computes rows 0 .. rows-1; those from m on repeat row m - 1 and are not stored.
template <int rows, class Weights>
__global__ void __launch_bounds__(gemv_f32_threads)
    gemv_f32_kernel(float* out, const float* x, Weights weights, LinearEnd end, int m,
                    std::int64_t n_rows, std::int64_t k_width, bool x_quads) {
  SHARED_ARRAY(float, table, 16);
  weights.fill(table);
  __syncthreads();
  constexpr int ahead = rows <= 2 ? Weights::ahead : Weights::ahead / 2;
  const int part = static_cast<int>(threadIdx.x % 4);
  const std::int64_t column =
      static_cast<std::int64_t>(blockIdx.x) * gemv_f32_columns + threadIdx.x / 4;
  const std::int64_t n = column < n_rows ? column : n_rows - 1;
  float sums[rows][4] = {};
  for (std::int64_t begin = 4 * part; begin < ceil_div(k_width, 16) * 16; begin += 16 * ahead) {
    typename Weights::Fetched fetched[ahead];
    float scales[ahead / Weights::steps_of_scale];
    UNROLL
    for (int step = 0; step < ahead; ++step) {
      const std::int64_t k = begin + 16 * step;
      if (k >= k_width) continue;
      fetched[step] = weights.fetch(n, k);
      if (step % Weights::steps_of_scale == 0)
        scales[step / Weights::steps_of_scale] = weights.scale(n, k);
    }
    UNROLL
    for (int step = 0; step < ahead; ++step) {
      const std::int64_t k = begin + 16 * step;
      if (k >= k_width) break;
      float w[4], v[4];
      weights.widen(w, fetched[step], scales[step / Weights::steps_of_scale], table);
      UNROLL
      for (int row = 0; row < rows; ++row) {
        load_quad(v, x + (row < m ? row : m - 1) * k_width + k, k_width - k, x_quads);
        for (int i = 0; i < 4; ++i) sums[row][i] = fmaf(Weights::input(v[i]), w[i], sums[row][i]);
      }
    }
  }
  UNROLL
  for (int row = 0; row < rows; ++row) {
    for (int mask = 2; mask > 0; mask /= 2)  // 16 lanes to 8, 8 to 4
      for (int i = 0; i < 4; ++i) sums[row][i] += __shfl_xor_sync(all_lanes, sums[row][i], mask);
    const float sum = (sums[row][0] + sums[row][2]) + (sums[row][1] + sums[row][3]);
    if (part == 0 && row < m && column < n_rows) out[row * n_rows + n] = end(sum, row, n, n_rows);
  }
}

inline constexpr int gemm_f32_threads = 256;
inline constexpr int gemm_f32_tile = 32;   // rows of x and of w in a block, and the step in k
inline constexpr int gemm_f32_pitch = 48;  // each row starts 16 banks after the previous one

/// Multiplies one step of k: x_tile and w_tile are shared, [32][48], of which 32 columns are used.
__device__ inline void gemm_f32_step(float (&sums)[64], const float* x_tile, const float* w_tile,
                                     int lane, std::int64_t left) {
  UNROLL
  for (int step = 0; step < gemm_f32_tile; step += 16) {
    if (step >= left) break;
    float xs[8], ws[8];
    UNROLL
    for (int i = 0; i < 8; ++i) {
      xs[i] = x_tile[i * gemm_f32_pitch + step + lane];
      ws[i] = w_tile[2 * i * gemm_f32_pitch + step + lane];
    }
    UNROLL
    for (int i = 0; i < 64; ++i) sums[i] = fmaf(xs[i / 8], ws[i % 8], sums[i]);
  }
}

template <class Weights>
__global__ void __launch_bounds__(gemm_f32_threads, 2)
    gemm_f32_kernel(float* out, const float* x, Weights weights, LinearEnd end, std::int64_t m_rows,
                    std::int64_t n_rows, std::int64_t k_width, bool x_quads) {
  SHARED_ARRAY(float, table, 16);
  SHARED_ARRAY(float, x_tile, gemm_f32_tile* gemm_f32_pitch);
  SHARED_ARRAY(float, w_tile, gemm_f32_tile* gemm_f32_pitch);
  weights.fill(table);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 16, group = thread / 16;
  // The thread's rows of w are every second one from w_first on.
  const int x_first = group / 4 * 8, w_first = group / 2 % 2 * 16 + group % 2;
  const std::int64_t m0 = static_cast<std::int64_t>(blockIdx.y) * gemm_f32_tile;
  const std::int64_t n0 = static_cast<std::int64_t>(blockIdx.x) * gemm_f32_tile;
  const int fill_row = thread / 8, fill_column = thread % 8 * 4;  // the quad this thread copies
  const std::int64_t fill_m = m0 + fill_row < m_rows ? m0 + fill_row : m_rows - 1;
  const std::int64_t fill_n = n0 + fill_row < n_rows ? n0 + fill_row : n_rows - 1;
  float sums[64] = {};
  for (std::int64_t k0 = 0; k0 < k_width; k0 += gemm_f32_tile) {
    const std::int64_t k = k0 + fill_column;
    float v[4] = {}, w[4] = {};
    load_quad(v, x + fill_m * k_width + k, k_width - k, x_quads);
    typename Weights::Fetched fetched{};
    float scale = 0;
    if (k < k_width) fetched = weights.fetch(fill_n, k), scale = weights.scale(fill_n, k);
    __syncthreads();  // the tiles of the previous step have been read, the table is filled
    if (k < k_width) weights.widen(w, fetched, scale, table);
    const int at = fill_row * gemm_f32_pitch + fill_column;
    for (float& value : v) value = Weights::input(value);
    store_vector(x_tile + at, make_float4(v[0], v[1], v[2], v[3]));
    store_vector(w_tile + at, make_float4(w[0], w[1], w[2], w[3]));
    __syncthreads();
    gemm_f32_step(sums, x_tile + x_first * gemm_f32_pitch, w_tile + w_first * gemm_f32_pitch, lane,
                  k_width - k0);
  }
  scatter_sums<16, 64>(sums);  // lane l gets 4 l .. 4 l + 3 of the 64, which are row * 8 + column
  UNROLL
  for (int i = 0; i < 4; ++i) {
    const std::int64_t m = m0 + x_first + lane / 2;
    const std::int64_t n = n0 + w_first + 2 * (lane % 2 * 4 + i);
    if (m < m_rows && n < n_rows) out[m * n_rows + n] = end(sums[i], m, n, n_rows);
  }
}

/// out [M,N] in the f32 order, from x [M,K] and weights [N,K] of any kind.
template <class Weights>
void linear_f32_order(Stream& stream, float* out, const float* x, Weights weights, LinearEnd end,
                      std::int64_t m, std::int64_t n, std::int64_t k) {
  if (m == 0 || n == 0) return;
  const bool x_quads = in_quads(x, k);
  if (m > 8) {
    const dim3 grid(static_cast<unsigned>(ceil_div(n, gemm_f32_tile)),
                    static_cast<unsigned>(ceil_div(m, gemm_f32_tile)));
    launch(stream, grid, dim3(gemm_f32_threads), 0, gemm_f32_kernel<Weights>, out, x, weights, end,
           m, n, k, x_quads);
    return;
  }
  const auto run = [&](auto kernel, std::int64_t begin, std::int64_t rows) {
    LinearEnd rest = end;
    if (rest.residual) rest.residual += begin * n;
    launch(stream, blocks_for(n, gemv_f32_columns), gemv_f32_threads, 0, kernel, out + begin * n,
           x + begin * k, weights, rest, static_cast<int>(rows), n, k, x_quads);
  };
  if constexpr (Weights::several_rows) {
    if (m > 4) return run(gemv_f32_kernel<8, Weights>, 0, m);
    if (m > 2) return run(gemv_f32_kernel<4, Weights>, 0, m);
    if (m > 1) return run(gemv_f32_kernel<2, Weights>, 0, m);
  }
  for (std::int64_t row = 0; row < m; ++row) run(gemv_f32_kernel<1, Weights>, row, 1);
}

}}}  // namespace idefics::v0::cuda
