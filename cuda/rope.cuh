// Rotary position embedding in the half-split form: IdeficsEmbedding, apply_rotary_pos_emb
// (Su et al. 2021). With a = x[..., :E/2] and b = x[..., E/2:] of a head,
//
//   a' = a cos[p] - b sin[p],   b' = b cos[p] + a sin[p],   p the position of the row.
//
// Bound: the bytes of x, f32 [M,H,E]. A thread rotates one pair; a block of 256 threads stays
// within one row, so it reads one position. rope_and_cache does the same for a pair of q and one of
// k, which goes to the cache with the pair of v: all six values are loaded before one is stored.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int rope_threads = 256;

/// The position of a thread: its row, and its pair by the offset of the first value in a row.
struct RopePlace {
  std::int64_t row, angle, offset;
};
__device__ inline bool rope_place(RopePlace& place, const std::int32_t* positions, int heads,
                                  int half) {
  const int pair = static_cast<int>(blockIdx.y * rope_threads + threadIdx.x);
  if (pair >= heads * half) return false;
  place.row = blockIdx.x;
  place.angle = static_cast<std::int64_t>(positions[place.row]) * half + pair % half;
  place.offset = std::int64_t{pair / half} * 2 * half + pair % half;
  return true;
}

/// (a, b) at p[0] and p[half], rotated.
__device__ inline float2 rotated(float a, float b, float cos, float sin) {
  return {fmaf(a, cos, -(b * sin)), fmaf(b, cos, a * sin)};
}

template <class X>
__global__ void rope_kernel(X* x, DeviceFloats cosines, DeviceFloats sines,
                            const std::int32_t* positions, int heads, int half) {
  RopePlace at;
  if (!rope_place(at, positions, heads, half)) return;
  X* const a = x + at.row * heads * 2 * half + at.offset;
  const float2 y = rotated(a[0], a[half], float_at(cosines, at.angle), float_at(sines, at.angle));
  a[0] = y.x, a[half] = y.y;
}

/// What rope_and_cache reads and writes. T: f32 or bf16.
template <class T>
struct RopeCache {
  float* q;                              // [M,H,E], rotated in place
  const float *k, *v;                    // [M,H,E]
  T *cache_k, *cache_v;                  // [J,H,E]
  const std::int32_t *rows, *positions;  // [M]
  DeviceFloats cosines, sines;           // [T,E/2]
  int heads, half;

  bool operator==(const RopeCache&) const = default;
};

template <class T>
__global__ void rope_and_cache_kernel(RopeCache<T> o) {
  RopePlace at;
  if (!rope_place(at, o.positions, o.heads, o.half)) return;
  const std::int64_t width = std::int64_t{o.heads} * 2 * o.half;
  const std::int64_t from = at.row * width + at.offset, to = o.rows[at.row] * width + at.offset;
  const float cos = float_at(o.cosines, at.angle), sin = float_at(o.sines, at.angle);
  const float2 q{o.q[from], o.q[from + o.half]}, k{o.k[from], o.k[from + o.half]},
      v{o.v[from], o.v[from + o.half]};
  const float2 turned_q = rotated(q.x, q.y, cos, sin), turned_k = rotated(k.x, k.y, cos, sin);
  o.q[from] = turned_q.x, o.q[from + o.half] = turned_q.y;
  o.cache_k[to] = from_float<T>(turned_k.x), o.cache_k[to + o.half] = from_float<T>(turned_k.y);
  o.cache_v[to] = from_float<T>(v.x), o.cache_v[to + o.half] = from_float<T>(v.y);
}

inline dim3 rope_grid(std::int64_t m, std::int64_t heads, std::int64_t half) {
  return {static_cast<unsigned>(m), static_cast<unsigned>(ceil_div(heads * half, rope_threads))};
}

/// Rotates x [M,H,E] in place; cos, sin [T,E/2] of any float type; positions [M] in device memory,
/// each of which the caller has checked to be below T.
inline void rope(Stream& stream, float* x, DeviceFloats cosines, DeviceFloats sines,
                 const std::int32_t* positions, std::int64_t m, std::int64_t heads,
                 std::int64_t head_width) {
  if (m == 0) return;
  const std::int64_t half = head_width / 2;
  launch(stream, rope_grid(m, heads, half), rope_threads, 0, rope_kernel<float>, x, cosines, sines,
         positions, static_cast<int>(heads), static_cast<int>(half));
}

/// The same for q and k, with k and v written to the cache. `rows` [M] are different rows of it.
template <class T>
void rope_and_cache(Stream& stream, const RopeCache<T>& operands, std::int64_t m) {
  if (m == 0) return;
  launch(stream, rope_grid(m, operands.heads, operands.half), rope_threads, 0,
         rope_and_cache_kernel<T>, operands);
}

}}}  // namespace idefics::v0::cuda
