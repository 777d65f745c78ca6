// Normalization over the last dimension.
//
//   rms_norm     x / sqrt(mean(x^2) + eps) * weight                              IdeficsRMSNorm
//   layer_norm   (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias     torch.nn.LayerNorm
//
// Bound: the bytes of x and out, f32 [M,D]. A block owns a row: thread t of 256 adds the values of
// quads t, t + 256, … to one sum, value by value; a tree over the lanes of each warp and one over
// the warps follow. A thread issues the loads of all its `steps` quads of x before the first sum,
// and those of weight and bias before the first barrier; they stay in registers for the result.
// Rows that are not in quads, or wider than 8192, have steps = 1: they are read part by part, and
// again for the result, from the L1 cache.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int norm_threads = 256;
inline constexpr int norm_span = 4 * norm_threads;  // values that the block reads at a time

/// v[i] = the four values from c + 1024 i on of a row [D], zeros after its end.
template <int steps, class T>
__device__ inline void load_row(float (&v)[steps][4], const T* row, int c, int d) {
  UNROLL
  for (int i = 0; i < steps; ++i) {
    const int at = c + norm_span * i;
    load_quad(v[i], row + at, d - at, steps > 1);
  }
}
/// The same of values of a type known at run time.
__device__ inline void load_row(float (&v)[1][4], DeviceFloats row, int c, int d) {
  for (int i = 0; i < 4; ++i) v[0][i] = c + i < d ? float_at(row, c + i) : 0.0f;
}
template <int steps>
__device__ inline void store_row(float* row, const float (&v)[steps][4], int c, int d) {
  UNROLL
  for (int i = 0; i < steps; ++i) {
    const int at = c + norm_span * i;
    store_quad(row + at, v[i], d - at, steps > 1);
  }
}
/// The same in bf16; d is a multiple of 4, and the row is aligned to four values.
template <int steps>
__device__ inline void store_row(bf16_t* row, const float (&v)[steps][4], int c, int d) {
  UNROLL
  for (int i = 0; i < steps; ++i)
    if (const int at = c + norm_span * i; at < d)
      store_vector(row + at, make_uint2(pack_pair<bf16_t>(v[i][0], v[i][1]),
                                        pack_pair<bf16_t>(v[i][2], v[i][3])));
}

/// Calls body(c) for each part of a row of which this thread has the values from c on.
template <int steps, class Body>
__device__ inline void for_parts(int d, const Body& body) {
  int c = 4 * thread_of_block();
  do body(c);
  while (steps == 1 && (c += norm_span) < d);
}

template <int steps, class W, class Out>
__global__ void __launch_bounds__(norm_threads)
    rms_norm_kernel(Out* out, const float* x, const W* weight, int d, float eps) {
  SHARED_ARRAY(float, warp_sums, 8);
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * d;
  float squares = 0, v[steps][4], w[steps][4];
  for_parts<steps>(d, [&](int c) {
    load_row(v, x + begin, c, d);
    if (steps > 1) load_row(w, weight, c, d);
    UNROLL
    for (int i = 0; i < 4 * steps; ++i) squares = fmaf(v[i / 4][i % 4], v[i / 4][i % 4], squares);
  });
  const float mean_square = block_sum<8>(squares, warp_sums) / static_cast<float>(d);
  const float scale = 1.0f / sqrtf(mean_square + eps);
  for_parts<steps>(d, [&](int c) {
    if (steps == 1) load_row(v, x + begin, c, d), load_row(w, weight, c, d);
    UNROLL
    for (int i = 0; i < 4 * steps; ++i) v[i / 4][i % 4] = v[i / 4][i % 4] * scale * w[i / 4][i % 4];
    store_row(out + begin, v, c, d);
  });
}

