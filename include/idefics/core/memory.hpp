// Memory that kernels can rely on: 64-byte aligned, shared by its views, refused instead of
// exhausted.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>

#include <idefics/core/checked.hpp>

namespace idefics::inline v0 {

inline constexpr std::size_t cache_line = 64;

/// `bytes` of uninitialised memory, aligned to a cache line. Throws `out_of_memory`.
inline std::shared_ptr<std::byte> allocate(Checked bytes) {
  const std::size_t rounded = (bytes + (cache_line - 1)).size() / cache_line * cache_line;
  void* memory = ::operator new (rounded == 0 ? cache_line : rounded, std::align_val_t{cache_line},
                                 std::nothrow);
  if (memory == nullptr)
    fail(ErrorCode::out_of_memory, "cannot allocate " + std::to_string(rounded) + " bytes",
         {.actual = rounded});
  return {static_cast<std::byte*>(memory),
          [](std::byte* p) { ::operator delete (p, std::align_val_t{cache_line}); }};
}

}  // namespace idefics::inline v0
