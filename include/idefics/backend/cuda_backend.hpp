// Factory of the CUDA backend. The implementation is in cuda/ and is compiled by nvcc only, into
// the CMake target idefics::cuda; IDEFICS_CUDA is defined for programs that link it.
#pragma once

#include <memory>

#include <idefics/backend/backend.hpp>

namespace idefics { inline namespace v0 {

#if defined(IDEFICS_CUDA)

/// A backend on an NVIDIA GPU, by default the first. Throws `device_unavailable`, with what is
/// required and what was found, if there is no driver or no such GPU, if the driver is older than
/// the toolkit, or if the build has no kernels for the GPU.
std::shared_ptr<Backend> make_cuda_backend(int device = 0);
/// Whether make_cuda_backend(device) would succeed.
bool cuda_is_available(int device = 0) noexcept;

#else

/// Throws `device_unavailable`, because this program is not linked with idefics::cuda.
inline std::shared_ptr<Backend> make_cuda_backend(int = 0) {
  fail(ErrorCode::device_unavailable, "this build has no CUDA backend", {.field = "device"});
}
inline bool cuda_is_available(int = 0) noexcept { return false; }

#endif

}}  // namespace idefics::v0
