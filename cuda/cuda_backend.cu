// The only translation unit that nvcc compiles for programs: CMake target idefics::cuda.
#include <idefics/backend/cuda_backend.hpp>

#include "cuda_backend.hpp"

namespace idefics { inline namespace v0 {

std::shared_ptr<Backend> make_cuda_backend(int device) {
  return std::make_shared<cuda::CudaBackend>(device);
}

bool cuda_is_available(int device) noexcept {
  try {
    cuda::require_device(cuda::activations::activate_all<Activation::silu>, device);
    return true;
  } catch (...) {
    return false;
  }
}

}}  // namespace idefics::v0
