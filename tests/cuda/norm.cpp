// Tests of the CUDA norm kernels, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/norm.cuh"

#include <idefics/backend/reference/norm.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

constexpr float eps = 1e-5f;
constexpr std::int64_t norm_widths[] = {1, 3, 4, 5, 12, 31, 1024, 1027, 2056, 4100, 8196};

Tensor rms_norm(const Tensor& x, const Tensor& weight, float epsilon, std::size_t offset = 0) {
  const std::int64_t d = weight.count(), m = x.count() / d;
  return cuda_result(
      x.shape(),
      [&](float* out) {
        const Tensor from = moved(x, offset);
        cuda::rms_norm(at_once(), out, data(from), floats(weight), m, d, epsilon);
      },
      {}, offset);
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                  std::size_t offset = 0) {
  const std::int64_t d = weight.count(), m = x.count() / d;
  const Tensor from = moved(x, offset);
  return cuda_result(
      x.shape(),
      [&](float* out) {
        cuda::layer_norm(at_once(), out, data(from), floats(weight), floats(bias), m, d, eps);
      },
      {}, offset);
}

/// The magnitude of the terms that element i is computed from.
double magnitude(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t i) {
  const std::int64_t d = weight.count();
  const Eigen::VectorXd row = reference::read(x, i / d * d, d);
  const double mean = bias ? row.mean() : 0.0, mean_size = bias ? row.cwiseAbs().mean() : 0.0;
  const double root = std::sqrt((row.array() - mean).square().mean() + static_cast<double>(eps));
  const double shift = mean_size / root;
  return (std::abs(row[i % d] - mean) / root + shift) * (1.0 + shift) *
             std::abs(reference::value(weight, i % d)) +
         (bias ? std::abs(reference::value(bias, i % d)) : 0.0);
}

}  // namespace

TEST_CASE("CUDA norms are the reference's within rounding") {
  for (const DType dtype : weight_dtypes)
    for (const std::int64_t d : norm_widths) {
      INFO(name_of(dtype) << " " << d);
      const Tensor x = tensor({2, d}, normals(2 * d, 1)),
                   expected = Tensor::empty(DType::f32, {2, d});
      const Tensor weight = stored(dtype, {d}, normals(d, 2), size_of(dtype)),
                   bias = stored(dtype, {d}, normals(d, 3));
      reference::rms_norm(expected, x, weight, eps);
      CHECK(beyond(rms_norm(x, weight, eps), expected, [&](std::int64_t i) {
              return tolerance(d, magnitude(x, weight, {}, i));
            }) == "");
      reference::layer_norm(expected, x, weight, bias, eps);
      CHECK(beyond(layer_norm(x, weight, bias), expected, [&](std::int64_t i) {
              return tolerance(d, magnitude(x, weight, bias, i));
            }) == "");
    }
}

TEST_CASE("CUDA norms give the same bits at every alignment and for a single row") {
  for (const std::int64_t d : {5, 1024}) {
    const Tensor x = tensor({3, d}, normals(3 * d, 4)), weight = tensor({d}, normals(d, 5));
    const Tensor rms = rms_norm(x, weight, eps), layer = layer_norm(x, weight, weight);
    for (const std::size_t offset : {1u, 2u, 3u}) {
      CHECK(different_bits(rms_norm(x, weight, eps, offset), rms) == "");
      CHECK(different_bits(layer_norm(x, weight, weight, offset), layer) == "");
    }
    for (std::int64_t row = 0; row < 3; ++row) {
      const Tensor alone = x.slice(row, row + 1);
      CHECK(different_bits(rms_norm(alone, weight, eps), rms.slice(row, row + 1)) == "");
      CHECK(different_bits(layer_norm(alone, weight, weight), layer.slice(row, row + 1)) == "");
    }
  }
}

TEST_CASE("a CUDA rms_norm of equal magnitudes is exact") {
  for (const std::int64_t d : {3, 1027}) {
    Values signs = integers(2 * d, 8, 6);
    for (float& s : signs) s = s < 0 ? -2.0f : 2.0f;
    const Values w = integers(d, 9, 7);
    const Tensor weight = tensor({d}, w);
    Values expected(signs.size());
    for (std::size_t i = 0; i < signs.size(); ++i) expected[i] = signs[i] / 2 * w[i % w.size()];
    CHECK(different_bits(rms_norm(tensor({2, d}, signs), weight, 0.0f), tensor({2, d}, expected)) ==
          "");
  }
}
