// A stack of its own for each lane, and the switch to it and back. On x86-64 the switch is a dozen
// instructions, elsewhere ucontext. AddressSanitizer is informed of every switch.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CUDA_ON_CPU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDA_ON_CPU_ASAN 1
#endif
#endif
#if defined(CUDA_ON_CPU_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_on_cpu {

#if defined(__x86_64__)
/// Saves the registers of the caller on its stack, and that stack in *from; continues on `to`.
__attribute__((naked, noinline)) inline void switch_stack(void** /*from*/, void* /*to*/) {
  asm("pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
      "movq %rsp, (%rdi)\n\tmovq %rsi, %rsp\n\t"
      "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tret");
}
#endif

/// Runs a function on its own stack, alternating with its resumer. Only one fiber runs at a time.
class Fiber {
 public:
  using Body = void (*)(void*);

  Fiber() {
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stack_ = static_cast<std::byte*>(memory);
    mprotect(stack_, guard, PROT_NONE);  // a stack overflow ends the program here
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() { munmap(stack_, size); }

  /// Makes the next resume() start body(argument), which must not throw.
  void start(Body body, void* argument) {
    body_ = body;
    argument_ = argument;
    done_ = false;
#if defined(__x86_64__)
    auto** top = reinterpret_cast<void**>(stack_ + size);
    *--top = nullptr;  // the return address of begin(), which does not return
    *--top = reinterpret_cast<void*>(&Fiber::begin);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    place_ = top;
#else
    getcontext(&place_);
    place_.uc_stack.ss_sp = stack_ + guard;
    place_.uc_stack.ss_size = size - guard;
    place_.uc_link = nullptr;
    makecontext(&place_, &Fiber::begin, 0);
#endif
  }

  /// Switches to the fiber; returns when it suspends or ends.
  void resume() {
    running = this;
    switch_to(&outside_fake_, stack_ + guard, size - guard, outside_, place_);
  }
  /// Switches back to the caller of resume().
  void suspend() {
    switch_to(done_ ? nullptr : &fake_, outside_stack_, outside_size_, place_, outside_);
  }
  bool done() const { return done_; }

 private:
#if defined(__x86_64__)
  using Place = void*;
  static void go(Place& from, Place& to) { switch_stack(&from, to); }
#else
  using Place = ucontext_t;
  static void go(Place& from, Place& to) { swapcontext(&from, &to); }
#endif
  static constexpr std::size_t size = 256 * 1024, guard = 4096;
  static inline Fiber* running = nullptr;

  static void switch_to([[maybe_unused]] void** fake, [[maybe_unused]] const void* bottom,
                        [[maybe_unused]] std::size_t bytes, Place& from, Place& to) {
#if defined(CUDA_ON_CPU_ASAN)
    __sanitizer_start_switch_fiber(fake, bottom, bytes);
#endif
    go(from, to);
#if defined(CUDA_ON_CPU_ASAN)
    __sanitizer_finish_switch_fiber(fake == nullptr ? nullptr : *fake, nullptr, nullptr);
#endif
  }

  static void begin() {
    Fiber& self = *running;
#if defined(CUDA_ON_CPU_ASAN)
    __sanitizer_finish_switch_fiber(nullptr, &self.outside_stack_, &self.outside_size_);
#endif
    self.body_(self.argument_);
    self.done_ = true;
    self.suspend();
  }

  std::byte* stack_ = nullptr;
  Place place_{}, outside_{};
  Body body_ = nullptr;
  void* argument_ = nullptr;
  bool done_ = true;
  void *fake_ = nullptr, *outside_fake_ = nullptr;
  const void* outside_stack_ = nullptr;
  std::size_t outside_size_ = 0;
};

}  // namespace cuda_on_cpu
