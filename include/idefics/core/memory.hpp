// Memory for tensors and kernels: aligned to 64 bytes, shared by its views. A failed allocation is
// an `Error`.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <memory>
#include <new>
#include <string>

#include <idefics/core/checked.hpp>

namespace idefics { inline namespace v0 {

inline constexpr std::size_t cache_line = 64;

namespace detail {

/// Requests huge pages for the part of the range that consists of whole ones: they are cleared in
/// one step and translated faster. No memory outside the range is used for them.
inline void prefer_large_pages(void* memory, std::size_t bytes) noexcept {
#if defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t page = std::uintptr_t{2} << 20;
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t first = (begin + page - 1) / page * page,
                       last = (begin + bytes) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#else
  (void)memory, (void)bytes;
#endif
}

/// Returns free memory to the system in its destructor. Declare it first in a function, so that all
/// other locals are destroyed before it. Otherwise the allocator keeps the memory, in pieces that
/// may be too small for later allocations.
struct FreeMemoryReturned {
  FreeMemoryReturned() = default;
  FreeMemoryReturned(const FreeMemoryReturned&) = delete;
  FreeMemoryReturned& operator=(const FreeMemoryReturned&) = delete;
  ~FreeMemoryReturned() {
#if defined(__GLIBC__)
    ::malloc_trim(0);
#endif
  }
};

/// `bytes` of uninitialized memory, aligned to a cache line. Throws `out_of_memory`.
inline std::shared_ptr<std::byte> allocate(Checked bytes) {
  const std::size_t rounded = (bytes + (cache_line - 1)).size() / cache_line * cache_line;
  void* memory = ::operator new (rounded == 0 ? cache_line : rounded, std::align_val_t{cache_line},
                                 std::nothrow);
  if (memory == nullptr)
    fail(ErrorCode::out_of_memory, "cannot allocate " + std::to_string(rounded) + " bytes",
         {.actual = rounded});
  detail::prefer_large_pages(memory, rounded);
  return {static_cast<std::byte*>(memory),
          [](std::byte* p) { ::operator delete (p, std::align_val_t{cache_line}); }};
}

}  // namespace detail

}}  // namespace idefics::v0
