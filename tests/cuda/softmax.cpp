// Tests of the CUDA kernels for softmax and argmax, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/softmax.cuh"

#include <limits>

#include <idefics/backend/reference/softmax.hpp>

#include <random>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

constexpr std::int64_t widths[] = {1, 3, 4, 5, 12, 31, 1024, 1027, 2056};

Tensor softmax(const Tensor& x, std::size_t offset = 0) {
  const Tensor from = moved(x, offset);
  return cuda_result(
      x.shape(), [&](float* out) { cuda::softmax(at_once(), out, data(from), x.dim(0), x.dim(1)); },
      {}, offset);
}

/// An index is two floats to cuda_result.
Tensor argmax(const Tensor& x) {
  const std::int64_t m = x.dim(0);
  const Tensor pairs = cuda_result({m, 2}, [&](float* out) {
    cuda::argmax(at_once(), reinterpret_cast<std::int64_t*>(out), data(x), m, x.dim(1));
  });
  Tensor result = Tensor::empty(DType::i64, {m});
  std::memcpy(result.raw_mutable(), pairs.raw(), pairs.bytes());
  return result;
}

}  // namespace

TEST_CASE("CUDA softmax is the reference's within rounding") {
  for (const std::int64_t d : widths)
    for (const float shift : {0.0f, -1000.0f, 1e30f}) {
      INFO(d << " " << shift);
      Values values = normals(2 * d, 1, 4.0f);
      for (float& v : values) v += shift;
      const Tensor x = tensor({2, d}, values), expected = Tensor::empty(DType::f32, {2, d});
      reference::softmax(expected, x);
      CHECK(beyond(softmax(x), expected, [&](std::int64_t i) {
              return tolerance(d, reference::value(expected, i));
            }) == "");
    }
}

TEST_CASE("CUDA softmax gives the same bits at every alignment, for a single row and in place") {
  for (const std::int64_t d : {5, 1024}) {
    const Tensor x = tensor({3, d}, normals(3 * d, 2, 3.0f)), all = softmax(x);
    for (const std::size_t offset : {1u, 2u, 3u})
      CHECK(different_bits(softmax(x, offset), all) == "");
    for (std::int64_t row = 0; row < 3; ++row)
      CHECK(different_bits(softmax(x.slice(row, row + 1)), all.slice(row, row + 1)) == "");
    const auto in_place = [&](float* in_out) { cuda::softmax(at_once(), in_out, in_out, 3, d); };
    CHECK(different_bits(cuda_result({3, d}, in_place, values_of(x)), all) == "");
  }
}

TEST_CASE("CUDA argmax finds the first of the largest values in every row") {
  const float infinity = std::numeric_limits<float>::infinity(),
              not_a_number = std::numeric_limits<float>::quiet_NaN();
  for (const std::int64_t d : widths)
    for (const float top : {-0.5f, 2.0f, infinity, not_a_number, -not_a_number}) {
      INFO(d << " " << top);
      Values x = integers(4 * d, 3, 3);
      for (float& v : x) v -= 4.0f;
      x[0] = x[static_cast<std::size_t>(d - 1)] = top;
      x[static_cast<std::size_t>(d + d / 2)] = top;
      x[static_cast<std::size_t>(3 * d - 1)] = x[static_cast<std::size_t>(3 * d - 1 - d / 3)] = top;
      const Tensor rows = tensor({4, d}, x), expected = Tensor::empty(DType::i64, {4});
      reference::argmax(expected, rows);
      CHECK(different_bits(argmax(rows), expected) == "");
    }
  CHECK(different_bits(argmax(tensor({1, 3}, {-0.0f, 0.0f, -1.0f})),
                       Tensor::from({std::int64_t{0}}, {1})) == "");
}

TEST_CASE("CUDA greedy_choice makes the choices of the host") {
  std::mt19937 random(5);
  for (const std::int64_t v : {5, 2050, 9999}) {
    const std::int64_t r = 3, a = 2;
    const Tensor base = tensor({r, v}, integers(r * v, 3, 1)),
                 additional = tensor({r, a}, integers(r * a, 3, 2));
    std::vector<std::int32_t> ids, ends;
    for (std::int64_t row = 0; row < r; ++row) {
      for (int i = 0; i < 40 && i < v; ++i)
        ids.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(v + a)));
      ends.push_back(static_cast<std::int32_t>(ids.size()));
    }
    const Tensor expected = Tensor::empty(DType::i32, {r});
    idefics::detail::greedy_choice(expected, base, additional, {ids, ends});
    cuda_on_cpu::with_lane_orders(16, [&] {
      Tensor out = Tensor::empty(DType::i32, {r});
      cuda::greedy_choice(at_once(), out.as_mutable<std::int32_t>().data(),
                          {.base = data(base),
                           .additional = data(additional),
                           .v = v,
                           .a = a,
                           .forbidden = ids.data(),
                           .ends = ends.data()},
                          r);
      CHECK(different_bits(out, expected) == "");
      return 0;
    });
  }
}
