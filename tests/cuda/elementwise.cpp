// Tests of the CUDA kernels for sums, products and rows, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/elementwise.cuh"

#include <idefics/backend/reference/elementwise.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {
constexpr std::int64_t widths[] = {1, 3, 4, 5, 12, 1024, 1029};
}

TEST_CASE("CUDA add repeats y, of every type, at every length and alignment") {
  for (const DType dtype : weight_dtypes)
    for (const std::int64_t d : widths)
      for (const std::size_t offset : {0u, 1u}) {
        INFO(name_of(dtype) << " " << d << " + " << offset);
        const Tensor x = tensor({3, d}, normals(3 * d, 1)), y = stored(dtype, {d}, normals(d, 2));
        const Tensor expected = Tensor::empty(DType::f32, {3, d}), from = moved(x, offset);
        reference::add(expected, x, y);
        const auto run = [&](float* out) {
          cuda::add(at_once(), out, data(from), floats(y), 3, d);
        };
        CHECK(different_bits(cuda_result({3, d}, run, {}, offset), expected) == "");
      }
}

TEST_CASE("CUDA multiply and scale have the bits of IEEE products, at every length and alignment") {
  for (const DType dtype : weight_dtypes)
    for (const std::int64_t d : widths)
      for (const std::size_t offset : {0u, 1u}) {
        INFO(name_of(dtype) << " " << d << " + " << offset);
        const Tensor x = tensor({3, d}, normals(3 * d, 1)), y = stored(dtype, {d}, normals(d, 2));
        const Tensor product = Tensor::empty(DType::f32, {3, d}),
                     scaled = Tensor::empty(DType::f32, {3, d}), from = moved(x, offset);
        reference::multiply(product, x, y);
        reference::scale(scaled, x, -0.3f);
        const auto multiply = [&](float* out) {
          cuda::multiply(at_once(), out, data(from), floats(y), 3, d);
        };
        const auto scale = [&](float* out) {
          cuda::scale(at_once(), out, data(from), -0.3f, 3 * d);
        };
        CHECK(different_bits(cuda_result({3, d}, multiply, {}, offset), product) == "");
        CHECK(different_bits(cuda_result({3, d}, scale, {}, offset), scaled) == "");
      }
}

TEST_CASE("CUDA add works in place") {
  const Tensor x = tensor({2, 7}, integers(14, 9, 1)), expected = Tensor::empty(DType::f32, {2, 7});
  reference::add(expected, x, x);
  const auto run = [&](float* in_out) { cuda::add(at_once(), in_out, in_out, floats(x), 1, 14); };
  CHECK(different_bits(cuda_result({2, 7}, run, values_of(x)), expected) == "");
}

TEST_CASE("CUDA gated_add is the reference's within rounding") {
  for (const DType dtype : weight_dtypes)
    for (const std::int64_t d : widths)
      for (const std::int64_t alphas : {std::int64_t{1}, d}) {
        INFO(name_of(dtype) << " " << d << " alphas " << alphas);
        const Tensor x = tensor({2, d}, normals(2 * d, 3)), y = tensor({2, d}, normals(2 * d, 4));
        const Tensor alpha = stored(dtype, {alphas}, normals(alphas, 5), size_of(dtype));
        const Tensor expected = tensor({2, d}, values_of(x));
        reference::gated_add(expected, y, alpha);
        const auto run = [&](float* in_out) {
          cuda::gated_add(at_once(), in_out, data(y), floats(alpha), alphas, 2, d);
        };
        const auto bound = [&](std::int64_t i) {
          return tolerance(1, std::abs(reference::value(x, i)) + std::abs(reference::value(y, i)));
        };
        CHECK(beyond(cuda_result({2, d}, run, values_of(x)), expected, bound) == "");
      }
}

TEST_CASE("CUDA rows are scattered and gathered") {
  const std::vector<std::int32_t> rows{4, 0, 3};
  for (const std::int64_t d : widths)
    for (const std::size_t offset : {0u, 1u}) {
      INFO(d << " + " << offset);
      const Tensor x = tensor({5, d}, normals(5 * d, 6)), some = x.slice(0, 3);
      const Tensor scattered = tensor({5, d}, values_of(x)),
                   gathered = Tensor::empty(DType::f32, {3, d});
      reference::scatter_rows(scattered, rows, some);
      reference::gather_rows(gathered, x, rows);
      const Tensor from = moved(x, offset);
      const auto scatter = [&](float* out) {
        cuda::scatter_rows(at_once(), out, rows.data(), data(from), 3, d);
      };
      const auto gather = [&](float* out) {
        cuda::gather_rows(at_once(), out, data(from), rows.data(), 3, d);
      };
      CHECK(different_bits(cuda_result({5, d}, scatter, values_of(x), offset), scattered) == "");
      CHECK(different_bits(cuda_result({3, d}, gather, {}, offset), gathered) == "");
    }
}

TEST_CASE("CUDA rows are rounded when they are scattered into bf16") {
  const std::vector<std::int32_t> rows{4, 0, 3};
  for (const std::int64_t d : {2, 6, 16, 1028})
    for (const std::size_t offset : {0u, 1u}) {
      INFO(d << " + " << offset);
      const Tensor x = tensor({5, d}, normals(5 * d, 6)), from = moved(x.slice(0, 3), offset);
      const Tensor initial = stored(DType::bf16, {5, d}, normals(5 * d, 7));
      Tensor expected = Tensor::empty(DType::bf16, {5, d});
      std::memcpy(expected.raw_mutable(), initial.raw(), initial.bytes());
      reference::scatter_rows(expected, rows, x.slice(0, 3));
      const auto as_floats = [&](const Tensor& halves) {
        Values floats(static_cast<std::size_t>(5 * d / 2));
        std::memcpy(floats.data(), halves.raw(), halves.bytes());
        return floats;
      };
      const auto scatter = [&](float* out) {
        cuda::scatter_rows(at_once(), reinterpret_cast<bf16_t*>(out), rows.data(), data(from), 3,
                           d);
      };
      const auto again = [&](float* out) {  // from bf16 as it is
        const std::vector<std::int32_t> all{0, 1, 2, 3, 4};
        cuda::scatter_rows(at_once(), reinterpret_cast<bf16_t*>(out), all.data(),
                           expected.as<bf16_t>().data(), 5, d);
      };
      const Tensor wanted = tensor({5 * d / 2}, as_floats(expected));
      CHECK(different_bits(cuda_result({5 * d / 2}, scatter, as_floats(initial), offset), wanted) ==
            "");
      CHECK(different_bits(cuda_result({5 * d / 2}, again, {}, offset), wanted) == "");
    }
}
