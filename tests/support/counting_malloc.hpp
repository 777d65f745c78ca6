// Counts every allocation of the program, and makes allocations fail on request. To be included by
// one file of a program: it replaces malloc or, where AddressSanitizer has already replaced it,
// installs hooks.
#pragma once

#include <malloc.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define IDEFICS_HOOKS_MALLOC
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IDEFICS_HOOKS_MALLOC
#endif
#endif

namespace heap {

inline std::atomic<std::int64_t> live{0}, peak{0}, count{0};  // bytes, bytes, calls
inline std::atomic<std::int64_t> refuse_at{-1};               // the first call that fails
inline std::atomic<bool> refuse_once{false};

/// Counts a call; whether it must fail.
inline bool refuses() {
  const std::int64_t call = count.fetch_add(1, std::memory_order_relaxed);
  const std::int64_t at = refuse_at.load(std::memory_order_relaxed);
  return at >= 0 && (refuse_once ? call == at : call >= at);
}

inline void add(std::int64_t bytes) {
  const std::int64_t now = live.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  std::int64_t highest = peak.load(std::memory_order_relaxed);
  while (now > highest && !peak.compare_exchange_weak(highest, now, std::memory_order_relaxed)) {
  }
}

/// The most bytes in use at once since this object was made, beyond those in use at that time.
class Peak {
 public:
  Peak() : before_(live.load()) { peak.store(before_); }
  std::int64_t bytes() const { return peak.load() - before_; }
  std::int64_t left() const { return live.load() - before_; }

 private:
  std::int64_t before_;
};

}  // namespace heap

#ifdef IDEFICS_HOOKS_MALLOC

extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*,
                                                                           std::size_t),
                                                         void (*on_free)(const volatile void*));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void* memory);

namespace heap {
inline const int hooks = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t size) {
      count.fetch_add(1, std::memory_order_relaxed);
      add(static_cast<std::int64_t>(size));
    },
    [](const volatile void* memory) {
      if (memory != nullptr)
        add(-static_cast<std::int64_t>(__sanitizer_get_allocated_size(memory)));
    });
}  // namespace heap

#else

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
}

namespace heap {

inline std::int64_t size_of(void* memory) {
  return memory == nullptr ? 0 : static_cast<std::int64_t>(::malloc_usable_size(memory));
}
inline void* counted(void* memory) {
  add(size_of(memory));
  return memory;
}
inline void* refused() {
  errno = ENOMEM;
  return nullptr;
}

}  // namespace heap

extern "C" {
void* malloc(std::size_t size) {
  return heap::refuses() ? heap::refused() : heap::counted(__libc_malloc(size));
}
void* calloc(std::size_t n, std::size_t size) {
  return heap::refuses() ? heap::refused() : heap::counted(__libc_calloc(n, size));
}
void* realloc(void* memory, std::size_t size) {
  if (heap::refuses()) return heap::refused();
  const std::int64_t before = heap::size_of(memory);
  void* fresh = __libc_realloc(memory, size);
  if (fresh != nullptr || size == 0) heap::add(heap::size_of(fresh) - before);
  return fresh;
}
void* memalign(std::size_t alignment, std::size_t size) {
  return heap::refuses() ? heap::refused() : heap::counted(__libc_memalign(alignment, size));
}
void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  *memory = memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
void free(void* memory) {
  heap::add(-heap::size_of(memory));
  __libc_free(memory);
}
}

#endif
