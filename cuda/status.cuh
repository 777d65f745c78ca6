// Turns CUDA status codes into the errors of the library.
#pragma once

#include <cuda_runtime.h>

#include <idefics/core/error.hpp>
#include <string>

namespace idefics { inline namespace v0 { namespace cuda {

/// Throws `out_of_memory` or `device_unavailable` unless `status` is success; `doing` describes the
/// operation that failed.
inline void check(cudaError_t status, const char* doing) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // clears it, so that the next call starts clean
  const auto code = status == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory
                                                        : ErrorCode::device_unavailable;
  fail(code,
       std::string("the CUDA device failed while ") + doing + ": " + cudaGetErrorString(status));
}

}}}  // namespace idefics::v0::cuda
