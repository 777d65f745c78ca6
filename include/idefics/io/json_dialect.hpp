// What Python's json accepts and writes beyond JSON: NaN, Infinity and -Infinity, numbers above the
// range of a double, which become infinite, and lone surrogates in strings ("\ud800").
//
// nlohmann/json parses JSON only. So these values are rewritten before it reads the text, as
// strings that begin with the last code point of Unicode, and restored when it delivers them; that
// code point itself is rewritten likewise. A text without such values is not copied.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <idefics/core/ascii.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Length of the JSON number at the beginning of `text`, or 0.
constexpr std::size_t json_number_length(std::string_view text) {
  std::size_t at = 0;
  const auto is = [&](std::string_view any) {
    return at < text.size() && any.find(text[at]) != std::string_view::npos;
  };
  const auto digits = [&] {
    const std::size_t first = at;
    while (is("0123456789")) ++at;
    return at > first;
  };
  if (is("-")) ++at;
  if (is("0"))
    ++at;
  else if (!digits())
    return 0;
  if (is(".") && (++at, !digits())) return 0;
  if (is("eE")) {
    if (++at; is("+-")) ++at;
    if (!digits()) return 0;
  }
  return at;
}

/// A text of Python's dialect as JSON.
class PythonJson {
 public:
  explicit PythonJson(std::string_view text) : text_(text) {
    while (at_ < text.size()) in_string_ ? read_in_string() : read_outside();
    if (!edits_.empty()) rewritten_.append(text.substr(copied_));
  }
  PythonJson(const PythonJson&) = delete;
  PythonJson& operator=(const PythonJson&) = delete;

  /// Whether there is a JSON text that differs from the original.
  bool rewritten() const { return !edits_.empty(); }
  std::string_view json() const { return rewritten_; }

  /// The position in the original that `position` in the JSON text is from.
  std::size_t original_position(std::size_t position) const {
    const auto next = std::ranges::upper_bound(edits_, position, {}, &Edit::json_end);
    const Edit last = next == edits_.begin() ? Edit{0, 0} : *std::prev(next);
    const std::size_t original = last.original_end + (position - last.json_end);
    return next == edits_.end() ? original : std::min(original, next->original_end);
  }

