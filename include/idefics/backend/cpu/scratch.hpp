// Scratch memory that is reused from call to call, and the subnormal mode of the bf16 order.
#pragma once

#include <algorithm>

#include <idefics/backend/cpu/isa.hpp>
#include <idefics/core/memory.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// A buffer that grows to the largest request and then stays allocated. Its contents do not survive
/// the next call of floats().
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

/// While it exists, this thread treats subnormal operands and results as zero, as the bf16 order
/// requires.
class FlushSubnormals {
 public:
#if IDEFICS_CPU_X86
  explicit FlushSubnormals(bool on) : saved_(_mm_getcsr()) {
    if (on) _mm_setcsr(saved_ | 0x8040u);
  }
  ~FlushSubnormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  explicit FlushSubnormals(bool on) {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    if (on) set(saved_ | std::uint64_t{1} << 24);
  }
  ~FlushSubnormals() { set(saved_); }

 private:
  static void set(std::uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
  std::uint64_t saved_;
#else
  explicit FlushSubnormals(bool) {}
#endif

 public:
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;
};

}}}  // namespace idefics::v0::detail::cpu
