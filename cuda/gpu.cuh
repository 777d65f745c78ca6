// Which GPU of several the calls of a thread go to.
#pragma once

#include "status.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// A GPU by its number. Kernels start, events are recorded and memory is made where the thread is just now,
/// so whoever does that makes its own GPU the current one before. Where there is one GPU, it always is.
class Gpu {
 public:
  /// The only one.
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
    check(cudaGetDevice(&current), "asking for the device");
    if (current != index_) check(cudaSetDevice(index_), "choosing the device");
  }

 private:
  int index_ = 0;
  bool several_ = false;
};

}}}  // namespace idefics::v0::cuda
