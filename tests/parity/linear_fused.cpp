// Norms, gated units and gated sums around products: the bits are those of their parts.
#include <array>

#include "support/parity.hpp"

using namespace idefics;
using namespace testing;

namespace {

struct Case {
  std::int64_t m, n, k;
  DType dtype;
  Compute compute;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "M=" << c.m << " N=" << c.n << " K=" << c.k << " weights " << name_of(c.dtype)
             << ", compute " << (c.compute == Compute::f32 ? "f32" : "bf16");
}

/// Results of operations that a device may do at once: products of a norm, a gated unit of it, and a
/// gated sum; or of the operations that they consist of.
std::vector<Tensor> around_products(Backend& backend, const Case& c, bool fused) {
  const std::int64_t m = c.m, n = c.n, k = c.k;
  const auto weights = [&](std::int64_t rows, unsigned seed, DType dtype) {
    return backend.upload(stored(dtype, {rows, k}, normals(rows * k, seed, 0.3f)));
  };
  const Tensor x = backend.upload(tensor({m, k}, normals(m * k, 1)));
  const NormedInput normed{x, weights(1, 2, DType::f32).reshape({k}), 1e-5f,
                           backend.empty(DType::f32, {m, k})};
  const LinearWeight q{weights(n, 3, c.dtype)}, gate{weights(n, 4, c.dtype)},
      up{weights(n, 5, c.dtype)};
  const Tensor bias = backend.upload(tensor({n}, normals(n, 6)));
  const auto empty = [&] { return backend.empty(DType::f32, {m, n}); };
  const LinearTask of_q{empty(), &q, bias, c.compute}, of_gate{empty(), &gate, {}, c.compute},
      of_up{empty(), &up, {}, c.compute};
  const std::array tasks{of_q};
  if (fused) {
    backend.normed_linear_group(tasks, normed);
    backend.gated_linear_unit(of_gate, of_up, normed, Activation::silu);
  } else {
    backend.rms_norm(normed.scratch, x, normed.weight, normed.eps);
    backend.linear_group(tasks, normed.scratch);
    backend.linear_group(std::array{of_gate, of_up}, normed.scratch);
    backend.gated_activation(of_gate.out, of_gate.out, of_up.out, Activation::silu);
  }
  std::vector<Tensor> results{backend.download(of_q.out), backend.download(of_gate.out)};
  for (const std::int64_t alphas : {std::int64_t{1}, n}) {
    const Tensor alpha = backend.upload(tensor({alphas}, normals(alphas, 7)));
    Tensor sum = empty();
    backend.write(sum, tensor({m, n}, normals(m * n, 8)));
    if (fused) {
      backend.linear_gated_add(sum, x, q, alpha, c.compute, empty());
    } else {
      const Tensor product = empty();
      backend.linear(product, x, q, {}, c.compute);
      backend.gated_add(sum, product, alpha);
    }
    results.push_back(backend.download(sum));
  }
  return results;
}

}  // namespace

TEST_CASE("norms, gated units and gated sums around products have the bits of their parts") {
  for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
           {1, 16, 64}, {1, 35, 20}, {3, 40, 192}, {8, 16, 1100}, {9, 24, 64}, {17, 5, 130}})
    for (const DType dtype : weight_dtypes)
      for (const Compute compute : {Compute::f32, Compute::bf16})
        for (const Subject& subject : subjects()) {
          const Case c{.m = m, .n = n, .k = k, .dtype = dtype, .compute = compute};
          INFO(subject.name << " " << c);
          const auto fused = around_products(*subject.backend, c, true),
                     parts = around_products(*subject.backend, c, false);
          for (std::size_t i = 0; i < parts.size(); ++i)
            CHECK(different_bits(fused[i], parts[i]) == "");
        }
}

TEST_CASE("operations around products refuse shapes that do not fit") {
  for (const Subject& subject : subjects()) {
    Backend& b = *subject.backend;
    const auto zeros = [&](Shape shape) { return b.upload(Tensor::zeros(DType::f32, shape)); };
    const LinearWeight weight{zeros({4, 6})};
    const auto normed = [&](std::int64_t width, Shape scratch) {
      return NormedInput{zeros({2, 6}), zeros({width}), 1e-5f, zeros(scratch)};
    };
    const auto unit = [&](Shape gate, Shape up, const NormedInput& x) {
      return error_of([&] {
        b.gated_linear_unit({zeros(gate), &weight}, {zeros(up), &weight}, x, Activation::silu);
      });
    };
    CHECK(unit({2, 4}, {2, 4}, normed(6, {2, 6})) == "nothing");
    CHECK(unit({3, 4}, {2, 4}, normed(6, {2, 6})) == "shape_mismatch");
    CHECK(unit({2, 4}, {2, 5}, normed(6, {2, 6})) == "shape_mismatch");
    CHECK(unit({2, 4}, {2, 4}, normed(5, {2, 6})) == "shape_mismatch");
    CHECK(unit({2, 4}, {2, 4}, normed(6, {1, 6})) == "shape_mismatch");
    const auto add = [&](Shape sum, std::int64_t alphas, Shape scratch) {
      return error_of([&] {
        b.linear_gated_add(zeros(sum), zeros({2, 6}), weight, zeros({alphas}), Compute::f32,
                           zeros(scratch));
      });
    };
    CHECK(add({2, 4}, 4, {2, 4}) == "nothing");
    CHECK(add({3, 4}, 4, {2, 4}) == "shape_mismatch");
    CHECK(add({2, 4}, 3, {2, 4}) == "shape_mismatch");
    CHECK(add({2, 4}, 1, {1, 4}) == "shape_mismatch");
  }
}
