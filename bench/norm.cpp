// Norms: bytes in and out against the read bandwidth, on more rows than fit the cache.
#include "bench.hpp"

namespace idefics::bench {

void bench_norm(Context& c) {
  const std::int64_t rows = c.quick ? 16 : 4096, d = 4096;
  const Tensor x = random_tensor(DType::f32, {rows, d}, 1.0f, 1);
  const Tensor weight = random_tensor(DType::bf16, {d}, 1.0f, 2);
  const Tensor bias = random_tensor(DType::bf16, {d}, 1.0f, 3);
  Tensor out = Tensor::empty(DType::f32, {rows, d}),
         expected = Tensor::empty(DType::f32, {rows, d});
  const auto rms = [&](Backend& b, Tensor& to) { b.rms_norm(to, x, weight, 1e-6f); };
  const auto layer = [&](Backend& b, Tensor& to) { b.layer_norm(to, x, weight, bias, 1e-5f); };
  compare_bytes(c, "rms_norm", rms, out, expected, x.bytes() + out.bytes());
  compare_bytes(c, "layer_norm", layer, out, expected, x.bytes() + out.bytes());
}

}  // namespace idefics::bench
