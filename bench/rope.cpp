// Rotation of queries or keys: bytes in and out against the read bandwidth.
#include "bench.hpp"

namespace idefics::bench {

void bench_rope(Context& c) {
  const std::int64_t tokens = c.quick ? 8 : 4096, heads = 32, width = 128;
  const Tensor x = random_tensor(DType::f32, {tokens, heads, width}, 1.0f, 1);
  const Tensor cosines = random_tensor(DType::f32, {tokens, width / 2}, 1.0f, 2);
  const Tensor sines = random_tensor(DType::f32, {tokens, width / 2}, 1.0f, 3);
  std::vector<std::int32_t> positions(static_cast<std::size_t>(tokens));
  for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int32_t>(i);
  Tensor out = Tensor::empty(DType::f32, x.shape()),
         expected = Tensor::empty(DType::f32, x.shape());
  std::memcpy(out.raw_mutable(), x.raw(), x.bytes());
  std::memcpy(expected.raw_mutable(), x.raw(), x.bytes());
  const auto rotate = [&](Backend& b, Tensor& to) { b.rope(to, cosines, sines, positions); };
  compare_bytes(c, "rope", rotate, out, expected, 2 * x.bytes());
}

}  // namespace idefics::bench
