// Product of two matrices: torch.matmul.
//
//   out[m,n] = sum_k a[m,k] b[k,n]
//
// Bound: for a few rows the bytes of b, for more the peak of f32 without tensor cores. The kernels
// are those of linear_f32.cuh, reading columns of b as rows of a weight, and so are order and bits.
// Eight neighbouring columns share the 32 bytes that a memory access of a warp takes from each row
// of b.
#pragma once

#include "linear_f32.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Columns of b [K,N] as the rows of a weight [N,K]; see PlainWeights.
struct ColumnWeights {
  static constexpr int ahead = 16;
  static constexpr int steps_of_scale = 8;
  static constexpr bool several_rows = true;
  const float* data;
  std::int64_t width, columns;  // K, N

  bool operator==(const ColumnWeights&) const = default;

  struct Fetched {
    float values[4];
  };
  __device__ Fetched fetch(std::int64_t n, std::int64_t k) const {
    Fetched fetched;
    UNROLL
    for (int i = 0; i < 4; ++i)
      fetched.values[i] = k + i < width ? data[(k + i) * columns + n] : 0.0f;
    return fetched;
  }
  __device__ float scale(std::int64_t, std::int64_t) const { return 1.0f; }
  __device__ void widen(float (&v)[4], const Fetched& fetched, float, const float*) const {
    for (int i = 0; i < 4; ++i) v[i] = fetched.values[i];
  }
  __device__ void fill(float*) const {}
  static __device__ float input(float x) { return x; }
};

/// out [M,N] = a [M,K] times b [K,N], in the f32 order.
inline void matmul(Stream& stream, float* out, const float* a, const float* b, std::int64_t m,
                   std::int64_t n, std::int64_t k) {
  linear_f32_order(stream, out, a, ColumnWeights{b, k, n}, {}, m, n, k);
}

}}}  // namespace idefics::v0::cuda
