// Regular expressions as patterns: what Python, ECMAScript and POSIX have in common. A text must match
// as a whole, so ^ at the beginning and $ at the end change nothing; elsewhere they are refused.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/pattern/automaton.hpp>
#include <idefics/text/utf8.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class RegexParser {
 public:
  RegexParser(Patterns& patterns, std::string_view text, std::string field)
      : patterns_(patterns), text_(text), field_(std::move(field)) {}

  /// Throws `invalid_option` with the offset of what is wrong or not supported.
  int parse() {
    if (valid_utf8_prefix(text_) != text_.size()) refuse("is not UTF-8");
    if (text_.size() > 1 << 16) refuse("is too long");
    const int all = alternatives(0);
    if (at_ < text_.size()) refuse("has a ) without (");
    return all;
  }

 private:
  static constexpr int most_depth = 64, most_repeats = 1000;

  [[noreturn]] void refuse(const char* why) const {
    refuse_pattern(std::string("the expression ") + why + ", at " + std::to_string(at_), field_);
  }
  bool more() const { return at_ < text_.size(); }
  char peek() const { return text_[at_]; }
  bool take(char c) {
    if (!more() || peek() != c) return false;
    ++at_;
    return true;
  }

  int alternatives(int depth) {
    if (depth > most_depth) refuse("is too deep");
    std::vector<int> list{sequence(depth)};
    while (take('|')) list.push_back(sequence(depth));
    return list.size() == 1 ? list[0] : patterns_.either(std::move(list));
  }
  int sequence(int depth) {
    std::vector<int> parts;
    if (depth == 0) (void)take('^');
    while (more() && peek() != '|' && peek() != ')') {
      if (depth == 0 && peek() == '$' && (at_ + 1 == text_.size() || text_[at_ + 1] == '|')) {
        ++at_;
        break;
      }
      parts.push_back(repeated(atom(depth)));
    }
    return patterns_.sequence(std::move(parts));
  }

  int repeated(int part) {
    for (;;) {
      if (take('*'))
        part = patterns_.repeat(part, 0, -1);
      else if (take('+'))
        part = patterns_.repeat(part, 1, -1);
      else if (take('?'))
        part = patterns_.optional(part);
      else if (take('{'))
        part = counted(part);
      else
        return part;
      (void)take('?');  // lazy, which does not change what matches
    }
  }
  int counted(int part) {
    const auto min = number();
    auto max = min;
    if (take(',')) max = more() && peek() == '}' ? std::optional(-1) : number();
    if (!min || !max || !take('}') || (*max >= 0 && *max < *min)) refuse("has a bad {m,n}");
    return patterns_.repeat(part, *min, *max);
  }
  std::optional<int> number() {
    std::optional<int> value;
    while (more() && peek() >= '0' && peek() <= '9') {
      value = value.value_or(0) * 10 + (text_[at_++] - '0');
      if (*value > most_repeats) refuse("repeats more than 1000 times");
    }
    return value;
  }

  int atom(int depth) {
    if (take('(')) {
      if (take('?') && !take(':')) refuse("has a group other than (?:…)");
      const int group = alternatives(depth + 1);
      if (!take(')')) refuse("lacks a )");
      return group;
    }
    if (take('[')) return character_class();
    if (take('.'))
      return patterns_.either({patterns_.bytes(Patterns::range(0, 127) & ~Patterns::one('\n')),
                               patterns_.beyond_ascii()});
    if (take('\\')) {
      const auto [set, negated] = escape();
      return negated ? patterns_.either({patterns_.bytes(set), patterns_.beyond_ascii()})
                     : patterns_.bytes(set);
    }
    if (std::string_view("*+?{}]^$").find(peek()) != std::string_view::npos)
      refuse("has a character that must follow \\ here");
    return literal();
  }
  int literal() {
    const std::size_t length = utf8_sequence_length(text_.substr(at_));
    const int all = patterns_.text(text_.substr(at_, length));
    at_ += length;
    return all;
  }

  /// ASCII characters after a backslash, and whether all others belong to them.
  std::pair<ByteSet, bool> escape() {
    if (!more()) refuse("ends with \\");
    const char c = text_[at_++];
    const ByteSet ascii = Patterns::range(0, 127), digits = Patterns::range('0', '9');
    const ByteSet words =
        digits | Patterns::range('a', 'z') | Patterns::range('A', 'Z') | Patterns::one('_');
    const ByteSet spaces = Patterns::range('\t', '\r') | Patterns::one(' ');
    switch (c) {
      case 'd': return {digits, false};
      case 'w': return {words, false};
      case 's': return {spaces, false};
      case 'D': return {ascii & ~digits, true};
      case 'W': return {ascii & ~words, true};
      case 'S': return {ascii & ~spaces, true};
      case 'n': return {Patterns::one('\n'), false};
      case 't': return {Patterns::one('\t'), false};
      case 'r': return {Patterns::one('\r'), false};
      case 'f': return {Patterns::one('\f'), false};
      case 'v': return {Patterns::one('\v'), false};
      default: break;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || static_cast<std::uint8_t>(c) > 127) refuse("has an unknown escape");
    return {Patterns::one(c), false};
  }

  int character_class() {
    const bool negated = take('^');
    ByteSet set;
    bool others = false;
    std::vector<int> characters;  // outside ASCII
    for (bool first = true; first || !take(']'); first = false) {
      if (!more()) refuse("lacks a ]");
      if (static_cast<std::uint8_t>(peek()) > 127) {
        if (negated) refuse("excludes a character outside ASCII");
        characters.push_back(literal());
        if (more() && peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']')
          refuse("has a range outside ASCII");
        continue;
      }
      const ByteSet low = class_item(others);
      if (low.count() == 1 && more() && peek() == '-' && at_ + 1 < text_.size() &&
          text_[at_ + 1] != ']') {
        ++at_;
        set |= range_from(low, others);
      } else {
        set |= low;
      }
    }
    if (negated) set = Patterns::range(0, 127) & ~set;
    characters.push_back(patterns_.bytes(set));
    if (others != negated) characters.push_back(patterns_.beyond_ascii());
    return patterns_.either(std::move(characters));
  }
  ByteSet class_item(bool& others) {
    if (!take('\\')) return Patterns::one(text_[at_++]);
    if (more() && peek() == 'b') return ++at_, Patterns::one('\b');
    const auto [set, negated] = escape();
    others = others || negated;
    return set;
  }
  ByteSet range_from(const ByteSet& low, bool& others) {
    if (static_cast<std::uint8_t>(peek()) > 127) refuse("has a range outside ASCII");
    const ByteSet high = class_item(others);
    const auto only = [](const ByteSet& set) {
      int byte = 0;
      while (!set.test(static_cast<std::size_t>(byte))) ++byte;
      return byte;
    };
    if (high.count() != 1 || only(high) < only(low)) refuse("has a bad range");
    return Patterns::range(only(low), only(high));
  }

  Patterns& patterns_;
  std::string_view text_;
  std::string field_;
  std::size_t at_ = 0;
};

}}}  // namespace idefics::v0::detail
