// Rotary position embedding in the half-split form: IdeficsEmbedding, apply_rotary_pos_emb
// (Su et al. 2021). With a = x[..., :E/2] and b = x[..., E/2:] of a head,
//
//   a' = a cos[p] - b sin[p],   b' = b cos[p] + a sin[p],   p the position of the row.
//
// Bound: the bytes of x, f32 [M,H,E]. A thread rotates one pair; a block of 256 threads stays
// within one row, so it reads one position.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int rope_threads = 256;

template <class X>
__global__ void rope_kernel(X* x, DeviceFloats cosines, DeviceFloats sines,
                            const std::int32_t* positions, int heads, int half) {
  const int pair = static_cast<int>(blockIdx.y * rope_threads + threadIdx.x);
  if (pair >= heads * half) return;
  const std::int64_t row = blockIdx.x, i = pair % half;
  const std::int64_t angle = static_cast<std::int64_t>(positions[row]) * half + i;
  const float c = float_at(cosines, angle), s = float_at(sines, angle);
  X* a = x + (row * heads + pair / half) * 2 * half + i;
  X* b = a + half;
  const float old_a = *a, old_b = *b;
  *a = fmaf(old_a, c, -(old_b * s));
  *b = fmaf(old_b, c, old_a * s);
}

/// Rotates x [M,H,E] in place; cos, sin [T,E/2] of any float type; positions [M] in device memory,
/// each of which the caller has checked to be below T.
inline void rope(Stream& stream, float* x, DeviceFloats cosines, DeviceFloats sines,
                 const std::int32_t* positions, std::int64_t m, std::int64_t heads,
                 std::int64_t head_width) {
  if (m == 0) return;
  const std::int64_t half = head_width / 2;
  const dim3 grid(static_cast<unsigned>(m),
                  static_cast<unsigned>(ceil_div(heads * half, rope_threads)));
  launch(stream, grid, rope_threads, 0, rope_kernel<float>, x, cosines, sines, positions,
         static_cast<int>(heads), static_cast<int>(half));
}

}}}  // namespace idefics::v0::cuda
