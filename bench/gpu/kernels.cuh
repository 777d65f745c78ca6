// gpu_kernels [--quick]: every kernel of the CUDA backend on the shapes of idefics-9b, in Markdown
// tables. Times are from CUDA events; bounds (read bandwidth, cuBLAS) are from the same run.
#pragma once

#include <idefics/backend/reference/reference_backend.hpp>

#include "attention.cuh"
#include "bandwidth.cuh"
#include "linear.cuh"
#include "rows.cuh"

namespace idefics::bench::gpu {

/// Returns the number of wrong results.
inline std::int64_t measure_kernels(bool quick) {
  cuda::CudaBackend device;
  const auto reference = make_reference_backend();
  Cublas cublas(device.stream().native());
  int cache = 0;
  cuda::check(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, 0), "querying the L2 cache");
  Harness h{device, *reference, quick};
  h.cublas = &cublas;
  h.cold = 4 * static_cast<std::size_t>(cache);
  h.bandwidth = read_bandwidth(h);
  std::printf("%s: %s.\n\n", std::string(device.name()).c_str(), device.description().c_str());
  print_header("ceilings");
  print_row("reading memory", 1e9 / h.bandwidth, 1e9, false, 0, "per gigabyte");
  const Product square{8192, 8192, 8192};
  if (const auto seconds = quick ? std::nullopt : cublas_seconds(h, square))
    print_row("cuBLAS bf16, 8192 x 8192 x 8192", *seconds, 2.0 * 8192 * 8192 * 8192, true, 0, "");
  measure_linear(h);
  measure_attention(h);
  measure_rows(h);
  return h.wrong;
}

}  // namespace idefics::bench::gpu
