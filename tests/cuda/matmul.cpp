// Tests of the CUDA product of two matrices, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/matmul.cuh"

#include <idefics/backend/reference/matmul.hpp>
#include <idefics/backend/reference/transpose.hpp>

#include "cuda/linear.cuh"
#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

Tensor matmul(const Tensor& a, const Tensor& b) {
  const std::int64_t m = a.dim(0), n = b.dim(1), k = b.dim(0);
  return cuda_result({m, n},
                     [&](float* out) { cuda::matmul(at_once(), out, data(a), data(b), m, n, k); });
}

/// The same by way of a linear layer, whose weight [N,K] is b transposed.
Tensor linear(const Tensor& a, const Tensor& b) {
  const std::int64_t m = a.dim(0), n = b.dim(1), k = b.dim(0);
  const Tensor weight = Tensor::empty(DType::f32, {n, k});
  reference::transpose(weight.reshape({1, n, 1, k, 1}), b.reshape({1, k, 1, n, 1}));
  return cuda_result({m, n}, [&](float* out) {
    cuda::linear_f32(at_once(), out, data(a), floats(weight), {}, m, n, k);
  });
}

}  // namespace

TEST_CASE("CUDA matmul has the bits of linear with the transpose, few rows and many") {
  for (const std::int64_t m : {1, 2, 4, 7, 40})
    for (const std::int64_t n : {1, 7, 16, 50})
      for (const std::int64_t k : {1, 16, 33, 300}) {
        INFO(m << " x " << n << " x " << k);
        const Tensor a = tensor({m, k}, normals(m * k, 1)), b = tensor({k, n}, normals(k * n, 2));
        CHECK(different_bits(matmul(a, b), linear(a, b)) == "");
      }
}

TEST_CASE("a CUDA product of whole numbers is the reference's") {
  for (const std::int64_t m : {1, 5, 33}) {
    const Tensor a = tensor({m, 70}, integers(m * 70, 20, 3)),
                 b = tensor({70, 37}, integers(70 * 37, 20, 4)),
                 expected = Tensor::empty(DType::f32, {m, 37});
    reference::matmul(expected, a, b);
    CHECK(different_bits(matmul(a, b), expected) == "");
  }
}
