// Copies in another order: bytes in and out against the read bandwidth.
#include "bench.hpp"

namespace idefics::bench {

void bench_transpose(Context& c) {
  const std::int64_t m = c.quick ? 64 : 4096, d = 4096, heads = 32;
  const Tensor x = random_tensor(DType::f32, {m, d}, 1.0f, 1);
  const auto compare = [&](const std::string& name, Shape shape, const auto& operation) {
    Tensor out = Tensor::zeros(DType::f32, shape), expected = Tensor::zeros(DType::f32, shape);
    compare_bytes(c, name, operation, out, expected, 2 * x.bytes());
  };
  compare("transpose, a matrix", {d, m}, [&](Backend& b, Tensor& to) { b.transpose(to, x, 0, 1); });
  const Tensor split = x.reshape({m, heads, d / heads});
  compare("transpose, heads before rows", {heads, m, d / heads},
          [&](Backend& b, Tensor& to) { b.transpose(to, split, 0, 1); });
  const Tensor left = x.slice(0, m / 2), right = x.slice(m / 2, m);
  compare("concat, columns", {m / 2, 2 * d}, [&](Backend& b, Tensor& to) {
    b.concat(to, {left, right}, 1);
  });
  compare("concat, rows", {m, d}, [&](Backend& b, Tensor& to) { b.concat(to, {left, right}, 0); });
}

}  // namespace idefics::bench
