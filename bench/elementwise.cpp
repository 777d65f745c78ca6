// Sums, plain and gated, and products: bytes in and out against the read bandwidth.
#include "bench.hpp"

namespace idefics::bench {

void bench_elementwise(Context& c) {
  const std::int64_t rows = c.quick ? 8 : 4096, d = 4096;
  const Tensor x = random_tensor(DType::f32, {rows, d}, 1.0f, 1);
  const Tensor y = random_tensor(DType::f32, {rows, d}, 1.0f, 2);
  const Tensor alpha = random_tensor(DType::f32, {1}, 1.0f, 3);
  Tensor out = Tensor::zeros(DType::f32, {rows, d}),
         expected = Tensor::zeros(DType::f32, {rows, d});
  const auto add = [&](Backend& b, Tensor& to) { b.add(to, x, y); };
  const auto gated = [&](Backend& b, Tensor& to) { b.gated_add(to, y, alpha); };
  const auto multiply = [&](Backend& b, Tensor& to) { b.multiply(to, x, y); };
  const auto scale = [&](Backend& b, Tensor& to) { b.scale(to, x, 0.7f); };
  compare_bytes(c, "add", add, out, expected, 3 * x.bytes());
  compare_bytes(c, "multiply", multiply, out, expected, 3 * x.bytes());
  compare_bytes(c, "scale", scale, out, expected, 2 * x.bytes());
  compare_bytes(c, "gated_add", gated, out, expected, 3 * x.bytes());
}

}  // namespace idefics::bench
