// What the kernels of attention share: who attends to what, a chunk of keys, and how chunks merge.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int attention_chunk = 64;  // keys whose softmax is worked out together

/// Queries of one segment that are worked on together.
struct AttentionTile {
  std::int32_t query;     // row of the first in q and out
  std::int32_t queries;   // how many
  std::int32_t key_list;  // where the segment's rows begin in the list of key rows
  std::int32_t keys;      // that the last of the queries sees; may be negative: none
  std::int32_t causal;    // or 0: each query before the last sees one key less than the next

  __device__ int visible(int i) const {
    const int seen = causal ? keys - (queries - 1 - i) : keys;
    return seen > 0 ? seen : 0;
  }
};

/// What is read, in device memory.
struct AttentionOperands {
  const float* q;                // [M,H,E]
  const float* k;                // [J,H,E]
  const float* v;                // [J,H,E]
  const std::int32_t* key_rows;  // all segments' lists
  int heads, width;              // H, E
  float scale;

  bool operator==(const AttentionOperands&) const = default;

  bool quads() const { return in_quads(q, width) && in_quads(k, width) && in_quads(v, width); }
  __device__ std::int64_t head_of_row(std::int64_t row, int head) const {
    return (row * heads + head) * width;
  }
};

/// The largest score so far, the sum of exponentials, and what their ratio to the next chunk's is.
struct SoftmaxState {
  float max = -INFINITY, sum = 0;

  struct Factors {
    float old, next;
  };
  /// Takes in a chunk with largest score m and sum l; outputs so far count `old`, its own `next`.
  __device__ Factors merge(float m, float l) {
    const float larger = fmaxf(max, m);
    const Factors factors{expf(max - larger), expf(m - larger)};
    sum = fmaf(sum, factors.old, l * factors.next);
    max = larger;
    return factors;
  }
};

/// The softmax of a chunk over the lanes of a warp: in, lane l has the scores of keys l and l + 32, where
/// absent keys have -infinity; out, their exponentials. Gives the largest score and the sum.
__device__ inline float2 chunk_softmax(float& first, float& second) {
  const float m = lane_max(fmaxf(first, second));
  first = expf(first - m), second = expf(second - m);
  return make_float2(m, lane_sum(first + second));
}

}}}  // namespace idefics::v0::cuda
