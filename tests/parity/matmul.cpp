// Products of two matrices.
#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

struct Size {
  std::int64_t m, n, k;
};

/// Few and many rows; columns and inner widths around those of vectors, tiles and blocks.
std::vector<Size> sizes() {
  std::vector<Size> all;
  for (const std::int64_t m : {1, 2, 3, 9, 32, 33})
    for (const std::int64_t n : {1, 5, 16, 17, 50, 300})
      for (const std::int64_t k : {1, 16, 31, 64, 65, 300}) all.push_back({m, n, k});
  all.push_back({400, 49, 33});  // more than a block of rows
  all.push_back({3, 700, 1030});
  return all;
}

auto matmul(const Tensor& a, const Tensor& b) {
  return [=](Backend& backend) {
    const Untouched inputs({a, b});
    const Output out(backend, {a.dim(0), b.dim(1)});
    backend.matmul(out.tensor_on_device(), backend.upload(a), backend.upload(b));
    CHECK(inputs.unchanged());
    return out.values();
  };
}

/// The same by way of a linear layer.
auto linear(const Tensor& a, const Tensor& b) {
  return [=](Backend& backend) {
    const Output out(backend, {a.dim(0), b.dim(1)});
    Tensor weight = backend.empty(DType::f32, {b.dim(1), b.dim(0)});
    backend.transpose(weight, backend.upload(b), 0, 1);
    backend.linear(out.tensor_on_device(), backend.upload(a), {weight}, {}, Compute::f32);
    return out.values();
  };
}

}  // namespace

TEST_CASE("products of whole numbers are exact") {
  for (const auto [m, n, k] : sizes()) {
    INFO("M=" << m << " N=" << n << " K=" << k);
    const Values a = integers(m * k, 20, 1), b = integers(k * n, 20, 2);
    Values expected(static_cast<std::size_t>(m * n));
    for (std::int64_t i = 0; i < m * n; ++i)
      for (std::int64_t j = 0; j < k; ++j)
        expected[static_cast<std::size_t>(i)] +=
            a[static_cast<std::size_t>(i / n * k + j)] * b[static_cast<std::size_t>(j * n + i % n)];
    exactly(matmul(tensor({m, k}, a), tensor({k, n}, b)), tensor({m, n}, expected));
  }
}

TEST_CASE("matmul is the reference's within rounding, with the bits of linear") {
  for (const auto [m, n, k] : sizes()) {
    INFO("M=" << m << " N=" << n << " K=" << k);
    const Tensor a = tensor({m, k}, normals(m * k, 1)), b = tensor({k, n}, normals(k * n, 2));
    const auto size = [](const Tensor& t) {
      Values values;
      for (const float v : t.as<float>()) values.push_back(std::abs(v));
      return tensor(t.shape(), values);
    };
    const Tensor magnitude = matmul(size(a), size(b))(*subjects().front().backend);
    like_the_reference(
        matmul(a, b), [&](std::int64_t i) { return tolerance(k, reference::value(magnitude, i)); });
    for (const Subject& subject : subjects()) {
      INFO("backend " << subject.name);
      CHECK(different_bits(matmul(a, b)(*subject.backend), linear(a, b)(*subject.backend)) == "");
    }
  }
}

TEST_CASE("a product of zero has the sign that linear gives it") {
  for (const std::int64_t m : {1, 40})
    for (const std::int64_t k : {1, 16, 20}) {
      const Tensor a = tensor({m, k}, Values(static_cast<std::size_t>(m * k), -0.0f));
      const Tensor b = tensor({k, 3}, Values(static_cast<std::size_t>(3 * k), 1.0f));
      const Tensor tiny = tensor({k, 3}, Values(static_cast<std::size_t>(3 * k), -0x1p-140f));
      const Tensor zeros = tensor({m, 3}, Values(static_cast<std::size_t>(3 * m)));
      exactly(matmul(a, b), zeros);
      const Tensor small = tensor({m, k}, Values(static_cast<std::size_t>(m * k), 0x1p-140f));
      on_every_backend(matmul(small, tiny), [&](const Tensor& result) {
        for (const float v : result.as<float>()) CHECK(v == 0.0f);
      });
    }
}

TEST_CASE("a row of a product equals the product of that row alone") {
  const Tensor a = tensor({43, 300}, normals(12900, 3)), b = tensor({300, 50}, normals(15000, 4));
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    const Tensor all = matmul(a, b)(*subject.backend);
    for (std::int64_t m = 0; m < 43; m += 14)
      CHECK(different_bits(matmul(a.slice(m, m + 1), b)(*subject.backend), all.slice(m, m + 1)) ==
            "");
  }
}

TEST_CASE("matmul refuses shapes that do not fit") {
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    Backend& b = *subject.backend;
    const auto product = [&](Shape out, Shape left, Shape right) {
      const auto zeros = [&](Shape shape) { return b.upload(Tensor::zeros(DType::f32, shape)); };
      return error_of([&] { b.matmul(zeros(out), zeros(left), zeros(right)); });
    };
    CHECK(product({2, 4}, {2, 3}, {3, 4}) == "nothing");
    CHECK(product({5, 2, 4}, {5, 2, 3}, {3, 4}) == "nothing");
    CHECK(product({4}, {3}, {3, 4}) == "nothing");
    CHECK(product({0, 4}, {0, 3}, {3, 4}) == "nothing");
    CHECK(product({2, 4}, {3, 2}, {3, 4}) == "shape_mismatch");
    CHECK(product({4, 2}, {2, 3}, {3, 4}) == "shape_mismatch");
    CHECK(product({3, 4}, {2, 3}, {3, 4}) == "shape_mismatch");
    CHECK(product({2, 4}, {2, 3}, {1, 3, 4}) == "shape_mismatch");
    CHECK(product({2, 4}, {2, 0}, {0, 4}) == "shape_mismatch");
  }
}
