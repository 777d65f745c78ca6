// Counts every allocation of the program, and makes allocations fail on request. To be included by
// one file of a program: it replaces malloc and, where AddressSanitizer has functions of its own for
// them, operator new.
#pragma once

#include <malloc.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define IDEFICS_WITH_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IDEFICS_WITH_ASAN
#endif
#endif

// AddressSanitizer allocates before its functions can be instrumented.
#ifdef IDEFICS_WITH_ASAN
#define IDEFICS_REAL(function) __interceptor_##function
#define IDEFICS_EARLY __attribute__((no_sanitize("address", "undefined")))
#else
#define IDEFICS_REAL(function) __libc_##function
#define IDEFICS_EARLY
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

extern "C" {
void* IDEFICS_REAL(malloc)(std::size_t);
void* IDEFICS_REAL(calloc)(std::size_t, std::size_t);
void* IDEFICS_REAL(realloc)(void*, std::size_t);
void* IDEFICS_REAL(memalign)(std::size_t, std::size_t);
void IDEFICS_REAL(free)(void*);
}

namespace heap {

#ifdef IDEFICS_WITH_ASAN
inline bool ready = false;
inline const bool is_ready = (ready = true);
#else
inline constexpr bool ready = true;
#endif

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
IDEFICS_EARLY void* malloc(std::size_t size) {
  if (!heap::ready) return IDEFICS_REAL(malloc)(size);
  return heap::refuses() ? heap::refused() : heap::counted(IDEFICS_REAL(malloc)(size));
}
IDEFICS_EARLY void* calloc(std::size_t n, std::size_t size) {
  if (!heap::ready) return IDEFICS_REAL(calloc)(n, size);
  return heap::refuses() ? heap::refused() : heap::counted(IDEFICS_REAL(calloc)(n, size));
}
IDEFICS_EARLY void* realloc(void* memory, std::size_t size) {
  if (!heap::ready) return IDEFICS_REAL(realloc)(memory, size);
  if (heap::refuses()) return heap::refused();
  const std::int64_t before = heap::size_of(memory);
  void* fresh = IDEFICS_REAL(realloc)(memory, size);
  if (fresh != nullptr || size == 0) heap::add(heap::size_of(fresh) - before);
  return fresh;
}
IDEFICS_EARLY void* memalign(std::size_t alignment, std::size_t size) {
  if (!heap::ready) return IDEFICS_REAL(memalign)(alignment, size);
  return heap::refuses() ? heap::refused() : heap::counted(IDEFICS_REAL(memalign)(alignment, size));
}
void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  *memory = memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
IDEFICS_EARLY void free(void* memory) {
  if (heap::ready) heap::add(-heap::size_of(memory));
  IDEFICS_REAL(free)(memory);
}
}

#ifdef IDEFICS_WITH_ASAN
namespace heap {
inline void* some(void* memory) { return memory != nullptr ? memory : throw std::bad_alloc(); }
}  // namespace heap

void* operator new(std::size_t size) { return heap::some(malloc(size)); }
void* operator new[](std::size_t size) { return heap::some(malloc(size)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return malloc(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return malloc(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return heap::some(memalign(static_cast<std::size_t>(alignment), size));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return heap::some(memalign(static_cast<std::size_t>(alignment), size));
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return memalign(static_cast<std::size_t>(alignment), size);
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return memalign(static_cast<std::size_t>(alignment), size);
}
void operator delete(void* memory) noexcept { free(memory); }
void operator delete[](void* memory) noexcept { free(memory); }
void operator delete(void* memory, std::size_t) noexcept { free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { free(memory); }
#endif

#undef IDEFICS_EARLY
#undef IDEFICS_REAL
#undef IDEFICS_WITH_ASAN
