// Products in the bf16 order for many rows on Hopper: wgmma on tiles that TMA loads.
//
// A block owns 128 weight rows and tile_m rows of x, and walks over K in steps of 64 through a ring
// of stages. One thread issues the loads; two warpgroups multiply, 64 weight rows each. No other
// thread moves data, and after the setup no barrier involves the whole block: each stage has two
// barriers of its own.
//
//              ring of stages, 64 k each
//   producer ─TMA→ ┌──────┬──────┬─ … ─┬──────┐   full[s]    the bytes of stage s have arrived
//   (1 thread)     │ w, x │ w, x │     │ w, x │   empty[s]   all 8 warps have finished with them
//                  └──┬───┴──┬───┴─ … ─┴──────┘
//                     └──────┴→ warpgroup 1: weight rows 0 … 63     d[64, tile_m] in registers,
//                               warpgroup 2: weight rows 64 … 127   and totals
//
// A sum has the order of linear_bf16.cuh: 16 k at a time, a chain per slice of K, slices added to
// totals. Nothing guarantees that wgmma gives the bits of mma.sync, so find_hopper.hpp compares
// them on the device. Rows of x are the right operand, so that their number may be any multiple of
// 8: 257 rows are 2 × 136.
//
// Bound: the peak of the tensor cores.
#pragma once

#include <algorithm>

#include "hopper.cuh"
#include "linear_bf16.cuh"
#include "linear_tile_end.cuh"
#include "tensor_map.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

template <int tile_m_>
struct WgmmaTile {
  static constexpr int tile_n = 128, tile_m = tile_m_, sums = tile_m / 2;  // per thread
  static constexpr int threads = 3 * 128;
  static constexpr int stage_values = (tile_n + tile_m) * k_step;
  static constexpr int stage_bytes = stage_values * static_cast<int>(sizeof(bf16_t));
  static constexpr int fitting = 220 * 1024 / stage_bytes, stages = fitting < 8 ? fitting : 8;
  static constexpr std::size_t shared_bytes = std::size_t{stages} * (stage_bytes + 16);
};

/// The shared memory of a block.
template <class T>
struct WgmmaRing {
  bf16_t* const stages = dynamic_shared<bf16_t>();
  std::uint64_t* const full =
      reinterpret_cast<std::uint64_t*>(stages + T::stages * T::stage_values);
  std::uint64_t* const empty = full + T::stages;

  /// Initializes the barriers. To be called by one thread, before a __syncthreads.
  __device__ void open() const {
    for (int s = 0; s < T::stages; ++s) mbarrier_init(full + s, 1), mbarrier_init(empty + s, 8);
    mbarrier_fence();
  }
  __device__ bf16_t* tiles(int step) const { return stages + step % T::stages * T::stage_values; }
  /// The number of earlier uses of the stage, modulo 2.
  __device__ static unsigned parity(int step) {
    return static_cast<unsigned>(step / T::stages) % 2;
  }
};

/// The loop of the producer thread: weight rows from n0 on, rows of x from m0 on.
template <class T>
__device__ inline void load_steps(const WgmmaRing<T>& ring, const TensorMap& w, const TensorMap& x,
                                  int n0, int m0, int steps) {
  for (int step = 0; step < steps; ++step) {
    const int stage = step % T::stages;
    mbarrier_wait(ring.empty + stage, ring.parity(step) ^ 1);
    mbarrier_arrive_expect(ring.full + stage, T::stage_bytes);
    tma_load(ring.tiles(step), &w.map, step * k_step, n0, ring.full + stage);
    tma_load(ring.tiles(step) + T::tile_n * k_step, &x.map, step * k_step, m0, ring.full + stage);
  }
}

/// d = the products of steps [begin, end) with the weight rows of warpgroup `group`.
template <class T>
__device__ inline void multiply_slice(float (&d)[T::sums], const WgmmaRing<T>& ring, int group,
                                      int begin, int end) {
  UNROLL
  for (int i = 0; i < T::sums; ++i) d[i] = 0;
  for (int step = begin; step < end; ++step) {
    mbarrier_wait(ring.full + step % T::stages, ring.parity(step));
    const bf16_t* const tiles = ring.tiles(step);
    const std::uint64_t w = describe_tile(tiles + group * 64 * k_step);
    const std::uint64_t x = describe_tile(tiles + T::tile_n * k_step);
    wgmma_fence(d);
    UNROLL
    for (unsigned i = 0; i < k_step / 16; ++i) wgmma<T::tile_m>(d, w + 2 * i, x + 2 * i);
    wgmma_commit();
    wgmma_wait<1>();  // the previous step has been multiplied
    if (step > 0 && lane_of_warp() == 0) mbarrier_arrive(ring.empty + (step - 1) % T::stages);
  }
  wgmma_wait_for(d);
}

