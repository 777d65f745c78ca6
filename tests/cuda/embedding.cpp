// Tests of the CUDA embedding kernel, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/embedding.cuh"

#include <idefics/backend/reference/embedding.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

TEST_CASE("CUDA embedding reads both tables, of every type, at every width and alignment") {
  const std::vector<std::int32_t> ids{0, 6, 8, 7, 3};
  for (const DType dtype : weight_dtypes)
    for (const std::int64_t d : {1, 3, 4, 5, 12, 1024, 1029})
      for (const std::size_t offset : {0u, 1u}) {
        INFO(name_of(dtype) << " " << d << " + " << offset);
        const Tensor table = stored(dtype, {7, d}, normals(7 * d, 1), offset * size_of(dtype));
        const Tensor more =
            stored(DType::f16, {2, d}, normals(2 * d, 2), offset * size_of(DType::f16));
        const Tensor expected = Tensor::empty(DType::f32, {5, d});
        reference::embedding(expected, ids, table, more);
        const auto run = [&](float* out) {
          cuda::embedding(at_once(), out, ids.data(), floats(table), 7, floats(more), 5, d);
        };
        CHECK(different_bits(cuda_result({5, d}, run), expected) == "");
      }
}