  /// The number that a string of the JSON text denotes, if it was a number.
  static std::optional<double> number_in(std::string_view text) {
    if (!text.starts_with(mark)) return std::nullopt;
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const std::string_view rest = text.substr(mark.size());
    if (rest == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (rest == "Infinity") return infinity;
    if (rest == "-Infinity") return -infinity;
    return std::nullopt;
  }

  /// Restores a string of the JSON text. A lone surrogate becomes the three bytes of its code
  /// point, which are not valid UTF-8.
  static void restore(std::string& text) {
    std::size_t to = 0;
    for (std::size_t from = 0; from < text.size();) {
      if (std::string_view(text).substr(from, mark.size()) != mark) {
        text[to++] = text[from++];
        continue;
      }
      const unsigned unit = code_unit(std::string_view(text).substr(from + mark.size()));
      if (unit == 0)
        for (const char c : mark) text[to++] = c;
      else
        for (const unsigned byte :
             {0xe0 | unit >> 12, 0x80 | (unit >> 6 & 0x3f), 0x80 | (unit & 0x3f)})
          text[to++] = static_cast<char>(byte);
      from += mark.size() + digits;
    }
    text.resize(to);
  }

 private:
  static constexpr std::string_view mark = "\xf4\x8f\xbf\xbf";  // U+10FFFF
  static constexpr std::size_t digits = 4;                      // of a code unit, after a mark
  static constexpr unsigned none = 0x10000;

  struct Edit {
    std::size_t json_end, original_end;
  };

  /// The code unit of four hexadecimal digits, or `none`.
  static unsigned code_unit(std::string_view text) {
    if (text.size() < digits) return none;
    unsigned unit = 0;
    for (const char c : text.substr(0, digits)) {
      if (hex_digit(c) < 0) return none;
      unit = unit << 4 | static_cast<unsigned>(hex_digit(c));
    }
    return unit;
  }
  /// The code unit of an escape \uXXXX at `at`, or `none`.
  unsigned escaped_unit(std::size_t at) const {
    const std::string_view rest = text_.substr(std::min(at, text_.size()));
    return rest.starts_with("\\u") ? code_unit(rest.substr(2)) : none;
  }

  /// Writes `text` instead of the next `length` characters.
  void replace(std::size_t length, std::string_view text) {
    rewritten_.append(text_.substr(copied_, at_ - copied_)).append(text);
    copied_ = at_ += length;
    edits_.push_back({rewritten_.size(), at_});
  }

  void read_in_string() {
    constexpr std::size_t escape = 2 + digits;
    const char c = text_[at_];
    if (c == '"') in_string_ = false;
    if (text_.substr(at_).starts_with(mark))
      return replace(mark.size(), std::string(mark) + "0000");
    if (c != '\\') return void(++at_);
    const unsigned first = escaped_unit(at_), second = escaped_unit(at_ + escape);
    if (first == none) return void(at_ += 2);
    const bool surrogate = first >= 0xd800 && first <= 0xdfff;
    const bool pair = surrogate && first <= 0xdbff && second >= 0xdc00 && second <= 0xdfff;
    if (pair && first == 0xdbff && second == 0xdfff)
      replace(2 * escape, std::string(mark) + "0000");
    else if (surrogate && !pair)
      replace(escape, std::string(mark).append(text_.substr(at_ + 2, digits)));
    else
      at_ += pair ? 2 * escape : escape;
  }

  void read_outside() {
    const std::string_view rest = text_.substr(at_);
    for (const std::string_view word : {"NaN", "Infinity", "-Infinity"})
      if (rest.starts_with(word)) return replace(word.size(), number(word));
    if (const std::size_t length = json_number_length(rest); length > 0) {
      if (!overflows(rest.substr(0, length))) return void(at_ += length);
      return replace(length, number(rest.front() == '-' ? "-Infinity" : "Infinity"));
    }
    in_string_ = rest.front() == '"';
    ++at_;
  }
  static std::string number(std::string_view word) {
    return std::string("\"").append(mark).append(word).append("\"");
  }
  /// Whether a number is above the range of a double, rather than within it or close to zero.
  static bool overflows(std::string_view number) {
    constexpr std::size_t always_in_range = 300;  // digits, without an exponent
    if (number.size() < always_in_range && number.find_first_of("eE") == std::string_view::npos)
      return false;
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc::result_out_of_range) return false;
    return !is_small(number);
  }
  /// Of a number out of range: whether its magnitude is below one.
  static bool is_small(std::string_view number) {
    const auto exponent = number.find_first_of("eE");
    // Without an exponent, and with up to a gigabyte of digits, the sign of the power decides.
    std::string_view mantissa = number.substr(0, exponent);
    if (mantissa.starts_with('-')) mantissa.remove_prefix(1);
    const auto point = std::min(mantissa.find('.'), mantissa.size());
    const auto first = mantissa.find_first_not_of("0.");
    if (first == std::string_view::npos) return true;
    auto power = static_cast<double>(point) - static_cast<double>(first);
    if (exponent != std::string_view::npos) power += exponent_of(number.substr(exponent + 1));
    return power < 0;
  }
  /// The value of the digits of an exponent, which may not fit an integer.
  static double exponent_of(std::string_view text) {
    const bool negative = text.starts_with('-');
    double value = 0;
    for (const char c : text)
      if (c >= '0' && c <= '9') value = std::min(value * 10 + (c - '0'), 1e18);
    return negative ? -value : value;
  }

  std::string_view text_;
  std::size_t at_ = 0, copied_ = 0;
  bool in_string_ = false;
  std::string rewritten_;
  std::vector<Edit> edits_;
};

}}}  // namespace idefics::v0::detail
