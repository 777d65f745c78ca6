// Products in the bf16 order for many rows: tiles in shared memory.
//
// A block owns tile_n weight rows and tile_m rows of x, and walks over K in steps of 64. Shared
// memory holds three steps: one is multiplied while the next two arrive (cp.async).
//
//            64 k                     64 k                   a warp owns warp_n x warp_m outputs:
//         ┌────────┐               ┌────────┐                fragments of 16 n x 8 m, each fragment
//  tile_n │ w step │        tile_m │ x step │                of w used for all m, of x for all n
//         └────────┘ x 3 stages    └────────┘ x 3 stages
//
// A row of a step is 128 bytes and covers all 32 banks. Sixteen threads that read 8 bytes each from
// four rows would conflict, so the quarters of a row are permuted, differently in each of four
// consecutive rows (`swizzled`). At the end of each of the 8 slices of K, the sums of the slice are
// added to the totals: the order of linear_bf16.cuh, whatever the tile. So the tile may be chosen
// for speed alone.
//
// Bound: the peak of the tensor cores for mma.sync.
#pragma once

#include "linear_bf16.cuh"
#include "linear_tile_end.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// The offset in a tile of chunk c (8 values, 8 chunks per row) of a row, in values. Neighbouring
/// rows also exchange halves, which suits threads that read 16 bytes (linear_4bit_gemm.cuh).
__device__ inline int swizzled(int row, int chunk) {
  return row * k_step + (chunk ^ (row % 2 * 4 + row / 2 % 2 * 2)) * 8;
}

template <int tile_n_, int tile_m_, int warp_n_, int warp_m_>
struct GemmTile {
  static constexpr int tile_n = tile_n_, tile_m = tile_m_, warp_n = warp_n_, warp_m = warp_m_;
  static constexpr int threads = tile_n / warp_n * (tile_m / warp_m) * 32;
  static constexpr int stages = 3;
  static constexpr int stage_values = (tile_n + tile_m) * k_step;
  static constexpr std::size_t shared_bytes = std::size_t{2} * stages * stage_values;
  static constexpr int n_fragments = warp_n / 16, m_fragments = warp_m / 8;
};

/// Starts loading rows [first, first + rows) of a bf16 matrix, columns [k0, k0 + 64), into a tile.
/// Rows past the last repeat it; columns past `width` are zero.
template <int rows, int threads, class W>
__device__ inline void load_tile(bf16_t* tile, const W* matrix, std::int64_t first,
                                 std::int64_t last, std::int64_t width, std::int64_t k0,
                                 bool aligned) {
  UNROLL
  for (int i = static_cast<int>(threadIdx.x); i < rows * 8; i += threads) {
    const int row = i / 8, chunk = i % 8;
    const std::int64_t r = first + row < last ? first + row : last, k = k0 + chunk * 8;
    bf16_t* to = tile + swizzled(row, chunk);
    const W* from = matrix + r * width + k;
    if constexpr (std::is_same_v<W, bf16_t>) {
      if (aligned && k < width) {
        cp_async16(to, from);
        continue;
      }
    }
    store_vector(to, load_bf16x8(from, width - k, aligned));
  }
}

/// d[n fragment][m fragment] += the products over k 16 i to 16 i + 15 of a step.
template <class T>
__device__ inline void multiply_tiles(float (&d)[T::n_fragments][T::m_fragments][4],
                                      const bf16_t* w_tile, const bf16_t* x_tile, int lane, int i) {
  const int row = lane / 4, chunk = 2 * i + lane % 4 / 2, part = lane % 2 * 4;
  uint2 xs[T::m_fragments];
  UNROLL
  for (int m = 0; m < T::m_fragments; ++m)
    xs[m] = load_vector<uint2>(x_tile + swizzled(8 * m + row, chunk) + part);
  UNROLL
  for (int n = 0; n < T::n_fragments; ++n) {
    const uint2 low = load_vector<uint2>(w_tile + swizzled(16 * n + row, chunk) + part);
    const uint2 high = load_vector<uint2>(w_tile + swizzled(16 * n + 8 + row, chunk) + part);
    UNROLL
    for (int m = 0; m < T::m_fragments; ++m) multiply(d[n][m], low, high, xs[m]);
  }
}

/// total += d, d = 0.
template <int n, int m>
__device__ inline void add_slice(float (&total)[n][m][4], float (&d)[n][m][4]) {
  UNROLL
  for (int i = 0; i < n * m * 4; ++i) {
    total[i / (4 * m)][i / 4 % m][i % 4] += d[i / (4 * m)][i / 4 % m][i % 4];
    d[i / (4 * m)][i / 4 % m][i % 4] = 0;
  }
}

template <class T, class W>
__global__ void __launch_bounds__(T::threads)
    gemm_bf16_kernel(float* out, const bf16_t* x, const W* weights, LinearEnd end,
                     std::int64_t m_rows, std::int64_t n_rows, std::int64_t k_width, bool aligned) {
  bf16_t* const stages = dynamic_shared<bf16_t>();
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warp_n = warp % (T::tile_n / T::warp_n) * T::warp_n;
  const int warp_m = warp / (T::tile_n / T::warp_n) * T::warp_m;
  const std::int64_t n0 = static_cast<std::int64_t>(blockIdx.x) * T::tile_n;
  const std::int64_t m0 = static_cast<std::int64_t>(blockIdx.y) * T::tile_m;
  const int steps = static_cast<int>(ceil_div(k_width, k_step));
  const int steps_of_slice = slice_width(k_width) / k_step;
  const auto load = [&](int step) {
    if (step < steps) {
      bf16_t* const stage = stages + step % T::stages * T::stage_values;
      load_tile<T::tile_n, T::threads>(stage, weights, n0, n_rows - 1, k_width,
                                       std::int64_t{step} * k_step, aligned);
      load_tile<T::tile_m, T::threads>(stage + T::tile_n * k_step, x, m0, m_rows - 1,
                                       rounded_width(k_width), std::int64_t{step} * k_step, true);
    }
    cp_async_commit();  // also without copies at the end, so that the count of groups stays right
  };
  float total[T::n_fragments][T::m_fragments][4] = {}, d[T::n_fragments][T::m_fragments][4] = {};
  load(0);
  load(1);
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<T::stages - 2>();
    __syncthreads();  // this step is complete, and all threads have finished the previous one
    load(step + T::stages - 1);
    const bf16_t* const stage = stages + step % T::stages * T::stage_values;
    UNROLL
    for (int i = 0; i < k_step / 16; ++i)
      multiply_tiles<T>(d, stage + warp_n * k_step, stage + (T::tile_n + warp_m) * k_step, lane, i);
    if ((step + 1) % steps_of_slice == 0 || step + 1 == steps) {
      add_slice(total, d);
    }
  }
  store_outputs<T::n_fragments, T::m_fragments>(
      out, end, n0 + warp_n, m0 + warp_m, m_rows, n_rows,
      [&](int i, int j, int e) { return total[i][j][e]; });
}

}}}  // namespace idefics::v0::cuda
