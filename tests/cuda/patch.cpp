// Tests of the CUDA kernel that cuts pictures into patches, run on the CPU by
// tests/support/cuda_on_cpu/.
#include "cuda/patch.cuh"

#include <idefics/backend/reference/patch.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

TEST_CASE("CUDA unfold_patches cuts every picture, and drops the remainder") {
  struct Case {
    std::int64_t pictures, channels, height, width, patch;
  };
  for (const auto& [n, c, h, w, p] :
       {Case{1, 1, 1, 1, 1}, Case{2, 3, 6, 6, 2}, Case{1, 3, 28, 28, 14}, Case{2, 2, 7, 11, 3}}) {
    INFO(n << " " << c << " " << h << " " << w << " " << p);
    const Tensor pixels = tensor({n, c, h, w}, normals(n * c * h * w, 1));
    const Shape shape{n * (h / p) * (w / p), c * p * p};
    const Tensor expected = Tensor::empty(DType::f32, shape);
    reference::unfold_patches(expected, pixels, p);
    const auto run = [&](float* out) {
      cuda::unfold_patches(at_once(), out, data(pixels), n, c, h, w, p);
    };
    CHECK(different_bits(cuda_result(shape, run), expected) == "");
  }
}