template <class T>
__global__ void __launch_bounds__(T::threads, 1)
    gemm_wgmma_kernel(float* out, const __grid_constant__ TensorMap w,
                      const __grid_constant__ TensorMap x, LinearEnd end, std::int64_t m_rows,
                      std::int64_t n_rows, std::int64_t k_width) {
  const WgmmaRing<T> ring;
  const int steps = static_cast<int>(ceil_div(k_width, k_step));
  const int n0 = static_cast<int>(blockIdx.y) * T::tile_n;
  const int m0 = static_cast<int>(blockIdx.x) * T::tile_m;
  if (thread_of_block() == 0) ring.open();
  __syncthreads();
  if (thread_of_block() < 128) {
    fewer_registers<24>();
    if (thread_of_block() == 0) load_steps(ring, w, x, n0, m0, steps);
    return;
  }
  more_registers<240>();
  const int group = thread_of_block() / 128 - 1, steps_of_slice = slice_width(k_width) / k_step;
  float d[T::sums], totals[T::sums] = {};
  for (int step = 0; step < steps; step += steps_of_slice) {
    const int stop = step + steps_of_slice < steps ? step + steps_of_slice : steps;
    multiply_slice<T>(d, ring, group, step, stop);
    UNROLL
    for (int i = 0; i < T::sums; ++i) totals[i] += d[i];
  }
  store_outputs<1, T::tile_m / 8>(out, end, n0 + group * 64 + warp_of_block() % 4 * 16, m0, m_rows,
                                  n_rows, [&](int, int j, int e) { return totals[4 * j + e]; });
}

/// Whether wgmma may be used, and on how many multiprocessors.
struct Hopper {
  bool wgmma = false;
  int processors = 132;

  /// TMA reads rows that are aligned to 16 bytes.
  bool supports(const bf16_t* weights, std::int64_t k) const {
    return wgmma && k > 0 && in_octets(weights, k);
  }
};

/// An estimate of the clocks that a product takes per 16 k, with tiles of tile_m rows of x. A
/// multiprocessor computes 2048 products per clock and receives 25 bytes from the L2 cache while
/// all of them load, 64 at most: assumptions, not measurements. An incomplete last wave costs as
/// much as a complete one.
inline double wgmma_clocks(std::int64_t tile_m, std::int64_t m, std::int64_t n, int processors) {
  const std::int64_t blocks = ceil_div(n, 128) * ceil_div(m, tile_m);
  const double waves = static_cast<double>(ceil_div(blocks, processors));
  const double share = static_cast<double>(processors) /
                       static_cast<double>(blocks < processors ? blocks : processors);
  const double bytes_per_clock = 25 * share < 64 ? 25 * share : 64;
  const double products = static_cast<double>(tile_m), loads = 32 * (128 + products);
  return waves * (products > loads / bytes_per_clock ? products : loads / bytes_per_clock);
}

template <class T>
void launch_gemm_wgmma(Stream& stream, float* out, const bf16_t* x, const bf16_t* w, LinearEnd end,
                       std::int64_t m, std::int64_t n, std::int64_t k) {
  const dim3 grid(static_cast<unsigned>(ceil_div(m, T::tile_m)),  // neighbours share weights
                  static_cast<unsigned>(ceil_div(n, T::tile_n)));
  launch(stream, grid, dim3(T::threads), T::shared_bytes, gemm_wgmma_kernel<T>, out,
         tensor_map(w, n, k, T::tile_n), tensor_map(x, m, rounded_width(k), T::tile_m), end, m, n,
         k);
}

/// The rows of x in a tile, narrowest first.
inline constexpr int wgmma_tiles[] = {64, 88, 136, 192};

/// Calls function(WgmmaTile<tile_m>()) for one of wgmma_tiles.
template <class Function>
void with_wgmma_tile(int tile_m, const Function& function) {
  switch (tile_m) {
    case 64: return function(WgmmaTile<64>());
    case 88: return function(WgmmaTile<88>());
    case 136: return function(WgmmaTile<136>());
    default: return function(WgmmaTile<192>());
  }
}

/// out [M,N] = x [M, rounded_width(K)] times w [N,K], with the tile of the lowest estimate.
inline void gemm_wgmma(Stream& stream, float* out, const bf16_t* x, const bf16_t* w, LinearEnd end,
                       std::int64_t m, std::int64_t n, std::int64_t k, int processors) {
  const auto clocks = [&](int tile_m) { return wgmma_clocks(tile_m, m, n, processors); };
  with_wgmma_tile(std::ranges::min(wgmma_tiles, {}, clocks), [&]<class Tile>(Tile) {
    launch_gemm_wgmma<Tile>(stream, out, x, w, end, m, n, k);
  });
}

}}}  // namespace idefics::v0::cuda
