// What the attention kernels share: queries and the keys they see, and the softmax of chunks.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int attention_chunk = 64;  // keys that share one softmax

/// Queries of one segment that are processed together.
struct AttentionTile {
  std::int32_t query;     // row of the first query in q and out
  std::int32_t queries;   // number of queries
  std::int32_t key_list;  // start of the segment's rows in the list of key rows
  std::int32_t keys;      // number that the last query sees; none if it is negative
  std::int32_t causal;    // if not 0, each query sees one key less than the next

  __device__ int visible(int i) const {
    const int seen = causal ? keys - (queries - 1 - i) : keys;
    return seen > 0 ? seen : 0;
  }
};

/// The operands, in device memory. T: f32 or bf16.
template <class T>
struct AttentionOperands {
  const float* q;                // [M,H,E]
  const T* k;                    // [J,H,E]
  const T* v;                    // [J,H,E]
  const std::int32_t* key_rows;  // the lists of all segments
  int heads, width;              // H, E
  float scale;

  bool operator==(const AttentionOperands&) const = default;

  bool quads() const { return in_quads(q, width) && in_quads(k, width) && in_quads(v, width); }
  __device__ std::int64_t head_of_row(std::int64_t row, int head) const {
    return (row * heads + head) * width;
  }
};

/// The running softmax: the largest score so far and the sum of exponentials relative to it.
struct SoftmaxState {
  float max = -INFINITY, sum = 0;

  struct Factors {
    float old, next;
  };
  /// Merges a chunk with largest score m and sum l. Scales the output so far by `old`, that of the
  /// chunk by `next`.
  __device__ Factors merge(float m, float l) {
    const float larger = fmaxf(max, m);
    const Factors factors{expf(max - larger), expf(m - larger)};
    sum = fmaf(sum, factors.old, l * factors.next);
    max = larger;
    return factors;
  }
};

/// The softmax of a chunk over the lanes of a warp. On entry, lane l has the scores of keys l and
/// l + 32, -infinity for absent keys; on return, their exponentials. Returns the largest score and
/// the sum of exponentials.
__device__ inline float2 chunk_softmax(float& first, float& second) {
  const float m = lane_max(fmaxf(first, second));
  first = expf(first - m), second = expf(second - m);
  return make_float2(m, lane_sum(first + second));
}

}}}  // namespace idefics::v0::cuda
