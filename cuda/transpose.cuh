// Copies of tensors in another order. Elements of any dtype are moved in units of 1 to 16 bytes.
//
//   transpose   out[o,j,m,i,e] = x[o,i,m,j,e]
//   concat      a run of out is the runs of all parts in turn
//
// Bound: the bytes of x and out. If neighbours e fit one unit, a block turns a tile of 32 x 32 units
// in shared memory, so that reads and writes are both of neighbouring addresses; otherwise a warp
// copies the run of all e.
//
//   x            j →  32       shared [32][33]        out          i →  32
//   i = 0   │ t 0 t 1 … t 31 │      rows in,       j = 0   │ t 0 t 1 … t 31 │
//   i = 1   │ …                    columns out     j = 1   │ …
#pragma once

#include <algorithm>

#include "launch.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int copy_threads = 256;  // 8 warps

/// Dimensions 1 to 4 of x; dimensions 1 and 3 are swapped.
struct SwappedDims {
  std::int64_t a, middle, b, inner;

  bool operator==(const SwappedDims&) const = default;
};

/// inner = 1.
template <class T>
__global__ void __launch_bounds__(copy_threads)
    transpose_tiles_kernel(T* out, const T* x, SwappedDims s) {
  SHARED_ARRAY(T, tile, 32 * 33);
  const std::int64_t down = ceil_div(s.a, 32), across = ceil_div(s.b, 32);
  const std::int64_t block = blockIdx.x, matrix = block / (down * across);
  const std::int64_t o = matrix / s.middle, m = matrix % s.middle;
  const std::int64_t i0 = block / across % down * 32, j0 = block % across * 32;
  const int lane = lane_of_warp();
  for (int row = warp_of_block(); row < 32; row += copy_threads / 32)
    if (i0 + row < s.a && j0 + lane < s.b)
      tile[row * 33 + lane] =
          load_vector<T>(x + ((o * s.a + i0 + row) * s.middle + m) * s.b + j0 + lane);
  __syncthreads();
  for (int row = warp_of_block(); row < 32; row += copy_threads / 32)
    if (j0 + row < s.b && i0 + lane < s.a)
      store_vector(out + ((o * s.b + j0 + row) * s.middle + m) * s.a + i0 + lane,
                   tile[lane * 33 + row]);
}

/// A warp for each run, and further blocks in y for long runs.
template <class T>
__global__ void __launch_bounds__(copy_threads)
    transpose_runs_kernel(T* out, const T* x, SwappedDims s, std::int64_t runs) {
  const std::int64_t run = static_cast<std::int64_t>(blockIdx.x) * 8 + warp_of_block();
  if (run >= runs) return;
  const std::int64_t i = run % s.a, m = run / s.a % s.middle, row = run / s.a / s.middle;
  const std::int64_t from = (((row / s.b * s.a + i) * s.middle + m) * s.b + row % s.b) * s.inner;
  const std::int64_t step = 32 * static_cast<std::int64_t>(gridDim.y);
  for (std::int64_t e = 32 * static_cast<std::int64_t>(blockIdx.y) + lane_of_warp(); e < s.inner;
       e += step)
    store_vector(out + run * s.inner + e, load_vector<T>(x + from + e));
}

/// Unit i of the part is in run i / `run`, and runs of `out` are `out_run` units apart.
template <class T>
__global__ void __launch_bounds__(copy_threads)
    concat_kernel(T* out, const T* x, std::int64_t run, std::int64_t out_run, std::int64_t count) {
  const std::int64_t i = thread_of_grid();
  if (i < count) store_vector(out + i / run * out_run + i % run, load_vector<T>(x + i));
}

/// Calls function(T{}) with the largest unit that divides all addresses and sizes; `bits` is their
/// bitwise or.
template <class Function>
void with_unit(std::uint64_t bits, const Function& function) {
  if (bits % 16 == 0) return function(uint4{});
  if (bits % 8 == 0) return function(std::uint64_t{});
  if (bits % 4 == 0) return function(std::uint32_t{});
  if (bits % 2 == 0) return function(std::uint16_t{});
  function(std::uint8_t{});
}

inline std::uint64_t address_bits(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

/// out [outer,b,middle,a,inner] from x [outer,a,middle,b,inner], with elements of `size` bytes.
inline void transpose(Stream& stream, std::byte* out, const std::byte* x, std::int64_t outer,
                      SwappedDims s, std::int64_t size) {
  const std::int64_t bytes = s.inner * size;
  with_unit(address_bits(out) | address_bits(x) | static_cast<std::uint64_t>(bytes), [&]<class T>(
                                                                                         T) {
    auto* const to = reinterpret_cast<T*>(out);
    const auto* const from = reinterpret_cast<const T*>(x);
    SwappedDims units = s;
    units.inner = bytes / static_cast<std::int64_t>(sizeof(T));
    const std::int64_t runs = outer * s.a * s.middle * s.b;
    const std::int64_t tiles = outer * s.middle * ceil_div(s.a, 32) * ceil_div(s.b, 32);
    if (units.inner == 1)
      launch(stream, dim3(static_cast<unsigned>(tiles)), copy_threads, 0, transpose_tiles_kernel<T>,
             to, from, units);
    else
      launch(
          stream,
          dim3(static_cast<unsigned>(ceil_div(runs, 8)),
               static_cast<unsigned>(std::min<std::int64_t>(ceil_div(units.inner, 1024), 65535))),
          copy_threads, 0, transpose_runs_kernel<T>, to, from, units, runs);
  });
}

/// Copies `rows` runs of `run` bytes, contiguous in x, to places `out_run` bytes apart.
inline void concat(Stream& stream, std::byte* out, const std::byte* x, std::int64_t rows,
                   std::int64_t run, std::int64_t out_run) {
  if (rows == 0 || run == 0) return;
  with_unit(address_bits(out) | address_bits(x) | static_cast<std::uint64_t>(run | out_run),
            [&]<class T>(T) {
              constexpr auto unit = static_cast<std::int64_t>(sizeof(T));
              const std::int64_t count = rows * run / unit;
              launch(stream, blocks_for(count, copy_threads), copy_threads, 0, concat_kernel<T>,
                     reinterpret_cast<T*>(out), reinterpret_cast<const T*>(x), run / unit,
                     out_run / unit, count);
            });
}

}}}  // namespace idefics::v0::cuda
