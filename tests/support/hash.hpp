// 64-bit FNV-1a, the hash of recorded golden data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace testing {

inline std::uint64_t fnv1a(std::span<const std::byte> bytes) {
  std::uint64_t hash = 14695981039346656037u;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<std::uint64_t>(b)) * 1099511628211u;
  return hash;
}

}  // namespace testing
