// Characters: code points of UTF-8, and Python's str properties and case mappings of them. All
// texts here are valid UTF-8; a rendering checks what comes in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/text/jinja/unicode_table.hpp>
#include <idefics/text/utf8.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// The character that begins at a byte; moves on to the next one.
inline char32_t next_character(std::string_view text, std::size_t& at) {
  const auto byte = [&] { return static_cast<unsigned char>(text[at++]); };
  const char32_t lead = byte();
  if (lead < 0x80) return lead;
  int rest = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
  char32_t point = lead & (0x3fu >> rest);
  for (; rest > 0 && at < text.size(); --rest) point = point << 6 | (byte() & 0x3fu);
  return point;
}

/// The byte where the character before a byte begins.
inline std::size_t previous_character(std::string_view text, std::size_t at) {
  do --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80);
  return at;
}

inline std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

/// The byte where the character with this index begins; the end of the text if it is shorter.
inline std::size_t byte_of_character(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  for (; index > 0 && at < text.size(); --index) next_character(text, at);
  return at;
}

inline void append_character(std::string& text, char32_t c) {
  const auto put = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800)
    put(0xc0 | c >> 6);
  else if (c < 0x10000)
    put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f));
  else
    put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f));
  put(0x80 | (c & 0x3f));
}

/// \x41, \u00e9, \U0001f600: the shortest form for a character.
inline std::string escaped_character(char32_t c) {
  const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
  std::string text = c < 0x100 ? "\\x" : c < 0x10000 ? "\\u" : "\\U";
  for (int i = digits - 1; i >= 0; --i) text.push_back("0123456789abcdef"[c >> (4 * i) & 15]);
  return text;
}

/// Numbers of unicode_table.hpp: five bits a character, lowest first, in 64 digits of which the
/// upper half say that the number continues.
inline std::vector<std::uint32_t> decode_table(std::string_view coded) {
  const auto digit = [](char c) -> std::uint32_t {
    if (c >= 'A' && c <= 'Z') return static_cast<std::uint32_t>(c - 'A');
    if (c >= 'a' && c <= 'z') return static_cast<std::uint32_t>(c - 'a' + 26);
    return c == '+' ? 62 : c == '-' ? 63 : static_cast<std::uint32_t>(c - '0' + 52);
  };
  std::vector<std::uint32_t> numbers;
  std::uint32_t number = 0, shift = 0;
  for (const char c : coded) {
    number |= (digit(c) & 31) << shift;
    shift += 5;
    if (digit(c) >= 32) continue;
    numbers.push_back(number);
    number = shift = 0;
  }
  return numbers;
}

/// A set of characters, coded as the distances between those at which membership changes.
class CharacterSet {
 public:
  explicit CharacterSet(std::string_view coded) : changes_(decode_table(coded)) {
    for (std::size_t i = 1; i < changes_.size(); ++i) changes_[i] += changes_[i - 1];
  }
  bool contains(char32_t c) const {
    const auto after = std::ranges::upper_bound(changes_, static_cast<std::uint32_t>(c));
    return (after - changes_.begin()) % 2 == 1;
  }

 private:
  std::vector<std::uint32_t> changes_;
};

#define IDEFICS_CHARACTER_SET(name)             \
  inline bool is_##name(char32_t c) {           \
    static const CharacterSet set(table::name); \
    return set.contains(c);                     \
  }
IDEFICS_CHARACTER_SET(alpha)
IDEFICS_CHARACTER_SET(decimal)
IDEFICS_CHARACTER_SET(digit)
IDEFICS_CHARACTER_SET(numeric)
IDEFICS_CHARACTER_SET(lower)
IDEFICS_CHARACTER_SET(upper)
IDEFICS_CHARACTER_SET(title)
IDEFICS_CHARACTER_SET(space)
IDEFICS_CHARACTER_SET(printable)
IDEFICS_CHARACTER_SET(ignorable)
#undef IDEFICS_CHARACTER_SET

inline bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }
inline bool is_cased(char32_t c) { return is_lower(c) || is_upper(c) || is_title(c); }
/// The characters at which str.splitlines() ends a line.
inline bool is_line_end(char32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

/// A mapping of characters, coded as ranges: the distance from the end of the previous one, the
/// number of further characters, their step less one, and twice the difference, less one if the
/// mapping subtracts it.
class CaseMapping {
 public:
  explicit CaseMapping(std::string_view coded) {
    const auto numbers = decode_table(coded);
    std::uint32_t end = 0;
    for (std::size_t i = 0; i + 3 < numbers.size(); i += 4) {
      const std::uint32_t first = end + numbers[i], step = numbers[i + 2] + 1;
      end = first + numbers[i + 1] * step;
      const auto half = static_cast<std::int32_t>(numbers[i + 3] / 2);
      ranges_.push_back({first, end, step, numbers[i + 3] % 2 == 0 ? half : -half - 1});
    }
  }
  char32_t operator()(char32_t c) const {
    const auto range = std::ranges::lower_bound(ranges_, c, {}, &Range::last);
    if (range == ranges_.end() || c < range->first || (c - range->first) % range->step != 0)
      return c;
    return static_cast<char32_t>(static_cast<std::int32_t>(c) + range->difference);
  }

 private:
  struct Range {
    char32_t first, last;
    std::uint32_t step;
    std::int32_t difference;
  };
  std::vector<Range> ranges_;
};

inline const table::SpecialCase* special_case(char32_t c) {
  const auto found =
      std::ranges::lower_bound(table::special_cases, c, {}, &table::SpecialCase::character);
  return found != std::end(table::special_cases) && found->character == c ? found : nullptr;
}

inline void append_upper(std::string& text, char32_t c) {
  static const CaseMapping mapping(table::to_upper);
  if (const auto* special = special_case(c))
    text.append(special->upper);
  else
    append_character(text, mapping(c));
}

inline void append_title(std::string& text, char32_t c) {
  if (const auto* special = special_case(c))
    text.append(special->title);
  else
    append_upper(text, c);
}

/// The lower case of a character that is not a capital sigma.
inline void append_lower(std::string& text, char32_t c) {
  static const CaseMapping mapping(table::to_lower);
  if (c == 0x130)
    text.append("i\u0307");
  else
    append_character(text, mapping(c));
}

/// Whether the capital sigma before byte `end` is the last letter of a word: a cased letter comes
/// before it and none after it, not counting characters that case ignores.
inline bool is_final_sigma(std::string_view text, std::size_t begin, std::size_t end) {
  constexpr int far = 64;  // further ones are not looked at, to bound the cost
  char32_t c = 0;
  int left = far;
  do {
    if (begin == 0 || left-- == 0) return false;
    std::size_t at = begin = previous_character(text, begin);
    c = next_character(text, at);
  } while (is_ignorable(c));
  if (!is_cased(c)) return false;
  left = far;
  do {
    if (end == text.size() || left-- == 0) return true;
    c = next_character(text, end);
  } while (is_ignorable(c));
  return !is_cased(c);
}

/// Appends the lower case of the character that begins at a byte; moves on to the next one.
inline void append_lower(std::string& lowered, std::string_view text, std::size_t& at) {
  const std::size_t begin = at;
  const char32_t c = next_character(text, at);
  if (c == 0x3a3)
    append_character(lowered, is_final_sigma(text, begin, at) ? 0x3c2 : 0x3c3);
  else
    append_lower(lowered, c);
}

inline std::string to_lower(std::string_view text) {
  std::string lowered;
  for (std::size_t at = 0; at < text.size();) append_lower(lowered, text, at);
  return lowered;
}

}}}}  // namespace idefics::v0::detail::jinja
