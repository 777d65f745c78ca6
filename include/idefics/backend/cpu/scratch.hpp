// Memory between kernels that grows to the largest shapes and stays, and the subnormal mode of the
// bf16 order.
#pragma once

#include <algorithm>

#include <idefics/backend/cpu/isa.hpp>
#include <idefics/core/memory.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// Floats that stay allocated; contents do not survive the next call.
class Scratch {
 public:
  float* floats(Checked count) {
    if (count > size_) {
      memory_.reset();
      size_ = 0;
      memory_ = allocate(count * sizeof(float));
      size_ = count;
    }
    return reinterpret_cast<float*>(memory_.get());
  }
  float* floats(std::int64_t count) { return floats(Checked(static_cast<std::uint64_t>(count))); }

 private:
  std::shared_ptr<std::byte> memory_;
  Checked size_ = 0;
};

/// While it lives, this thread reads and writes subnormal numbers as zero, as `vdpbf16ps` does.
class FlushSubnormals {
 public:
#if IDEFICS_CPU_X86
  explicit FlushSubnormals(bool on) : before_(_mm_getcsr()) {
    if (on) _mm_setcsr(before_ | 0x8040u);
  }
  ~FlushSubnormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#else
  explicit FlushSubnormals(bool) {}
#endif

 public:
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;
};

}}}  // namespace idefics::v0::detail::cpu
