// The bound of kernels that read more than they compute: summing a gigabyte, read once.
#pragma once

#include "harness.cuh"

namespace idefics::bench::gpu {

inline constexpr int bandwidth_threads = 512, bandwidth_loads = 8;

/// sums[thread] = the sum of all quads that belong to this thread, with `bandwidth_loads` loads in
/// flight at a time.
__global__ void __launch_bounds__(bandwidth_threads)
    bandwidth_kernel(float* sums, const float* x, std::int64_t quads) {
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  const std::int64_t first = cuda::thread_of_grid();
  std::int64_t at = first;
  float sum = 0;
  for (; at + (bandwidth_loads - 1) * threads < quads; at += bandwidth_loads * threads) {
    float4 v[bandwidth_loads];
    for (int i = 0; i < bandwidth_loads; ++i)
      v[i] = cuda::load_vector<float4>(x + 4 * (at + i * threads));
    for (int i = 0; i < bandwidth_loads; ++i) sum += v[i].x + v[i].y + v[i].z + v[i].w;
  }
  for (; at < quads; at += threads) {
    const float4 v = cuda::load_vector<float4>(x + 4 * at);
    sum += v.x + v.y + v.z + v.w;
  }
  sums[first] = sum;
}

/// The read bandwidth of the device's memory, in bytes per second.
inline double read_bandwidth(Harness& h) {
  const std::int64_t bytes = h.quick ? std::int64_t{1} << 16 : std::int64_t{1} << 30;
  const unsigned blocks = h.quick ? 2 : 2048;
  Tensor memory = h.device.empty(DType::f32, {bytes / 4});
  Tensor sums = h.device.empty(DType::f32, {std::int64_t{blocks} * bandwidth_threads});
  cuda::check(cudaMemsetAsync(memory.raw_mutable(), 0, memory.bytes(), h.device.stream().native()),
              "clearing memory");
  const double seconds = device_seconds(h, [&](std::size_t) {
    cuda::launch(h.device.stream(), dim3(blocks), dim3(bandwidth_threads), 0, bandwidth_kernel,
                 sums.as_mutable<float>().data(), memory.as<float>().data(), bytes / 16);
  });
  return static_cast<double>(bytes) / seconds;
}

}  // namespace idefics::bench::gpu
