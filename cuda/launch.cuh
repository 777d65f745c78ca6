// Starting a kernel.
#pragma once

#include <type_traits>

#include "device.cuh"

namespace idefics::inline v0::cuda {

/// Runs kernel(args…) as grid × block threads in the order of `stream`. `shared_bytes` is the size of
/// dynamic_shared, which may be above the 48 KiB that need no permission. A grid without blocks is no work.
template <class... P>
void launch(cudaStream_t stream, dim3 grid, dim3 block, std::size_t shared_bytes,
            void (*kernel)(P...), std::type_identity_t<P>... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#if defined(__CUDACC__)
  if (shared_bytes > 48 * 1024)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)),
          "asking for shared memory");
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, args...), "starting a kernel");
#else
  cuda_on_cpu::launch(stream, grid, block, shared_bytes, [=] { kernel(args...); });
#endif
}

/// A grid of one dimension with a thread for each of `count` pieces of work.
inline dim3 blocks_for(std::int64_t count, unsigned threads) {
  return {static_cast<unsigned>(ceil_div(count, threads))};
}

}  // namespace idefics::inline v0::cuda
