// Tests of the rungs of bench/ladder, run on the CPU by tests/support/cuda_on_cpu/.
#include "bench/ladder/ladder.cuh"

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

TEST_CASE("every rung of the ladder is exact on whole numbers") {
  const int m = 128, n = 128, k = 192;
  const Tensor x = stored(DType::bf16, {m, k}, integers(m * k, 8, 1));
  const Tensor w = stored(DType::bf16, {n, k}, integers(n * k, 8, 2));
  Tensor expected;
  cuda::Stream stream(nullptr);
  for (const ladder::Rung& rung : ladder::rungs) {
    INFO("rung " << rung.name);
    const auto run = [&](std::uint64_t order) {
      Tensor out = tensor({m, n}, Values(m * n, std::nanf("")));
      cuda_on_cpu::lane_order = order;
      rung.run(stream, {out.as_mutable<float>().data(), x.as<bf16_t>().data(),
                        w.as<bf16_t>().data(), m, n, k});
      cuda_on_cpu::lane_order = 0;
      return out;
    };
    const Tensor out = run(0);
    if (!expected) expected = out;
    CHECK(different_bits(out, expected) == "");
    CHECK(different_bits(run(1), out) == "");
  }
  float first = 0;  // verifies the first rung itself
  for (int i = 0; i < k; ++i) first += detail::element_as_f32(x, i) * detail::element_as_f32(w, i);
  CHECK(expected.as<float>()[0] == first);
}
