// Hexadecimal digits.
#pragma once

#include <idefics/core/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Value of a hexadecimal digit; -1 for any other character.
constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

}}}  // namespace idefics::v0::detail
