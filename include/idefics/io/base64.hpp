// Bytes in text: base64 and percent-encoding. Source: RFC 4648, RFC 3986.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/core/ascii.hpp>
#include <idefics/core/error.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Value of a base64 digit, in the standard or the URL alphabet; -1 for any other character.
constexpr int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  return c == '/' || c == '_' ? 63 : -1;
}

constexpr bool is_base64_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/// The limits and names that errors of decoding have.
struct TextOfBytes {
  const char* name = "data:";         // of the file
  std::size_t offset = 0;             // of the text in it
  std::uint64_t max_bytes = 1 << 30;  // after decoding

  [[noreturn]] void refuse(const char* why, std::size_t at) const {
    fail(ErrorCode::fetch_failed, why, {.file = name, .offset = offset + at});
  }
  void check_size(std::uint64_t bytes) const {
    if (bytes > max_bytes)
      fail(ErrorCode::fetch_failed, "the data is too large",
           {.file = name, .actual = bytes, .limit = max_bytes});
  }
};

/// Decodes text in which %XX denotes a byte.
inline std::vector<std::byte> decode_percent(std::string_view text, const TextOfBytes& where) {
  std::vector<std::byte> bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    int value = static_cast<unsigned char>(text[i]);
    if (text[i] == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = high < 0 ? -1 : hex_digit(text[i + 2]);
      if (low < 0) where.refuse("% is not followed by two hexadecimal digits", i);
      value = high * 16 + low;
      i += 2;
    }
    bytes.push_back(static_cast<std::byte>(value));
  }
  where.check_size(bytes.size());
  return bytes;
}

/// Decodes base64, with or without padding, in one line or several.
inline std::vector<std::byte> decode_base64(std::string_view text, const TextOfBytes& where) {
  std::size_t digits = 0, padding = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_base64_space(text[i])) continue;
    if (text[i] == '=' && padding < 2)
      ++padding;
    else if (base64_digit(text[i]) >= 0 && padding == 0)
      ++digits;
    else
      where.refuse("invalid base64 character", i);
  }
  const std::size_t rest = digits % 4;  // digits of the last, shorter group
  if (rest == 1 || (padding != 0 && rest + padding != 4))
    where.refuse("invalid length of base64 data", text.size());
  const std::size_t size = digits / 4 * 3 + (rest == 0 ? 0 : rest - 1);
  where.check_size(size);
  std::vector<std::byte> bytes;
  bytes.reserve(size);
  std::uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    const int digit = base64_digit(c);
    if (digit < 0) continue;
    group = group << 6 | static_cast<std::uint32_t>(digit);
    if (bits += 6; bits >= 8) bytes.push_back(static_cast<std::byte>(group >> (bits -= 8) & 0xff));
  }
  return bytes;
}

}}}  // namespace idefics::v0::detail
