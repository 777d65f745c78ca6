// The way to the CUDA backend. What is behind it lies in cuda/ and is compiled by nvcc alone, into the
// CMake target idefics::cuda; programs that link it see IDEFICS_CUDA defined.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <idefics/backend/backend.hpp>
#include <idefics/backend/cpu/cpu_backend.hpp>

namespace idefics::inline v0 {

#if defined(IDEFICS_CUDA)

/// A backend on the first NVIDIA GPU. Throws `device_unavailable`, saying what was needed and found:
/// without driver or GPU, with a driver older than the toolkit, or a GPU that the build has no kernels for.
std::shared_ptr<Backend> make_cuda_backend();
/// Whether make_cuda_backend() would give one.
bool cuda_is_available() noexcept;

#else

/// Throws `device_unavailable`: this program is not linked with idefics::cuda.
inline std::shared_ptr<Backend> make_cuda_backend() {
  fail(ErrorCode::device_unavailable, "this build has no CUDA backend", {.field = "device"});
}
inline bool cuda_is_available() noexcept { return false; }

#endif

/// "cpu", "cuda", or "auto", which is the GPU where there is one. Throws `device_unavailable`.
inline std::shared_ptr<Backend> make_backend(std::string_view device) {
  if (device == "cuda" || (device == "auto" && cuda_is_available())) return make_cuda_backend();
  if (device == "cpu" || device == "auto") return make_cpu_backend();
  fail(ErrorCode::device_unavailable, "there is no device \"" + std::string(device) + "\"",
       {.field = "device"});
}

}  // namespace idefics::inline v0
