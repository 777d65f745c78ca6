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

TEST_CASE("CUDA rope_and_cache gives the bits of rope and scatter_rows") {
  const std::vector<std::int32_t> positions{5, 0, 2}, rows{3, 4, 0};
  for (const std::int64_t heads : {1, 3})
    for (const std::int64_t e : {2, 6, 128, 258}) {
      INFO(heads << " heads of " << e);
      const std::int64_t width = heads * e;
      const Shape shape{3, heads, e};
      const Tensor q = tensor(shape, normals(3 * width, 1)),
                   k = tensor(shape, normals(3 * width, 2)),
                   v = tensor(shape, normals(3 * width, 3));
      const Tensor cosines = tensor({6, e / 2}, normals(3 * e, 4));
      const Tensor sines = tensor({6, e / 2}, normals(3 * e, 5));
      const auto cpu = make_cpu_backend();
      // q, then caches of five rows each
      Values begin = values_of(q);
      begin.resize(static_cast<std::size_t>(13 * width), 7.0f);
      const Tensor result = cuda_result(
          {13 * width},
          [&](float* out) {
            cuda::rope_and_cache(at_once(),
                                 cuda::RopeCache<float>{.q = out,
                                                        .k = data(k),
                                                        .v = data(v),
                                                        .cache_k = out + 3 * width,
                                                        .cache_v = out + 8 * width,
                                                        .rows = rows.data(),
                                                        .positions = positions.data(),
                                                        .cosines = floats(cosines),
                                                        .sines = floats(sines),
                                                        .heads = static_cast<int>(heads),
                                                        .half = static_cast<int>(e / 2)},
                                 3);
          },
          begin);
      const Tensor all = tensor({13, heads, e}, begin);
      const Tensor keys = tensor(shape, values_of(k));
      cpu->rope_and_cache(all.slice(0, 3), keys, v, {all.slice(3, 8), all.slice(8, 13)}, rows,
                          cosines, sines, positions);
      CHECK(different_bits(result, all.reshape({13 * width})) == "");
    }
}
