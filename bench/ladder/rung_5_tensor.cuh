// Rung 5: the same tiles, multiplied by tensor cores.
//
// One instruction, mma.sync m16n8k16, makes 2048 products of bf16 values that a warp holds in
// fragments; ldmatrix loads four fragments of 8 x 8 from shared memory in the layout that it needs.
// A warp owns 64 weight rows x 32 rows of x. Steps grow to 64 k: a row of a tile is 128 bytes, all
// 32 banks, and the eight rows that ldmatrix reads at once begin in the same bank. They are read
// one by one.
#pragma once

#include "problem.cuh"

namespace ladder {

inline constexpr int step_k = 64, tile_rows = 128;

/// The offset of chunk c, of eight values, of a row in a tile [128][64].
struct Straight {
  __device__ static int at(int row, int chunk) { return row * step_k + chunk * 8; }
};

template <class Layout>
__device__ void fill_tile(bf16_t* tile, const bf16_t* from, int k_width) {
  for (int i = thread_of_block(); i < tile_rows * 8; i += 256)
    store_vector(tile + Layout::at(i / 8, i % 8),
                 load_vector<uint4>(from + std::int64_t{i / 8} * k_width + i % 8 * 8));
}

/// The sums of a warp, in fragments of 16 weight rows x 8 rows of x.
using Sums = float[4][4][4];

/// d += 64 weight rows times 32 rows of x, over the 64 k of a step.
template <class Layout>
__device__ void multiply(Sums& d, const bf16_t* w_tile, const bf16_t* x_tile, int w_row,
                         int x_row) {
  const int lane = lane_of_warp();
  UNROLL
  for (int chunk = 0; chunk < 8; chunk += 2) {
    std::uint32_t xs[4][2];
    UNROLL
    for (int j = 0; j < 4; j += 2) {
      std::uint32_t r[4];  // rows 0 to 7 of both chunks, then rows 8 to 15
      ldmatrix_x4(
          r, x_tile + Layout::at(x_row + 8 * j + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2));
      xs[j][0] = r[0], xs[j][1] = r[1], xs[j + 1][0] = r[2], xs[j + 1][1] = r[3];
    }
    UNROLL
    for (int i = 0; i < 4; ++i) {
      std::uint32_t ws[4];
      ldmatrix_x4(ws, w_tile + Layout::at(w_row + 16 * i + lane % 16, chunk + lane / 16));
      UNROLL
      for (int j = 0; j < 4; ++j) mma_m16n8k16(d[i][j], ws, xs[j], bf16_t{});
    }
  }
}

/// The position of the warp's outputs in the tile of its block.
struct WarpPlace {
  int w_row = warp_of_block() % 2 * 64, x_row = warp_of_block() / 2 * 32;
};

template <class P>
__device__ void write(const P& p, const Sums& d, const WarpPlace& warp) {
  const int column = static_cast<int>(blockIdx.x) * tile_rows + warp.w_row + lane_of_warp() / 4;
  const int row = static_cast<int>(blockIdx.y) * tile_rows + warp.x_row + lane_of_warp() % 4 * 2;
  UNROLL
  for (int i = 0; i < 64; ++i)
    p.at(row + i / 4 % 4 * 8 + i % 2, column + i / 16 * 16 + i / 2 % 2 * 8) =
        d[i / 16][i / 4 % 4][i % 4];
}

template <class Layout, class P>
__global__ void __launch_bounds__(256) tensor_kernel(P p) {
  SHARED_ARRAY(bf16_t, x_tile, tile_rows * step_k);
  SHARED_ARRAY(bf16_t, w_tile, tile_rows * step_k);
  const WarpPlace warp;
  Sums d = {};
  for (int k0 = 0; k0 < p.k; k0 += step_k) {
    __syncthreads();
    fill_tile<Layout>(x_tile, p.x_row(static_cast<int>(blockIdx.y) * tile_rows) + k0, p.k);
    fill_tile<Layout>(w_tile, p.w_row(static_cast<int>(blockIdx.x) * tile_rows) + k0, p.k);
    __syncthreads();
    multiply<Layout>(d, w_tile, x_tile, warp.w_row, warp.x_row);
  }
  write(p, d, warp);
}

inline void rung_5(Stream& stream, const Problem& p) {
  launch(stream, tiles(p, tile_rows, tile_rows), 256, 0, tensor_kernel<Straight, Problem>, p);
}

}  // namespace ladder
