// Products in the bf16 order of the GPU: both operands are rounded to bf16, and the tensor cores
// sum 16 products at a time in f32 (mma.sync m16n8k16). Here are fragments, slices of K and the
// kernel for few rows; the one for many rows is in linear_bf16_gemm.cuh.
//
// A sum over K (docs/determinism.md): K is cut into 8 slices of equal width, a multiple of 64. Each
// slice is one chain of multiplications of 16 k; the slices are then added in order. The 16 k of a
// multiplication may be assigned to threads freely, as long as both operands agree. They are
// assigned so that a thread's share of a row is 8 bytes: each fragment takes a single load, from
// device memory (few rows) or shared memory (many), and is the same in both.
//
//   k of a multiplication   0 1 2 3│4 5 6 7│8 … 11│12 … 15      thread t of 4 of a row
//   thread                  t = 0  │t = 1  │t = 2 │t = 3
//
// Up to 16 rows: a block owns 16 weight rows, each of its 8 warps a slice of K. The weights are the
// left operand, of 16 rows, and x is the right one, of 8, so that 8 rows of x cost the same as one.
//
//            slice 0   slice 1        slice 7
//         ┌─────────┬─────────┬─ … ─┬─────────┐
//   16 n  │ warp 0  │ warp 1  │     │ warp 7  │  → 8 partial sums of 16 x 8, added in shared memory
//         └─────────┴─────────┴─ … ─┴─────────┘
//
// Bound: the bytes of w.
#pragma once

#include "gemv_group.cuh"
#include "instructions.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int k_slices = 8;
inline constexpr int k_step = 64;  // columns of a tile, four multiplications

/// The width of a slice of K; `multiple` is 64 or a larger power of two.
constexpr __host__ __device__ int slice_width(std::int64_t k, std::int64_t multiple = k_step) {
  return static_cast<int>(ceil_div(ceil_div(k, k_slices), multiple) * multiple);
}

/// The row width of an x that is rounded to bf16, padded with zeros to a whole step.
constexpr __host__ __device__ std::int64_t rounded_width(std::int64_t k) {
  return ceil_div(k, k_step) * k_step;
}

/// p[0..3] in bf16, with zeros from p[left] on. `aligned`: p is aligned to four values, and left is
/// a multiple of 4.
template <class W>
__device__ inline uint2 load_bf16x4(const W* p, std::int64_t left, bool aligned) {
  if constexpr (std::is_same_v<W, bf16_t>) {
    if (aligned) return left > 0 ? load_vector<uint2>(p) : make_uint2(0, 0);
  }
  float v[4];
  load_quad(v, p, left, aligned);
  return make_uint2(pack_pair<bf16_t>(v[0], v[1]), pack_pair<bf16_t>(v[2], v[3]));
}

/// The same for p[0..7].
template <class W>
__device__ inline uint4 load_bf16x8(const W* p, std::int64_t left, bool aligned) {
  if constexpr (std::is_same_v<W, bf16_t>) {
    if (aligned) return left > 0 ? load_vector<uint4>(p) : make_uint4(0, 0, 0, 0);
  }
  const uint2 first = load_bf16x4(p, left, aligned), second = load_bf16x4(p + 4, left - 4, aligned);
  return make_uint4(first.x, first.y, second.x, second.y);
}

/// Whether rows of this width, the first at `base`, can be read eight values at a time.
template <class W>
bool in_octets(const W* base, std::int64_t width) {
  return width % 8 == 0 && reinterpret_cast<std::uintptr_t>(base) % 16 == 0;
}

/// A few rows of x: in bf16, padded with zeros to a whole step, or in f32 and rounded when loaded.
template <class X>
struct GemvRows {
  const X* data = nullptr;
  std::int64_t count = 0, width = 0;
  bool aligned = false;  // rows are aligned to four values

  bool operator==(const GemvRows&) const = default;

  __device__ uint2 four(std::int64_t m, std::int64_t k) const {
    return load_bf16x4(data + m * width + k, m < count ? width - k : 0, aligned);
  }
  __device__ uint4 eight(std::int64_t m, std::int64_t k) const {
    return load_bf16x8(data + m * width + k, m < count ? width - k : 0, aligned);
  }
};

inline GemvRows<float> gemv_rows(const float* x, std::int64_t m, std::int64_t k) {
  return {x, m, k, in_quads(x, k)};
}
inline GemvRows<bf16_t> gemv_rows(const bf16_t* rounded, std::int64_t m, std::int64_t k) {
  return {rounded, m, rounded_width(k), true};
}
/// Up to this many rows, each block rounds x itself, which saves a launch; not measured yet.
inline constexpr std::int64_t gemv_rows_rounded_late = 8;

/// d[16 n][8 m] += 16 weight rows times 8 rows of x over 16 k. `low` and `high` are the thread's
/// shares of weight rows g and g + 8, `x` its share of row g of x, with g = lane / 4.
__device__ inline void multiply(float (&d)[4], uint2 low, uint2 high, uint2 x) {
  mma_m16n8k16(d, {low.x, high.x, low.y, high.y}, {x.x, x.y}, bf16_t{});
}

