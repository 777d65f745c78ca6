// The programs of bench/gpu/, run on the CPU: their tables come out and no result is wrong. Times mean nothing here.
#include "bench/gpu/kernels.cuh"

#include "support/catch.hpp"

TEST_CASE("the harness measures every kernel and finds none that is wrong") {
  CHECK(idefics::bench::gpu::measure_kernels(true) == 0);
}
