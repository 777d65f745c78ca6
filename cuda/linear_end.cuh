// The epilogue of a linear layer.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Adds bias [N] and residual [M,N] to a sum; either may be null.
struct LinearEnd {
  DeviceFloats bias{};
  const float* residual = nullptr;

  bool operator==(const LinearEnd&) const = default;

  __device__ float operator()(float sum, std::int64_t m, std::int64_t n, std::int64_t width) const {
    if (bias.data) sum += float_at(bias, n);
    if (residual) sum += residual[m * width + n];
    return sum;
  }
};

}}}  // namespace idefics::v0::cuda
