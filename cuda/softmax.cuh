// Over the last dimension: probabilities of scores, and the index of the largest.
//
//   softmax   out[d] = exp(x[d] - max) / sum_d exp(x[d] - max)               torch.softmax
//   argmax    out = the first d whose x[d] is largest; NaN is larger than any number
//
// Bound: the bytes of x and out, f32 [M,D]. A block owns a row: thread t of 256 adds the
// exponentials of quads t, t + 256, … to one sum, value by value; a tree over the lanes of each warp
// and one over the warps follow. The row is read three times, mostly from the L1 cache.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int softmax_threads = 256;

template <class X>
__global__ void __launch_bounds__(softmax_threads)
    softmax_kernel(float* out, const X* x, std::int64_t d, bool quads) {
  SHARED_ARRAY(float, of_warp, 8);
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * d;
  float largest = -INFINITY, sum = 0, v[4];
  for (std::int64_t c = 4 * threadIdx.x; c < d; c += 4 * softmax_threads) {
    load_quad(v, x + begin + c, d - c, quads);
    for (int i = 0; i < 4; ++i)
      if (c + i < d) largest = fmaxf(largest, v[i]);
  }
  largest = block_max<8>(largest, of_warp);
  for (std::int64_t c = 4 * threadIdx.x; c < d; c += 4 * softmax_threads) {
    load_quad(v, x + begin + c, d - c, quads);
    for (int i = 0; i < 4; ++i)
      if (c + i < d) sum += expf(v[i] - largest);
  }
  sum = block_sum<8>(sum, of_warp);
  for (std::int64_t c = 4 * threadIdx.x; c < d; c += 4 * softmax_threads) {
    load_quad(v, x + begin + c, d - c, quads);
    for (int i = 0; i < 4; ++i) v[i] = expf(v[i] - largest) / sum;
    store_quad(out + begin + c, v, d - c, quads);
  }
}

/// A value and its index as one integer: the largest is that of the first of the largest values.
__device__ inline std::uint64_t rank_of(float x, std::int64_t index) {
  x += 0.0f;  // -0 becomes 0
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  std::uint32_t rank = bits >> 31 ? ~bits : bits | 0x80000000u;
  if (x != x) rank = 0xffffffffu;
  return static_cast<std::uint64_t>(rank) << 32 | (0xffffffffu - static_cast<std::uint32_t>(index));
}

template <class X>
__global__ void __launch_bounds__(softmax_threads)
    argmax_kernel(std::int64_t* out, const X* x, std::int64_t d) {
  SHARED_ARRAY(std::uint64_t, of_warp, 8);
  const X* const row = x + static_cast<std::int64_t>(blockIdx.x) * d;
  std::uint64_t best = 0;  // below the rank of any value
  for (std::int64_t c = threadIdx.x; c < d; c += softmax_threads)
    if (const std::uint64_t rank = rank_of(to_float(row[c]), c); rank > best) best = rank;
  for (int mask = 16; mask > 0; mask /= 2)
    if (const auto other = __shfl_xor_sync(all_lanes, best, mask); other > best) best = other;
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int warp = 1; warp < 8; ++warp)
    if (of_warp[warp] > best) best = of_warp[warp];
  out[blockIdx.x] = 0xffffffffu - static_cast<std::uint32_t>(best);
}

/// out [M,D] = softmax(x [M,D]). May work in place.
inline void softmax(Stream& stream, float* out, const float* x, std::int64_t m, std::int64_t d) {
  launch(stream, dim3(static_cast<unsigned>(m)), softmax_threads, 0, softmax_kernel<float>, out, x,
         d, in_quads(out, d) && in_quads(x, d));
}

/// out [M] = the index of the largest value of each row of x [M,D], where D is below 2^32.
inline void argmax(Stream& stream, std::int64_t* out, const float* x, std::int64_t m,
                   std::int64_t d) {
  require(d <= std::int64_t{0xffffffff}, "argmax on a GPU is limited to rows of 2^32 values");
  launch(stream, dim3(static_cast<unsigned>(m)), softmax_threads, 0, argmax_kernel<float>, out, x,
         d);
}

}}}  // namespace idefics::v0::cuda
