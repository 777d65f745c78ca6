// Selects the GPU that the CUDA calls of a thread go to.
#pragma once

#include "status.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// A GPU, identified by its index. Kernel launches, events and allocations go to the current GPU of
/// the calling thread, so each caller first makes its own GPU current. With a single GPU there is
/// nothing to switch.
class Gpu {
 public:
  /// The only GPU.
  Gpu() = default;
  explicit Gpu(int index) : index_(index) {
    int count = 0;
    check(cudaGetDeviceCount(&count), "counting devices");
    several_ = count > 1;
  }

  int index() const { return index_; }
  void make_current() const {
    if (!several_) return;
    int current = 0;
    check(cudaGetDevice(&current), "querying the current device");
    if (current != index_) check(cudaSetDevice(index_), "selecting the device");
  }

 private:
  int index_ = 0;
  bool several_ = false;
};

}}}  // namespace idefics::v0::cuda