/// rounded [M, rounded_width(K)] = x [M,K] in bf16.
template <class X>
__global__ void round_rows_kernel(bf16_t* rounded, const X* x, std::int64_t k_width, bool aligned) {
  const std::int64_t k = 8 * (static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x);
  const std::int64_t row = blockIdx.x, padded = rounded_width(k_width);
  if (k < padded)
    store_vector(rounded + row * padded + k,
                 load_bf16x8(x + row * k_width + k, k_width - k, aligned));
}

inline void round_rows(Stream& stream, bf16_t* rounded, const float* x, std::int64_t m,
                       std::int64_t k) {
  const dim3 grid(static_cast<unsigned>(m), static_cast<unsigned>(ceil_div(k, 8 * 128)));
  launch(stream, grid, dim3(128), 0, round_rows_kernel<float>, rounded, x, k, in_octets(x, k));
}

/// Adds the slices, one per warp, and stores the 16 n x 8*tiles m outputs of the block. `partial`
/// is shared, [8 slices][tiles][16 n][8 m].
template <int tiles>
__device__ inline void add_slices(float* out, const float* partial, const LinearEnd& end,
                                  std::int64_t n0, std::int64_t m_rows, std::int64_t n_rows,
                                  int slices) {
  constexpr int outputs = tiles * 128;
  for (int i = static_cast<int>(threadIdx.x); i < outputs; i += 32 * k_slices) {
    const std::int64_t n = n0 + i % 16, m = i / 16;  // stores of neighbouring threads are adjacent
    if (m >= m_rows || n >= n_rows) continue;
    const int at = (i / 128) * 128 + (i % 16) * 8 + i / 16 % 8;
    float sum = partial[at];
    for (int slice = 1; slice < slices; ++slice) sum += partial[slice * outputs + at];
    out[m * n_rows + n] = end(sum, m, n, n_rows);
  }
}

/// Stores the fragment of a warp to its position in `partial`.
template <int tiles>
__device__ inline void store_slice(float* partial, const float (&d)[tiles][4], int slice,
                                   int lane) {
  UNROLL
  for (int tile = 0; tile < tiles; ++tile) UNROLL
  for (int i = 0; i < 4; ++i)
    partial[(slice * tiles + tile) * 128 + (lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] =
        d[tile][i];
}

inline constexpr int gemv_bf16_threads = 32 * k_slices;

template <int tiles, class W, class X>
__global__ void __launch_bounds__(gemv_bf16_threads)
    gemv_bf16_kernel(GemvGroup<const W*> group, GemvRows<X> x, std::int64_t k_width, bool aligned) {
  SHARED_ARRAY(float, partial, k_slices* tiles * 128);
  // Multiplications whose operands are loaded in advance.
  constexpr int ahead = tiles == 1 && sizeof(W) == 2 ? 8 : 4;
  const int lane = static_cast<int>(threadIdx.x % 32), slice = static_cast<int>(threadIdx.x / 32);
  const GemvPart<const W*> part = group.part_of(blockIdx.x);
  const std::int64_t n0 = static_cast<std::int64_t>(blockIdx.x - part.first_block) * 16,
                     padded = rounded_width(k_width), n = n0 + lane / 4, last = part.n_rows - 1;
  const W* low_row = part.weights + (n < last ? n : last) * k_width;
  const W* high_row = part.weights + (n + 8 < last ? n + 8 : last) * k_width;
  const std::int64_t width = slice_width(k_width), begin = slice * width;
  const std::int64_t end_of_slice = begin + width < padded ? begin + width : padded;
  float d[tiles][4] = {};
  for (std::int64_t k0 = begin; k0 < end_of_slice; k0 += 16 * ahead) {
    uint2 low[ahead], high[ahead], xs[ahead][tiles];
    UNROLL
    for (int i = 0; i < ahead; ++i) {
      const std::int64_t k = k0 + 16 * i + lane % 4 * 4;
      if (k >= end_of_slice) continue;
      low[i] = load_bf16x4(low_row + k, k_width - k, aligned);
      high[i] = load_bf16x4(high_row + k, k_width - k, aligned);
      UNROLL
      for (int tile = 0; tile < tiles; ++tile) {
        xs[i][tile] = x.four(8 * tile + lane / 4, k);
      }
    }
    UNROLL
    for (int i = 0; i < ahead; ++i) {
      if (k0 + 16 * i >= end_of_slice) break;
      UNROLL
      for (int tile = 0; tile < tiles; ++tile) multiply(d[tile], low[i], high[i], xs[i][tile]);
    }
  }
  store_slice<tiles>(partial, d, slice, lane);
  __syncthreads();
  add_slices<tiles>(part.out, partial, part.end, n0, x.count, part.n_rows,
                    static_cast<int>(ceil_div(padded, width)));
}

/// Up to three products with up to 16 rows of x.
template <class W, class X>
void gemv_bf16(Stream& stream, std::span<const GemvPart<const W*>> parts, const GemvRows<X>& x,
               std::int64_t k) {
  const GemvGroup<const W*> group = gemv_group(parts);
  const bool aligned = std::ranges::all_of(
      parts, [k](const GemvPart<const W*>& part) { return in_octets(part.weights, k); });
  launch(stream, dim3(group.blocks), dim3(gemv_bf16_threads), 0,
         x.count <= 8 ? gemv_bf16_kernel<1, W, X> : gemv_bf16_kernel<2, W, X>, group, x, k,
         aligned);
}

}}}  // namespace idefics::v0::cuda