template <int steps, class W, class Bias>
__global__ void __launch_bounds__(norm_threads)
    layer_norm_kernel(float* out, const float* x, const W* weight, Bias bias, int d, float eps) {
  SHARED_ARRAY(float, warp_sums, 8);
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * d;
  float sum = 0, squares = 0, v[steps][4], w[steps][4], b[steps][4];
  for_parts<steps>(d, [&](int c) {
    load_row(v, x + begin, c, d);
    if (steps > 1) load_row(w, weight, c, d), load_row(b, bias, c, d);
    UNROLL
    for (int i = 0; i < 4 * steps; ++i) sum += v[i / 4][i % 4];
  });
  const float mean = block_sum<8>(sum, warp_sums) / static_cast<float>(d);
  for_parts<steps>(d, [&](int c) {
    if (steps == 1) load_row(v, x + begin, c, d);
    UNROLL
    for (int i = 0; i < 4 * steps; ++i)
      if (const float off = v[i / 4][i % 4] - mean; c + norm_span * (i / 4) + i % 4 < d)
        squares = fmaf(off, off, squares);
  });
  const float variance = block_sum<8>(squares, warp_sums) / static_cast<float>(d);
  const float scale = 1.0f / sqrtf(variance + eps);
  for_parts<steps>(d, [&](int c) {
    if (steps == 1)
      load_row(v, x + begin, c, d), load_row(w, weight, c, d), load_row(b, bias, c, d);
    UNROLL
    for (int i = 0; i < 4 * steps; ++i)
      v[i / 4][i % 4] = fmaf((v[i / 4][i % 4] - mean) * scale, w[i / 4][i % 4], b[i / 4][i % 4]);
    store_row(out + begin, v, c, d);
  });
}

/// Calls function(steps): the quads of a thread in a row of this width.
template <class Function>
void with_norm_steps(bool quads, std::int64_t d, const Function& function) {
  if (!quads || d > 8 * norm_span)
    function(std::integral_constant<int, 1>());
  else if (d <= 4 * norm_span)
    function(std::integral_constant<int, 4>());
  else
    function(std::integral_constant<int, 8>());
}

/// out [M,D] = rms_norm(x [M,D]). May work in place. All pointers are to device memory; weight [D]
/// may have any float type. `out` may be in bf16, as products read it; then D is a multiple of 4.
template <class Out>
void rms_norm(Stream& stream, Out* out, const float* x, DeviceFloats weight, std::int64_t m,
              std::int64_t d, float eps) {
  if (m == 0) return;
  with_float_type(weight, [&]<class W>(const W* w) {
    const bool quads = in_quads(x, d) && in_quads(out, d) && in_quads(w, d);
    with_norm_steps(quads, d, [&]<int steps>(std::integral_constant<int, steps>) {
      launch(stream, dim3(static_cast<unsigned>(m)), norm_threads, 0,
             rms_norm_kernel<steps, W, Out>, out, x, w, static_cast<int>(d), eps);
    });
  });
}

/// out [M,D] = layer_norm(x [M,D]); weight and bias [D] may have any float type. May work in place.
inline void layer_norm(Stream& stream, float* out, const float* x, DeviceFloats weight,
                       DeviceFloats bias, std::int64_t m, std::int64_t d, float eps) {
  if (m == 0) return;
  const dim3 rows(static_cast<unsigned>(m));
  const auto width = static_cast<int>(d);
  with_float_type(weight, [&]<class W>(const W* w) {
    const auto* const b = static_cast<const W*>(bias.data);
    const bool quads = bias.dtype == weight.dtype && in_quads(x, d) && in_quads(out, d) &&
                       in_quads(w, d) && in_quads(b, d);
    with_norm_steps(quads, d, [&]<int steps>(std::integral_constant<int, steps>) {
      if constexpr (steps == 1)
        launch(stream, rows, norm_threads, 0, layer_norm_kernel<steps, W, DeviceFloats>, out, x, w,
               bias, width, eps);
      else
        launch(stream, rows, norm_threads, 0, layer_norm_kernel<steps, W, const W*>, out, x, w, b,
               width, eps);
    });
  });
}

}}}  // namespace idefics::v0::cuda
