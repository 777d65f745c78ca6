// The CUDA backend, compiled for the CPU and run by tests/support/cuda_on_cpu/.
#include "cuda/cuda_backend.hpp"
#include "support/backends.hpp"

namespace testing {

Subject cuda_subject() {
  return {"cuda on the CPU", std::make_shared<idefics::cuda::CudaBackend>(), false,
          [](int order) { cuda_on_cpu::lane_order = static_cast<std::uint64_t>(order); }};
}

}  // namespace testing
