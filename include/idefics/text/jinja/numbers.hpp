// Python's numbers: how floats are written, how texts are read as numbers, and arithmetic. Integers
// have 64 bits; what would need more is refused.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <idefics/text/jinja/unicode.hpp>
#include <idefics/text/jinja/value.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

[[noreturn]] inline void refuse_large(Rendering& r) {
  r.unsupported("an integer of more than 64 bits");
}

/// repr() of a float: the shortest digits that give it back, with an exponent outside 1e-4 to 1e16.
inline std::string text_of_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<std::size_t>(end.ptr - buffer));
  int exponent = 0;
  const std::size_t e = text.find('e');
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), end.ptr, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  std::string digits, sign = text[0] == '-' ? "-" : "";
  for (const char c : text.substr(0, e))
    if (c >= '0' && c <= '9') digits.push_back(c);
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

inline std::string_view trimmed(std::string_view text) {
  while (!text.empty()) {
    std::size_t at = 0;
    if (!is_space(next_character(text, at))) break;
    text.remove_prefix(at);
  }
  while (!text.empty()) {
    const std::size_t begin = previous_character(text, text.size());
    std::size_t at = begin;
    if (!is_space(next_character(text, at))) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}

/// The text of a number without the single underscores that may be between digits, or nothing if
/// they are elsewhere. Digits of other scripts, which Python reads as well, are refused.
inline std::optional<std::string> plain_number(Rendering& r, std::string_view text) {
  const auto is_digit = [&](std::size_t i) {
    return i < text.size() && text[i] >= '0' && text[i] <= '9';
  };
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::size_t at = i;
    if (static_cast<unsigned char>(text[i]) >= 0x80) {
      if (is_decimal(next_character(text, at)))
        r.unsupported("a number in digits of other scripts");
      return std::nullopt;
    }
    if (text[i] != '_')
      plain.push_back(text[i]);
    else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1))
      return std::nullopt;
  }
  return plain;
}

/// int(text), or nothing where that raises ValueError.
inline std::optional<std::int64_t> integer_of_text(Rendering& r, std::string_view text) {
  const auto plain = plain_number(r, trimmed(text));
  if (!plain) return std::nullopt;
  std::string_view digits = *plain;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  std::uint64_t value = 0;
  const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const std::uint64_t limit = (std::uint64_t{1} << 63) - (negative ? 0 : 1);
  if (end.ec != std::errc() || value > limit) refuse_large(r);
  return static_cast<std::int64_t>(negative ? 0 - value : value);
}

/// float(text), or nothing where that raises ValueError.
inline std::optional<double> real_of_text(Rendering& r, std::string_view text) {
  const auto plain = plain_number(r, trimmed(text));
  if (!plain) return std::nullopt;
  std::string_view digits = *plain;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  const std::string word = to_lower(digits);
  const double sign = negative ? -1 : 1;
  if (word == "inf" || word == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (word == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (word.empty() || word.find_first_not_of("0123456789.e+-") != std::string::npos ||
      word[0] == '-' || word[0] == '+')
    return std::nullopt;
  double value = 0;
  const auto end = std::from_chars(word.data(), word.data() + word.size(), value);
  if (end.ptr != word.data() + word.size()) return std::nullopt;
  if (end.ec == std::errc::result_out_of_range) r.unsupported("a number out of a float's range");
  return sign * value;
}

inline std::int64_t integer_of_real(Rendering& r, double value) {
  if (std::isnan(value)) r.fail("cannot convert float NaN to integer");
  if (std::isinf(value)) r.fail("cannot convert float infinity to integer");
  if (value >= 0x1p63 || value < -0x1p63) refuse_large(r);
  return static_cast<std::int64_t>(value);
}

/// a // b and a % b of integers: rounded down, so that the remainder has the sign of b.
inline std::int64_t floor_divide(Rendering& r, std::int64_t a, std::int64_t b) {
  if (b == 0) r.fail("integer division or modulo by zero");
  if (b == -1) {
    if (a == std::numeric_limits<std::int64_t>::min()) refuse_large(r);
    return -a;
  }
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}
inline std::int64_t floor_modulo(Rendering& r, std::int64_t a, std::int64_t b) {
  if (b == 0) r.fail("integer division or modulo by zero");
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

inline std::int64_t power(Rendering& r, std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent % 2 == 1 && __builtin_mul_overflow(result, base, &result)) refuse_large(r);
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) refuse_large(r);
  }
  return result;
}

/// round(value, digits) of a float: correctly rounded in decimal, ties to even.
inline double round_real(Rendering& r, double value, std::int64_t digits) {
  if (digits < 0) r.unsupported("rounding to tens");
  if (!std::isfinite(value) || digits > 330) return value;
  char text[700];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed,
                                 static_cast<int>(digits));
  double rounded = 0;
  std::from_chars(text, end.ptr, rounded);
  return rounded;
}

}}}}  // namespace idefics::v0::detail::jinja
