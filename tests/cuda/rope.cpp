// Tests of the CUDA kernel for rotary positions, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/rope.cuh"

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/reference/rope.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

TEST_CASE("CUDA rope rotates like the reference, with the bits of the CPU backend") {
  const std::vector<std::int32_t> positions{5, 0, 2};
  const auto cpu = make_cpu_backend();
  for (const std::int64_t heads : {1, 3})
    for (const std::int64_t e : {2, 6, 16, 80, 128, 258}) {
      INFO(heads << " heads of " << e);
      const Tensor x = tensor({3, heads, e}, normals(3 * heads * e, 1));
      const Tensor cosines = tensor({6, e / 2}, normals(3 * e, 2));
      const Tensor sines = tensor({6, e / 2}, normals(3 * e, 3));
      const auto run = [&](float* in_out) {
        cuda::rope(at_once(), in_out, floats(cosines), floats(sines), positions.data(), 3, heads,
                   e);
      };
      const Tensor result = cuda_result(x.shape(), run, values_of(x));
      const Tensor expected = tensor(x.shape(), values_of(x)),
                   same = tensor(x.shape(), values_of(x));
      reference::rope(expected, cosines, sines, positions);
      cpu->rope(same, cosines, sines, positions);
      CHECK(beyond(result, expected, [&](std::int64_t) { return tolerance(2, 16.0); }) == "");
      CHECK(different_bits(result, same) == "");
    }
}
