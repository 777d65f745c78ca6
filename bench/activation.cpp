// Activations of the vision and text MLPs: bytes in and out against the read bandwidth.
#include "bench.hpp"

namespace idefics::bench {

void bench_activation(Context& c) {
  const std::int64_t count = c.quick ? 4096 : std::int64_t{1} << 24;
  const Tensor x = random_tensor(DType::f32, {count}, 6.0f, 1);
  const Tensor up = random_tensor(DType::f32, {count}, 1.0f, 2);
  Tensor out = Tensor::empty(DType::f32, {count}), expected = Tensor::empty(DType::f32, {count});
  const auto gelu = [&](Backend& b, Tensor& to) { b.activation(to, x, Activation::gelu); };
  const auto swiglu = [&](Backend& b, Tensor& to) {
    b.gated_activation(to, x, up, Activation::silu);
  };
  compare_bytes(c, "activation gelu", gelu, out, expected, 2 * x.bytes());
  compare_bytes(c, "gated_activation silu", swiglu, out, expected, 3 * x.bytes());
}

}  // namespace idefics::bench
