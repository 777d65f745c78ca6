// out = act(x), and out = act(gate) * up.                                  all f32, any shape
// Source: transformers' ACT2FN; docs/kernels/activation.md.
// One thread per four neighbouring elements, no sums; exp, tanh and erf are CUDA's, within 2 ulp.
// Bound: the bytes of x, up and out.
#pragma once

#include <cmath>

#include <idefics/backend/choices.hpp>

#include "launch.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

namespace activations {

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ inline float gelu(float x) { return x * 0.5f * (erff(x * 0.70710678f) + 1.0f); }

__device__ inline float gelu_tanh(float x) {
  const float inner = fmaf(x * x * x, 0.044715f, x) * 0.79788456f;
  return x * 0.5f * (tanhf(inner) + 1.0f);
}

/// tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2), which is 1 from x = 20 on.
__device__ inline float mish(float x) {
  const float e = expf(x < 20.0f ? x : 20.0f), product = e * (e + 2.0f);
  return x * (product / (product + 2.0f));
}

/// The comparisons let NaN pass through.
__device__ inline float clamp(float x, float low, float high) {
  return x < low ? low : x > high ? high : x;
}

template <Activation act>
__device__ float activate(float x) {
  const float positive = x < 0.0f ? 0.0f : x;
  if constexpr (act == Activation::relu) return positive;
  if constexpr (act == Activation::relu2) return positive * positive;
  if constexpr (act == Activation::relu6) return clamp(x, 0.0f, 6.0f);
  if constexpr (act == Activation::leaky_relu) return x < 0.0f ? x * 0.01f : x;
  if constexpr (act == Activation::silu) return x / (1.0f + expf(-x));
  if constexpr (act == Activation::gelu) return gelu(x);
  if constexpr (act == Activation::gelu_tanh) return gelu_tanh(x);
  if constexpr (act == Activation::clipped_gelu) return clamp(gelu(x), -10.0f, 10.0f);
  if constexpr (act == Activation::quick_gelu) return x * sigmoid(x * 1.702f);
  if constexpr (act == Activation::mish) return mish(x);
  if constexpr (act == Activation::laplace)  // 1 / (0.282095 sqrt 2)
    return (erff((x - 0.707107f) * 2.5066268f) + 1.0f) * 0.5f;
  if constexpr (act == Activation::sigmoid) return sigmoid(x);
  if constexpr (act == Activation::tanh) return tanhf(x);
  return x;
}

/// `up` may be null; `vectors`: all pointers are aligned to 16 bytes. May work in place.
template <Activation act>
__global__ void activate_all(float* out, const float* x, const float* up, std::int64_t count,
                             bool vectors) {
  const std::int64_t first = 4 * thread_of_grid();
  if (vectors && first + 4 <= count) {
    float4 y = load_vector<float4>(x + first);
    y = {activate<act>(y.x), activate<act>(y.y), activate<act>(y.z), activate<act>(y.w)};
    if (up != nullptr) {
      const float4 u = load_vector<float4>(up + first);
      y = {y.x * u.x, y.y * u.y, y.z * u.z, y.w * u.w};
    }
    store_vector(out + first, y);
    return;
  }
  for (std::int64_t i = first; i < first + 4 && i < count; ++i) {
    const float y = activate<act>(x[i]);
    out[i] = up == nullptr ? y : y * up[i];
  }
}

}  // namespace activations

/// out = act(x) of `count` elements, times `up` unless it is null.
inline void gated_activation(Stream& stream, float* out, const float* x, const float* up,
                             std::int64_t count, Activation act) {
  const bool vectors = is_aligned<float4>(out) && is_aligned<float4>(x) && is_aligned<float4>(up);
  const auto run = [&](auto kernel) {
    launch(stream, blocks_for(ceil_div(count, 4), 256), 256, 0, kernel, out, x, up, count, vectors);
  };
  switch (act) {
#define IDEFICS_CUDA_CASE(name) \
  case Activation::name: return run(activations::activate_all<Activation::name>);
    IDEFICS_CUDA_CASE(relu)
    IDEFICS_CUDA_CASE(relu2)
    IDEFICS_CUDA_CASE(relu6)
    IDEFICS_CUDA_CASE(leaky_relu)
    IDEFICS_CUDA_CASE(silu)
    IDEFICS_CUDA_CASE(gelu)
    IDEFICS_CUDA_CASE(gelu_tanh)
    IDEFICS_CUDA_CASE(clipped_gelu)
    IDEFICS_CUDA_CASE(quick_gelu)
    IDEFICS_CUDA_CASE(mish)
    IDEFICS_CUDA_CASE(laplace)
    IDEFICS_CUDA_CASE(sigmoid)
    IDEFICS_CUDA_CASE(tanh)
    IDEFICS_CUDA_CASE(identity)
#undef IDEFICS_CUDA_CASE
  }
}

}}}  // namespace idefics::v0::cuda
