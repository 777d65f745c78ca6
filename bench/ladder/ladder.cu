// Runs every rung of the ladder on a GPU, compares it with the first, and prints its time.
//   nvcc -std=c++20 -O3 -fmad=false -arch=native -I include -I . bench/ladder/ladder.cu -o ladder
//   (-arch=sm_90a on Hopper)
//   ./ladder [M N K]        multiples of 128, 128 and 64; default: 1024 4096 4096
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "ladder.cuh"

namespace {

using idefics::bf16_t;
using idefics::cuda::check;

/// `count` normally distributed values, in device memory.
bf16_t* random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<bf16_t> values(count);
  for (bf16_t& v : values) v = idefics::to_bf16(normal(random));
  bf16_t* device = nullptr;
  check(cudaMalloc(&device, count * sizeof(bf16_t)), "allocating inputs");
  check(cudaMemcpy(device, values.data(), count * sizeof(bf16_t), cudaMemcpyHostToDevice),
        "copying inputs");
  return device;
}

/// The median of nine runs, in milliseconds.
float time_of(idefics::cuda::Stream& stream, const ladder::Rung& rung, const ladder::Problem& p) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "creating an event");
  check(cudaEventCreate(&end), "creating an event");
  std::vector<float> times(9);
  for (float& ms : times) {
    check(cudaEventRecord(begin, stream.native()), "recording");
    rung.run(stream, p);
    check(cudaEventRecord(end, stream.native()), "recording");
    check(cudaEventSynchronize(end), "running a rung");
    check(cudaEventElapsedTime(&ms, begin, end), "timing");
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

std::vector<float> outputs(const ladder::Problem& p) {
  std::vector<float> out(static_cast<std::size_t>(p.m) * static_cast<std::size_t>(p.n));
  check(cudaMemcpy(out.data(), p.out, out.size() * sizeof(float), cudaMemcpyDeviceToHost),
        "copying outputs");
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const auto size = [&](int i, int otherwise) {
    return argc == 4 ? std::atoi(argv[i]) : otherwise;
  };
  ladder::Problem p{nullptr, nullptr, nullptr, size(1, 1024), size(2, 4096), size(3, 4096)};
  if (p.m < 128 || p.n < 128 || p.k < 64 || p.m % 128 != 0 || p.n % 128 != 0 || p.k % 64 != 0) {
    std::fprintf(stderr, "M and N must be multiples of 128, and K of 64\n");
    return 2;
  }
  const auto area = [](int a, int b) {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b);
  };
  p.x = random_values(area(p.m, p.k), 1);
  p.w = random_values(area(p.n, p.k), 2);
  check(cudaMalloc(&p.out, area(p.m, p.n) * sizeof(float)), "allocating outputs");
  idefics::cuda::Stream stream(nullptr);
  std::vector<float> expected;
  float first = 0, before = 0;
  int major = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0),
        "querying the device");
  for (const ladder::Rung& rung : ladder::rungs) {
    if (rung.hopper && major != 9) continue;
    check(cudaMemset(p.out, 0xff, area(p.m, p.n) * sizeof(float)), "clearing outputs");
    check(cudaDeviceSynchronize(), "clearing outputs");
    const float ms = time_of(stream, rung, p);
    const std::vector<float> out = outputs(p);
    if (expected.empty()) expected = out, first = before = ms;
    const float limit = 1e-5f * static_cast<float>(p.k);
    for (std::size_t i = 0; i < out.size(); ++i)
      if (!(std::abs(out[i] - expected[i]) <= limit)) {
        std::fprintf(stderr, "%s: element %zu is %g, not %g\n", rung.name, i, out[i], expected[i]);
        return 1;
      }
    const double flops = 2.0 * p.m * p.n * static_cast<double>(p.k);
    std::printf("%-22s %9.3f ms %8.1f TFLOP/s   %6.2f x the rung below, %7.1f x the first\n",
                rung.name, ms, flops / ms * 1e-9, before / ms, first / ms);
    before = ms;
  }
  return 0;
}
