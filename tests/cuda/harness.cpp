// The programs of bench/gpu/, run on the CPU: their tables are printed and no result is wrong. The
// times mean nothing here.
#include "bench/gpu/kernels.cuh"

#include "support/catch.hpp"

TEST_CASE("the harness measures every kernel and finds no wrong result") {
  CHECK(idefics::bench::gpu::measure_kernels(true) == 0);
}
