// 64-bit FNV-1a, the hash of recorded golden data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

namespace testing {

inline std::uint64_t fnv1a(std::span<const std::byte> bytes) {
  std::uint64_t hash = 14695981039346656037u;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<std::uint64_t>(b)) * 1099511628211u;
  return hash;
}

/// The hash of a text as 16 hexadecimal digits, as the scripts of tests/reference/ record it.
inline std::string hex64(std::string_view text) {
  char digits[17];
  std::snprintf(
      digits, sizeof digits, "%016llx",
      static_cast<unsigned long long>(fnv1a(std::as_bytes(std::span(text.data(), text.size())))));
  return digits;
}

}  // namespace testing
