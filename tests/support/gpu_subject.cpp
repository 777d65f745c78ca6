// The CUDA backend on a GPU, for programs that link idefics::cuda (bench/gpu/).
#include <idefics/backend/cuda_backend.hpp>

#include "support/backends.hpp"

namespace testing {

Subject cuda_subject() {
  // nothing to disturb: blocks and warps run in an order of their own, so repetition is the test
  return {"cuda", idefics::make_cuda_backend(), false, [](int) {}};
}

}  // namespace testing
