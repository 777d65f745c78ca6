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
// Where it pays, two blocks with neighbouring weight rows are a cluster that shares rows of x: each
// loads half of them for both (multicast), so 128 + tile_m / 2 rows leave the L2 cache per block. A
// stage is then empty when the warps of both blocks have finished with it.
//
// A sum has the order of linear_bf16.cuh: 16 k at a time, a chain per slice of K, slices added to
// totals. Nothing guarantees that wgmma gives the bits of mma.sync, so find_hopper.hpp compares
// them on the device. Rows of x are the right operand, so that their number may be any multiple of
// 8: 257 rows are 2 × 136.
//
// Bound: the peak of the tensor cores.
#pragma once

#include "hopper.cuh"
#include "linear_bf16.cuh"
#include "linear_tile_end.cuh"
#include "tensor_map.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// A tile; `sharing_` blocks of a cluster have the same rows of x.
template <int tile_m_, int sharing_ = 1>
struct WgmmaTile {
  static constexpr int tile_n = 128, tile_m = tile_m_, sums = tile_m / 2;  // per thread
  static constexpr int sharing = sharing_, loaded_m = tile_m / sharing;
  static_assert(sharing == 1 || loaded_m % 8 == 0, "a swizzled box begins at eight rows");
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
    for (int s = 0; s < T::stages; ++s)
      mbarrier_init(full + s, 1), mbarrier_init(empty + s, 8 * T::sharing);
    mbarrier_fence();
  }
  /// This warp has finished with the stage of a step, whose x other blocks may have loaded.
  __device__ void release(int step) const {
    if constexpr (T::sharing == 1) {
      mbarrier_arrive(empty + step % T::stages);
    } else {
      for (int rank = 0; rank < T::sharing; ++rank)
        mbarrier_arrive_at(empty + step % T::stages, rank);
    }
  }
  __device__ bf16_t* tiles(int step) const { return stages + step % T::stages * T::stage_values; }
  /// The number of earlier uses of the stage, modulo 2.
  __device__ static unsigned parity(int step) {
    return static_cast<unsigned>(step / T::stages) % 2;
  }
};

/// The loop of the producer thread: weight rows from n0 on, rows of x from m0 on, k from k0 on.
template <class T>
__device__ inline void load_steps(const WgmmaRing<T>& ring, const TensorMap& w, const TensorMap& x,
                                  int n0, int m0, int k0, int steps) {
  for (int step = 0; step < steps; ++step) {
    const int stage = step % T::stages, k = k0 + step * k_step;
    bf16_t* const w_tile = ring.tiles(step);
    bf16_t* const x_tile = w_tile + T::tile_n * k_step;
    mbarrier_wait(ring.empty + stage, ring.parity(step) ^ 1);
    mbarrier_arrive_expect(ring.full + stage, T::stage_bytes);
    tma_load(w_tile, &w.map, k, n0, ring.full + stage);
    if constexpr (T::sharing == 1) {
      tma_load(x_tile, &x.map, k, m0, ring.full + stage);
    } else {
      const int first = cluster_rank() * T::loaded_m;
      tma_load_multicast(x_tile + first * k_step, &x.map, k, m0 + first, ring.full + stage,
                         (1u << T::sharing) - 1);
    }
  }
}

/// d = the products of steps [begin, end) of the ring with the weight rows of warpgroup `group`.
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
    if (step > 0 && lane_of_warp() == 0) ring.release(step - 1);
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
  T::sharing == 1 ? __syncthreads() : cluster_sync();
  if (thread_of_block() < 128) {
    fewer_registers<24>();
    if (thread_of_block() == 0) load_steps(ring, w, x, n0, m0, 0, steps);
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
  if constexpr (T::sharing > 1) cluster_sync();  // others may still release stages of this block
}

template <class T>
void launch_gemm_wgmma(Stream& stream, float* out, const bf16_t* x, const bf16_t* w, LinearEnd end,
                       std::int64_t m, std::int64_t n, std::int64_t k) {
  const dim3 grid(static_cast<unsigned>(ceil_div(m, T::tile_m)),  // neighbours share weights
                  static_cast<unsigned>(ceil_div(n, T::tile_n * T::sharing) * T::sharing));
  launch_clusters(stream, grid, dim3(T::threads), dim3(1, T::sharing), T::shared_bytes,
                  gemm_wgmma_kernel<T>, out, tensor_map(w, n, k, T::tile_n),
                  tensor_map(x, m, rounded_width(k), T::loaded_m), end, m, n, k);
}

}}}  // namespace idefics::v0::cuda
