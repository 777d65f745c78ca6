// The pixels of a PNM that are written as digits, as Pillow reads them: in pieces of one MiB, each of
// which is checked as a whole.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

constexpr bool is_pnm_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// An integer in Python's notation: a sign may come first, and single underscores between digits.
inline std::optional<std::int64_t> parse_pnm_integer(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  std::int64_t value = 0;
  bool after_digit = false;
  if (text.size() > 12) return {};
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c == '_' && after_digit)) return {};
    if (digit) value = value * 10 + (c - '0');
    after_digit = digit;
  }
  if (!after_digit) return {};
  return negative ? -value : value;
}

/// A value from 0 to `max` as a level. Grey of 16 bits is scaled to 0 to 65535 and saturates.
inline std::uint8_t scale_pnm(std::uint64_t value, std::uint64_t max, bool saturates) {
  const double top = saturates ? 65'535 : 255;
  const double scaled = std::nearbyint(static_cast<double>(value) / static_cast<double>(max) * top);
  return static_cast<std::uint8_t>(scaled < 255 ? scaled : 255);
}

class PnmDigits {
 public:
  PnmDigits(const ByteReader& in, std::uint64_t at) : in_(in), at_(at) {}

  /// Fills `to` with 0 for each digit 1, and 255 for each 0.
  void read_bits(std::vector<std::uint8_t>& to) {
    for (std::size_t filled = 0; filled < to.size();) {
      if (at_ >= in_.size()) refuse("it ends before its last pixel");
      for (const char c : without_comments(next())) {
        if (is_pnm_space(c)) continue;
        if (c != '0' && c != '1') refuse("a pixel is neither 0 nor 1");
        if (filled < to.size()) to[filled++] = c == '0' ? 255 : 0;
      }
    }
  }

  /// Fills `to` with levels of numbers up to `max`.
  void read_levels(std::vector<std::uint8_t>& to, std::uint64_t max, bool grey) {
    std::string half;  // a number that the next piece may continue
    for (std::size_t filled = 0; filled < to.size();) {
      if (at_ >= in_.size() && half.empty()) refuse("it ends before its last pixel");
      const std::string text = half + without_comments(at_ < in_.size() ? next() : " ");
      std::size_t end = text.size();  // of the last whole number
      while (end > 0 && !is_pnm_space(text[end - 1])) --end;
      half = text.substr(end);
      check_length(half);
      for (std::size_t at = 0; filled < to.size();) {
        while (at < end && is_pnm_space(text[at])) ++at;
        if (at == end) break;
        const std::size_t begin = at;
        while (at < end && !is_pnm_space(text[at])) ++at;
        to[filled++] = level(std::string_view(text).substr(begin, at - begin), max, grey);
      }
    }
  }

 private:
  [[noreturn]] void refuse(const char* why) const {
    fail(ErrorCode::invalid_image, std::string("damaged PNM: ") + why,
         {.file = in_.name(), .offset = at_});
  }

  std::string next() {
    constexpr std::uint64_t piece = 1u << 20;
    const auto text = text_of(in_.part_within(at_, piece));
    at_ += text.size();
    return std::string(text);
  }

  /// Text after a comment that began in the piece before. By a quirk of Pillow's, a line end at the
  /// very start counts only if the other kind of line end does not occur.
  static std::string_view after_comment(std::string_view text) {
    auto end = text.find_first_of("\r\n");
    if (end == 0)
      if (const auto other = text.find(text[0] == '\n' ? '\r' : '\n'); other != text.npos)
        end = other;
    return end == text.npos ? std::string_view() : text.substr(end + 1);
  }

  std::string without_comments(std::string text) {
    while (in_comment_ && !text.empty()) {
      in_comment_ = text.find_first_of("\r\n") == text.npos;
      text = in_comment_ ? (at_ < in_.size() ? next() : "") : std::string(after_comment(text));
    }
    in_comment_ = false;
    std::string rest;
    for (std::size_t at = 0; at < text.size();) {
      const auto start = std::min(text.find('#', at), text.size());
      rest.append(text, at, start - at);
      const auto end = text.find_first_of("\r\n", start);
      in_comment_ = start < text.size() && end == text.npos;
      at = end == text.npos || start == text.size() ? text.size() : end + 1;
    }
    return rest;
  }

  void check_length(std::string_view number) const {
    constexpr std::size_t longest = 10;
    if (number.size() > longest) refuse("a number is too long");
  }
  std::uint8_t level(std::string_view digits, std::uint64_t max, bool grey) const {
    check_length(digits);
    const auto value = parse_pnm_integer(digits);
    if (!value) refuse("a pixel is not a number");
    if (*value < 0 || static_cast<std::uint64_t>(*value) > max) refuse("a level is out of range");
    return scale_pnm(static_cast<std::uint64_t>(*value), max, grey && max > 255);
  }

  const ByteReader& in_;
  std::uint64_t at_;
  bool in_comment_ = false;
};

}}}  // namespace idefics::v0::detail
