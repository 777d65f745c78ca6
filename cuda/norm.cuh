// Normalization over the last dimension.
//
//   rms_norm     x / sqrt(mean(x^2) + eps) * weight                              IdeficsRMSNorm
//   layer_norm   (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias     torch.nn.LayerNorm
//
// Bound: the bytes of x and out, f32 [M,D]. A block owns a row: thread t of 256 adds the values of
// quads t, t + 256, … to one sum, value by value; a tree over the lanes of each warp and one over
// the warps follow. For the result the row is read again, from the L1 cache.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int norm_threads = 256;

/// x += residual (unless it is null), out = rms_norm(x).
template <class W>
__global__ void __launch_bounds__(norm_threads)
    rms_norm_kernel(float* out, float* x, const float* residual, const W* weight, std::int64_t d,
                    float eps, bool quads) {
  SHARED_ARRAY(float, warp_sums, 8);
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * d;
  float squares = 0, v[4], other[4];
  for (std::int64_t c = 4 * threadIdx.x; c < d; c += 4 * norm_threads) {
    load_quad(v, x + begin + c, d - c, quads);
    if (residual) {
      load_quad(other, residual + begin + c, d - c, quads);
      for (int i = 0; i < 4; ++i) v[i] += other[i];
      store_quad(x + begin + c, v, d - c, quads);
    }
    for (int i = 0; i < 4; ++i) squares = fmaf(v[i], v[i], squares);
  }
  const float mean_square = block_sum<8>(squares, warp_sums) / static_cast<float>(d);
  const float scale = 1.0f / sqrtf(mean_square + eps);
  for (std::int64_t c = 4 * threadIdx.x; c < d; c += 4 * norm_threads) {
    load_quad(v, x + begin + c, d - c, quads);
    load_quad(other, weight + c, d - c, quads);
    for (int i = 0; i < 4; ++i) v[i] = v[i] * scale * other[i];
    store_quad(out + begin + c, v, d - c, quads);
  }
}

template <class W>
__global__ void __launch_bounds__(norm_threads)
    layer_norm_kernel(float* out, const float* x, const W* weight, DeviceFloats bias,
                      std::int64_t d, float eps, bool quads) {
  SHARED_ARRAY(float, warp_sums, 8);
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * d;
  float sum = 0, squares = 0, v[4], w[4];
  for (std::int64_t c = 4 * threadIdx.x; c < d; c += 4 * norm_threads) {
    load_quad(v, x + begin + c, d - c, quads);
    for (int i = 0; i < 4; ++i) sum += v[i];
  }
  const float mean = block_sum<8>(sum, warp_sums) / static_cast<float>(d);
  for (std::int64_t c = 4 * threadIdx.x; c < d; c += 4 * norm_threads) {
    load_quad(v, x + begin + c, d - c, quads);
    for (int i = 0; i < 4; ++i)
      if (c + i < d) squares = fmaf(v[i] - mean, v[i] - mean, squares);
  }
  const float variance = block_sum<8>(squares, warp_sums) / static_cast<float>(d);
  const float scale = 1.0f / sqrtf(variance + eps);
  for (std::int64_t c = 4 * threadIdx.x; c < d; c += 4 * norm_threads) {
    load_quad(v, x + begin + c, d - c, quads);
    load_quad(w, weight + c, d - c, quads);
    for (int i = 0; i < 4; ++i)
      if (c + i < d) v[i] = fmaf((v[i] - mean) * scale, w[i], float_at(bias, c + i));
    store_quad(out + begin + c, v, d - c, quads);
  }
}

/// out [M,D] = rms_norm(x [M,D]); with `residual` [M,D], x += residual first. May work in place if
/// there is no residual. All pointers are to device memory; weight [D] may have any float type.
inline void rms_norm(Stream& stream, float* out, float* x, const float* residual,
                     DeviceFloats weight, std::int64_t m, std::int64_t d, float eps) {
  if (m == 0) return;
  with_float_type(weight, [&]<class W>(const W* w) {
    const bool quads = in_quads(x, d) && in_quads(out, d) && in_quads(w, d) &&
                       (!residual || in_quads(residual, d));
    launch(stream, dim3(static_cast<unsigned>(m)), norm_threads, 0, rms_norm_kernel<W>, out, x,
           residual, w, d, eps, quads);
  });
}

/// out [M,D] = layer_norm(x [M,D]); weight and bias [D] may have any float type. May work in place.
inline void layer_norm(Stream& stream, float* out, const float* x, DeviceFloats weight,
                       DeviceFloats bias, std::int64_t m, std::int64_t d, float eps) {
  if (m == 0) return;
  with_float_type(weight, [&]<class W>(const W* w) {
    launch(stream, dim3(static_cast<unsigned>(m)), norm_threads, 0, layer_norm_kernel<W>, out, x, w,
           bias, d, eps, in_quads(x, d) && in_quads(out, d) && in_quads(w, d));
  });
}

}}}  // namespace idefics::v0::cuda
