// Products in the bf16 order of the GPU: both operands are rounded to bf16, and the tensor cores
// sum 16 products at a time in f32 (mma.sync m16n8k16). Here are fragments and slices of K; kernels
// are in linear_bf16_gemv.cuh (few rows) and linear_bf16_gemm.cuh (many).
//
// A sum over K (docs/determinism.md): K is cut into 8 slices of equal width, a multiple of 64. Each
// slice is one chain of multiplications of 16 k; the slices are then added in order. The 16 k of a
// multiplication may be assigned to threads freely, as long as both operands agree. They are
// assigned so that a thread's share of a row is 8 bytes: each fragment takes a single load, from
// device memory (few rows) or shared memory (many), and is the same in both.
//
//   k of a multiplication   0 1 2 3│4 5 6 7│8 … 11│12 … 15      thread t of 4 of a row
//   thread                  t = 0  │t = 1  │t = 2 │t = 3
#pragma once

#include "instructions.cuh"
#include "quad.cuh"

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
/// a multiple of 4. `whole`: this is known, and so is that left is not 0.
template <bool whole = false, class W>
__device__ inline uint2 load_bf16x4(const W* p, std::int64_t left, bool aligned) {
  if constexpr (std::is_same_v<W, bf16_t>) {
    if (whole || aligned) return whole || left > 0 ? load_global<uint2>(p) : make_uint2(0, 0);
  }
  float v[4];
  load_quad(v, p, whole ? 4 : left, whole || aligned);
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

}}}  // namespace idefics::v0::cuda
