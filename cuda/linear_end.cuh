// The epilogue of a linear layer.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Adds bias [N] and residual [M,N] to a sum; either may be null. With a gate alpha, [1] or [N], the
/// sum is multiplied by tanh(alpha) before the residual is added, by one fma as in gated_add; only
/// the kernels for few rows have gates.
struct LinearEnd {
  DeviceFloats bias{};
  const float* residual = nullptr;
  DeviceFloats alpha{};
  bool one_alpha = false;

  bool operator==(const LinearEnd&) const = default;

  /// What is added to one output. Loaded before the sum is known, so that nothing waits for it.
  struct Terms {
    float bias = 0, residual = 0, alpha = 0;
  };
  __device__ Terms load(std::int64_t m, std::int64_t n, std::int64_t width) const {
    Terms terms;
    if (bias.data) terms.bias = float_at(bias, n);
    if (residual) terms.residual = load_global<float>(residual + m * width + n);
    if (alpha.data) terms.alpha = float_at(alpha, one_alpha ? 0 : n);
    return terms;
  }
  __device__ float operator()(float sum, const Terms& terms) const {
    if (bias.data) sum += terms.bias;
    if (alpha.data) return fmaf(tanhf(terms.alpha), sum, terms.residual);
    if (residual) sum += terms.residual;
    return sum;
  }
  __device__ float operator()(float sum, std::int64_t m, std::int64_t n, std::int64_t width) const {
    if (bias.data) sum += float_at(bias, n);
    if (residual) sum += residual[m * width + n];
    return sum;
  }
};

}}}  // namespace idefics::v0::cuda
