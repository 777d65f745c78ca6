// The epilogue of kernels for many rows: bias and residual added to the sums of a tile.
//
// A thread holds fragments of 16 n × 8 m, four sums of each (instructions.cuh). Loads and stores
// may refer to the same memory (the residual stream is both), so the compiler keeps their order as
// written. Therefore they are written in batches: 32 loads, then 32 additions and stores.
//
//   n0 + 8 i, all i   bias      ─┐ all in flight at once
//   fragments 0 … 7   residual  ─┘ → add, store;   fragments 8 … 15   residual → add, store;  …
//
// Bound: the bytes of residual and out.
#pragma once

#include "linear_end.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Without bias or residual, this is added: it changes no value, not even the sign of a zero.
inline constexpr float adds_nothing = -0.0f;

/// v[i] = bias of n0 + 8 i, for outputs below `n_rows`.
template <int count>
__device__ inline void load_biases(float (&v)[count], DeviceFloats bias, std::int64_t n0,
                                   std::int64_t n_rows) {
  UNROLL
  for (int i = 0; i < count; ++i) v[i] = adds_nothing;
  if (!bias.data) return;
  if (bias.dtype == DType::f32) {
    UNROLL
    for (int i = 0; i < count; ++i)
      if (n0 + 8 * i < n_rows) v[i] = static_cast<const float*>(bias.data)[n0 + 8 * i];
    return;
  }
  std::uint16_t halves[count] = {};
  UNROLL
  for (int i = 0; i < count; ++i)
    if (n0 + 8 * i < n_rows) halves[i] = static_cast<const std::uint16_t*>(bias.data)[n0 + 8 * i];
  UNROLL
  for (int i = 0; i < count; ++i)
    v[i] = bias.dtype == DType::f16 ? to_float(f16_t{halves[i]}) : to_float(bf16_t{halves[i]});
}

/// Stores the outputs of a thread, which holds n_fragments × m_fragments of a tile that begins at
/// weight row n0 and row m0 of x. sum(i, j, e) is sum e of fragment (i, j).
template <int n_fragments, int m_fragments, class Sum>
__device__ inline void store_outputs(float* out, const LinearEnd& end, std::int64_t n0,
                                     std::int64_t m0, std::int64_t m_rows, std::int64_t n_rows,
                                     const Sum& sum) {
  constexpr int fragments = n_fragments * m_fragments, batch = fragments < 8 ? fragments : 8;
  const std::int64_t first_n = n0 + lane_of_warp() / 4, first_m = m0 + lane_of_warp() % 4 * 2;
  const auto n_of = [&](int f, int e) { return first_n + f / m_fragments * 16 + e / 2 * 8; };
  const auto m_of = [&](int f, int e) { return first_m + f % m_fragments * 8 + e % 2; };
  const auto exists = [&](int f, int e) {
    return f < fragments && n_of(f, e) < n_rows && m_of(f, e) < m_rows;
  };
  float bias[2 * n_fragments], residual[batch][4];
  load_biases(bias, end.bias, first_n, n_rows);
  UNROLL
  for (int begin = 0; begin < fragments; begin += batch) {
    UNROLL
    for (int i = 0; i < 4 * batch; ++i) {
      const int f = begin + i / 4, e = i % 4;
      residual[i / 4][e] = adds_nothing;
      if (end.residual && exists(f, e))
        residual[i / 4][e] = end.residual[m_of(f, e) * n_rows + n_of(f, e)];
    }
    UNROLL
    for (int i = 0; i < 4 * batch; ++i) {
      const int f = begin + i / 4, e = i % 4;
      if (exists(f, e))
        out[m_of(f, e) * n_rows + n_of(f, e)] = sum(f / m_fragments, f % m_fragments, e) +
                                                bias[f / m_fragments * 2 + e / 2] +
                                                residual[i / 4][e];
    }
  }
}

}}}  // namespace idefics::v0::cuda
