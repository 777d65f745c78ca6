// What every rung of the ladder computes: out = x w^T, the products of a linear layer.
#pragma once

#include "cuda/instructions.cuh"
#include "cuda/launch.cuh"

namespace ladder {

using namespace idefics;
using namespace idefics::cuda;

/// M and N are multiples of 128, K is one of 64, and rows are aligned to 16 bytes: edges would only
/// obscure the idea of a rung. The kernels of cuda/ accept every size.
struct Problem {
  float* out;       // [M,N]
  const bf16_t* x;  // [M,K]
  const bf16_t* w;  // [N,K]
  int m, n, k;

  bool operator==(const Problem&) const = default;

  __device__ float& at(int row, int column) const {
    return out[static_cast<std::int64_t>(row) * n + column];
  }
  __device__ const bf16_t* x_row(int row) const { return x + static_cast<std::int64_t>(row) * k; }
  __device__ const bf16_t* w_row(int row) const { return w + static_cast<std::int64_t>(row) * k; }
};

inline dim3 tiles(const Problem& p, int columns, int rows) {
  return dim3(static_cast<unsigned>(p.n / columns), static_cast<unsigned>(p.m / rows));
}

}  // namespace ladder
