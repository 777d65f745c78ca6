// Pictures embedded in a URL: data:image/png;base64,iVBORw0K… Source: RFC 2397.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/core/error.hpp>
#include <idefics/core/hex.hpp>

namespace idefics { inline namespace v0 {

inline bool is_data_url(std::string_view url) { return url.starts_with("data:"); }

namespace detail {

[[noreturn]] inline void refuse_data_url(const char* why, std::size_t offset) {
  fail(ErrorCode::fetch_failed, why, {.file = "data:", .offset = offset});
}

/// Value of a base64 digit, in the standard or the URL alphabet; -1 for any other character.
constexpr int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  return c == '/' || c == '_' ? 63 : -1;
}

/// Decodes text in which %XX denotes a byte.
inline std::vector<std::byte> decode_percent(std::string_view text, std::size_t offset) {
  std::vector<std::byte> bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    int value = static_cast<unsigned char>(text[i]);
    if (text[i] == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = high < 0 ? -1 : hex_digit(text[i + 2]);
      if (low < 0) refuse_data_url("% is not followed by two hexadecimal digits", offset + i);
      value = high * 16 + low;
      i += 2;
    }
    bytes.push_back(static_cast<std::byte>(value));
  }
  return bytes;
}

/// Decodes base64, with or without padding.
inline std::vector<std::byte> decode_base64(std::string_view text, std::size_t offset) {
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) text.remove_suffix(1), ++padding;
  const std::size_t rest = text.size() % 4;  // digits of the last, shorter group
  if (rest == 1 || (padding != 0 && rest + padding != 4))
    refuse_data_url("invalid length of base64 data", offset + text.size());
  std::vector<std::byte> bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t group = 0;
  int bits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int digit = base64_digit(text[i]);
    if (digit < 0) refuse_data_url("invalid base64 character", offset + i);
    group = group << 6 | static_cast<std::uint32_t>(digit);
    if (bits += 6; bits >= 8) bytes.push_back(static_cast<std::byte>(group >> (bits -= 8) & 0xff));
  }
  return bytes;
}

}  // namespace detail

/// The bytes of a data: URL. Its media type is ignored, since pictures are recognized by their own
/// bytes. Throws `fetch_failed` with the offset of the fault, or with `max_bytes` as the limit.
inline std::vector<std::byte> decode_data_url(std::string_view url, std::uint64_t max_bytes) {
  const auto comma = url.find(',');
  if (!is_data_url(url) || comma == std::string_view::npos)
    detail::refuse_data_url("a data: URL needs a comma before its data", url.size());
  const std::string_view data = url.substr(comma + 1);
  const bool base64 = url.substr(0, comma).ends_with(";base64");
  const std::uint64_t max_decoded = base64 ? data.size() / 4 * 3 : data.size();
  if (max_decoded > max_bytes)
    fail(ErrorCode::fetch_failed, "the data: URL is too large",
         {.file = "data:", .actual = max_decoded, .limit = max_bytes});
  if (!base64) return detail::decode_percent(data, comma + 1);
  if (data.find('%') == std::string_view::npos) return detail::decode_base64(data, comma + 1);
  const auto plain = detail::decode_percent(data, comma + 1);  // "+" and "=" may be escaped
  return detail::decode_base64({reinterpret_cast<const char*>(plain.data()), plain.size()}, 0);
}

}}  // namespace idefics::v0
