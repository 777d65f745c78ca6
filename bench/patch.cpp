// Pictures cut into patches: bytes in and out against the read bandwidth.
#include "bench.hpp"

namespace idefics::bench {

void bench_patch(Context& c) {
  const std::int64_t pictures = c.quick ? 1 : 64, side = 224, patch = 14;
  const Tensor pixels = random_tensor(DType::f32, {pictures, 3, side, side}, 1.0f, 1);
  const Shape cut = {pictures * 256, 3 * patch * patch};
  Tensor out = Tensor::empty(DType::f32, cut), expected = Tensor::empty(DType::f32, cut);
  const auto unfold = [&](Backend& b, Tensor& to) { b.unfold_patches(to, pixels, patch); };
  compare_bytes(c, "unfold_patches", unfold, out, expected, 2 * pixels.bytes());
}

}  // namespace idefics::bench
