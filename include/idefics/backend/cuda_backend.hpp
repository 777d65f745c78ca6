// The way to the CUDA backend. What is behind it lies in cuda/ and is compiled by nvcc alone, into the
// CMake target idefics::cuda; programs that link it see IDEFICS_CUDA defined.
#pragma once

#include <memory>

#include <idefics/backend/backend.hpp>

namespace idefics { inline namespace v0 {

#if defined(IDEFICS_CUDA)

/// A backend on an NVIDIA GPU, the first unless another is named. Throws `device_unavailable`, saying what
/// was needed and found: without driver or such a GPU, with a driver older than the toolkit, or a GPU
/// that the build has no kernels for.
std::shared_ptr<Backend> make_cuda_backend(int device = 0);
/// Whether make_cuda_backend(device) would give one.
bool cuda_is_available(int device = 0) noexcept;

#else

/// Throws `device_unavailable`: this program is not linked with idefics::cuda.
inline std::shared_ptr<Backend> make_cuda_backend(int = 0) {
  fail(ErrorCode::device_unavailable, "this build has no CUDA backend", {.field = "device"});
}
inline bool cuda_is_available(int = 0) noexcept { return false; }

#endif

}}  // namespace idefics::v0
