// A device that computes on the CPU and has memory of its own, which is NaN until it is written.
#pragma once

#include <cstring>
#include <memory>

#include "support/counting_backend.hpp"

namespace testing {

class OwnMemory final : public CountingBackend {
 public:
  using CountingBackend::CountingBackend;

  std::size_t used() const { return *used_; }  // bytes of its tensors
  std::size_t written_bytes = 0, downloaded_bytes = 0;

  Tensor empty(idefics::DType dtype, idefics::Shape shape) override {
    Tensor memory = Tensor::empty(dtype, shape);
    if (memory.bytes() != 0) std::memset(memory.raw_mutable(), 0xff, memory.bytes());
    *used_ += memory.bytes();
    auto owner = std::shared_ptr<const void>(
        memory.raw(), [used = used_, memory](const void*) { *used -= memory.bytes(); });
    return Tensor::over(dtype, shape, memory.raw_mutable(), std::move(owner));
  }
  Tensor place(const Tensor& host, std::string_view) override {
    if (!host) return host;
    Tensor copy = empty(host.dtype(), host.shape());
    std::memcpy(copy.raw_mutable(), host.raw(), host.bytes());
    return copy;
  }
  Tensor download(const Tensor& tensor) override {
    Tensor copy = Tensor::empty(tensor.dtype(), tensor.shape());
    std::memcpy(copy.raw_mutable(), tensor.raw(), tensor.bytes());
    downloaded_bytes += tensor.bytes();
    return copy;
  }
  void write(Tensor to, const Tensor& host) override {
    written_bytes += host.bytes();
    CountingBackend::write(to, host);
  }

 private:
  std::shared_ptr<std::size_t> used_ = std::make_shared<std::size_t>(0);
};

}  // namespace testing
