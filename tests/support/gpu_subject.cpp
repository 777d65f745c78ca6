// The CUDA backend on a GPU, for programs that are linked with idefics::cuda (bench/gpu/).
#include <idefics/backend/cuda_backend.hpp>

#include "support/backends.hpp"

namespace testing {

Subject cuda_subject() {
  // Nothing to disturb: blocks and warps take their own order, so that asking twice more is the test.
  return {"cuda", idefics::make_cuda_backend(), false, [](int) {}};
}

}  // namespace testing
