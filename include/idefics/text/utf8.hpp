// UTF-8: how far a text is valid, its characters, and which of them are white space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace idefics { inline namespace v0 { namespace detail {

/// Length of the valid sequence at the beginning of `text`, or 0. Overlong forms, surrogates and
/// values above U+10FFFF are not valid.
constexpr std::size_t utf8_sequence_length(std::string_view text) {
  auto byte = [text](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  auto continues = [&](std::size_t i, std::uint8_t low = 0x80, std::uint8_t high = 0xbf) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  if (text.empty()) return 0;
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const std::uint8_t low = lead == 0xe0 ? 0xa0 : 0x80, high = lead == 0xed ? 0x9f : 0xbf;
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const std::uint8_t low = lead == 0xf0 ? 0x90 : 0x80, high = lead == 0xf4 ? 0x8f : 0xbf;
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

/// The number of bytes before the first invalid one; text.size() if all are valid.
constexpr std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = utf8_sequence_length(text.substr(at));
    if (length == 0) break;
    at += length;
  }
  return at;
}

struct Character {
  char32_t code = 0;
  std::size_t bytes = 0;
};

/// The first character of a valid text that is not empty.
constexpr Character first_character(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  const std::size_t bytes = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  char32_t code = bytes == 1 ? lead : lead & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i)
    code = code << 6 | (static_cast<std::uint8_t>(text[i]) & 0x3fu);
  return {code, bytes};
}

/// The last character of a valid text that is not empty.
constexpr Character last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<std::uint8_t>(text[begin]) & 0xc0u) == 0x80) --begin;
  return first_character(text.substr(begin));
}

/// Unicode's White_Space.
constexpr bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xd) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

/// The bytes of white space at the beginning of a valid text.
constexpr std::size_t leading_white_space(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Character c = first_character(text.substr(at));
    if (!is_white_space(c.code)) break;
    at += c.bytes;
  }
  return at;
}

/// The bytes of white space at the end of a valid text.
constexpr std::size_t trailing_white_space(std::string_view text) {
  std::size_t left = text.size();
  while (left > 0) {
    const Character c = last_character(text.substr(0, left));
    if (!is_white_space(c.code)) break;
    left -= c.bytes;
  }
  return text.size() - left;
}

}}}  // namespace idefics::v0::detail
