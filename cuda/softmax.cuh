// Over the last dimension: probabilities of scores, and the index of the largest.
//
//   softmax   out[d] = exp(x[d] - max) / sum_d exp(x[d] - max)               torch.softmax
//   argmax    out = the first d whose x[d] is largest; NaN is larger than any number
//   greedy_choice   the same over logits in two parts, without forbidden tokens, which are bits in
//                   shared memory; not finite: backend/greedy_choice.hpp
//
// Bound: the bytes of x and out, f32 [M,D]. A block owns a row: thread t of 256 adds the
// exponentials of quads t, t + 256, … to one sum, value by value; a tree over the lanes of each warp
// and one over the warps follow. The row is read three times, mostly from the L1 cache.
#pragma once

#include <idefics/backend/greedy_choice.hpp>

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

/// The largest rank of a block, in its first thread.
template <int warps>
__device__ inline std::uint64_t block_best(std::uint64_t best, std::uint64_t* of_warp) {
  for (int mask = 16; mask > 0; mask /= 2)
    if (const auto other = __shfl_xor_sync(all_lanes, best, mask); other > best) best = other;
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = best;
  __syncthreads();
  for (int warp = 0; warp < warps; ++warp)
    if (of_warp[warp] > best) best = of_warp[warp];
  return best;
}

template <class X>
__global__ void __launch_bounds__(softmax_threads)
    argmax_kernel(std::int64_t* out, const X* x, std::int64_t d) {
  SHARED_ARRAY(std::uint64_t, of_warp, 8);
  const X* const row = x + static_cast<std::int64_t>(blockIdx.x) * d;
  std::uint64_t best = 0;  // below the rank of any value
  for (std::int64_t c = threadIdx.x; c < d; c += softmax_threads)
    if (const std::uint64_t rank = rank_of(to_float(row[c]), c); rank > best) best = rank;
  best = block_best<8>(best, of_warp);
  if (threadIdx.x == 0) out[blockIdx.x] = 0xffffffffu - static_cast<std::uint32_t>(best);
}

/// The logits of a row, and the tokens that it must not choose.
struct GreedyRows {
  const float *base, *additional;  // [R,V]; [R,A] or null
  std::int64_t v, a;
  const std::int32_t *forbidden, *ends;  // of all rows; [R], where those of each row end

  bool operator==(const GreedyRows&) const = default;
};

inline constexpr int greedy_threads = 512;

template <class Rows>
__global__ void __launch_bounds__(greedy_threads)
    greedy_choice_kernel(std::int32_t* out, Rows rows, bool quads) {
  SHARED_ARRAY(std::uint64_t, of_warp, greedy_threads / 32);
  auto* const is_forbidden = dynamic_shared<std::uint32_t>();  // a bit for each token
  const std::int64_t row = blockIdx.x;
  // A word belongs to one thread, which writes all of its bits.
  const int words = static_cast<int>(ceil_div(rows.v + rows.a, 32));
  for (int word = thread_of_block(); word < words; word += greedy_threads) is_forbidden[word] = 0;
  for (int i = row == 0 ? 0 : rows.ends[row - 1]; i < rows.ends[row]; ++i)
    if (const int id = rows.forbidden[i]; id / 32 % greedy_threads == thread_of_block())
      is_forbidden[id / 32] |= 1u << id % 32;
  __syncthreads();

  constexpr std::uint64_t not_finite = ~std::uint64_t{0};
  std::uint64_t best = 0;  // below the rank of any logit
  const auto see = [&](float logit, std::int64_t id) {
    std::uint64_t rank = fabsf(logit) < INFINITY ? rank_of(logit, id) : not_finite;
    if (rank != not_finite && is_forbidden[id / 32] >> id % 32 & 1u) rank = 0;
    if (rank > best) best = rank;
  };
  UNROLL_BY(4)
  for (std::int64_t c = 4 * threadIdx.x; c < rows.v; c += 4 * greedy_threads) {
    float v[4];
    load_quad(v, rows.base + row * rows.v + c, rows.v - c, quads);
    for (int i = 0; i < 4; ++i)
      if (c + i < rows.v) see(v[i], c + i);
  }
  for (std::int64_t c = threadIdx.x; c < rows.a; c += greedy_threads)
    see(rows.additional[row * rows.a + c], rows.v + c);
  best = block_best<greedy_threads / 32>(best, of_warp);
  if (threadIdx.x == 0)
    out[row] = best == 0 ? no_allowed_token
               : best == not_finite
                   ? no_finite_logits
                   : static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(best));
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

/// The bytes of a bit for each of `tokens` tokens.
constexpr std::size_t greedy_shared_bytes(std::int64_t tokens) {
  return static_cast<std::size_t>(ceil_div(tokens, 32)) * 4;
}

/// out [R] = the greedy choice of each row.
inline void greedy_choice(Stream& stream, std::int32_t* out, const GreedyRows& rows,
                          std::int64_t r) {
  const std::size_t bytes = greedy_shared_bytes(rows.v + rows.a);
  require(bytes <= 48 * 1024, "greedy_choice on a GPU is limited to 393216 tokens");
  launch(stream, dim3(static_cast<unsigned>(r)), greedy_threads, bytes,
         greedy_choice_kernel<GreedyRows>, out, rows, in_quads(rows.base, rows.v));
}

}}}  // namespace idefics::v0::cuda
