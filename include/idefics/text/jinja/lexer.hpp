// A template as tokens: text, tags, and the words in tags. Settings as in transformers: a tag's
// line end is dropped (trim_blocks), and so is white space before a tag that begins a line
// (lstrip_blocks), except around {{ }}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/jinja/numbers.hpp>
#include <idefics/text/jinja/rendering.hpp>
#include <idefics/text/jinja/unicode.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

enum class TokenKind : std::uint8_t {
  data,
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  real,
  symbol,
  end,
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;  // of data, names, strings (without escapes) and symbols
  std::int64_t integer = 0;
  double real = 0;

  bool is(TokenKind k, std::string_view word) const { return kind == k && text == word; }
  bool is_symbol(std::string_view symbol) const { return is(TokenKind::symbol, symbol); }
  bool is_name(std::string_view word) const { return is(TokenKind::name, word); }
};

/// "\r\n" and "\r" become "\n", and one line end at the end is dropped.
inline std::string normalized_source(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text.push_back(source[i] == '\r' ? '\n' : source[i]);
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  Lexer(Rendering& r, std::string_view source)
      : rendering_(r), source_(normalized_source(source)) {}

  std::vector<Token> tokens() {
    while (at_ < source_.size()) text();
    add(TokenKind::end);
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool follows(std::string_view text) const { return rest().starts_with(text); }
  Token& add(TokenKind kind, std::string text = {}) {
    tokens_.push_back({kind, line_, std::move(text)});
    return tokens_.back();
  }
  [[noreturn]] void refuse(const std::string& what) {
    rendering_.line = line_;
    rendering_.syntax(what);
  }

  /// Moves on, counting lines.
  void skip(std::size_t bytes) {
    for (const char c : rest().substr(0, bytes)) line_ += c == '\n' ? 1 : 0;
    if (bytes > 0) line_starts_ = source_[at_ + bytes - 1] == '\n';
    at_ += bytes;
  }
  /// The number of bytes of white space at and after a position.
  std::size_t blanks(std::size_t at) const {
    const std::size_t begin = at;
    while (at < source_.size()) {
      std::size_t next = at;
      if (!is_space(next_character(source_, next))) break;
      at = next;
    }
    return at - begin;
  }

  /// Text up to the next tag, and the tag.
  void text() {
    std::size_t open = at_;
    while ((open = source_.find('{', open)) != std::string::npos &&
           (open + 1 == source_.size() ||
            std::string_view("{%#").find(source_[open + 1]) == std::string_view::npos))
      ++open;
    if (open == std::string::npos) {
      add(TokenKind::data, std::string(rest()));
      return skip(rest().size());
    }
    const char kind = source_[open + 1], sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
    add_data(rest().substr(0, open - at_), sign, kind != '{');
    skip(open - at_);
    const std::size_t raw = kind == '%' ? raw_tag("raw", at_, false) : 0;
    if (raw > 0) {
      skip(raw);
      return raw_text();
    }
    const bool signed_tag = sign == '-' || sign == '+';
    if (kind != '#') add(kind == '{' ? TokenKind::variable_begin : TokenKind::block_begin);
    skip(signed_tag ? 3 : 2);
    kind == '#' ? comment() : words(kind == '{');
  }

  /// Adds text, without the white space that the tag after it takes away.
  void add_data(std::string_view text, char sign, bool strips_line) {
    if (sign == '-') {
      std::size_t end = text.size();
      while (end > 0) {
        const std::size_t begin = previous_character(text, end);
        std::size_t at = begin;
        if (!is_space(next_character(text, at))) break;
        end = begin;
      }
      text = text.substr(0, end);
    } else if (sign != '+' && strips_line) {
      const std::size_t line = text.rfind('\n') + 1;  // 0 in the first line
      const bool blank = line < text.size() && trimmed(text.substr(line)).empty();
      if (blank && (line > 0 || line_starts_)) text = text.substr(0, line);
    }
    if (!text.empty()) add(TokenKind::data, std::string(text));
  }

  /// The size of {% word %} at a position, with the white space that it takes away, or 0.
  std::size_t raw_tag(std::string_view word, std::size_t begin, bool trims) const {
    std::size_t at = begin + 2;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    at += blanks(at);
    if (!std::string_view(source_).substr(at).starts_with(word)) return 0;
    at += word.size();
    at += blanks(at);
    const std::size_t end = tag_end(at, "%}", trims);
    return end == 0 ? 0 : at + end - begin;
  }
  /// The size of the end of a tag at a position, with what it takes away, or 0.
  std::size_t tag_end(std::size_t at, std::string_view close, bool trims) const {
    const std::string_view rest = std::string_view(source_).substr(at);
    if (trims && rest.starts_with('+') && rest.substr(1).starts_with(close)) return 3;
    if (rest.starts_with('-') && rest.substr(1).starts_with(close)) return 3 + blanks(at + 3);
    if (!rest.starts_with(close)) return 0;
    return trims && rest.substr(2).starts_with('\n') ? 3 : 2;
  }

  void raw_text() {
    if (at_ == source_.size()) return;  // as in jinja2, nothing is missing then
    for (std::size_t open = at_; (open = source_.find("{%", open)) != std::string::npos; ++open) {
      const std::size_t size = raw_tag("endraw", open, true);
      if (size == 0) continue;
      add_data(rest().substr(0, open - at_), open + 2 < source_.size() ? source_[open + 2] : ' ',
               true);
      return skip(open - at_ + size);
    }
    refuse("missing end of raw directive");
  }

  void comment() {
    const std::size_t close = source_.find("#}", at_);
    if (close == std::string::npos) refuse("missing end of comment tag");
    const bool sign = close > at_ && (source_[close - 1] == '-' || source_[close - 1] == '+');
    const std::size_t begin = sign ? close - 1 : close;
    skip(begin - at_);
    skip(tag_end(at_, "#}", true));
  }

  /// The words of a tag, and its end. Within brackets, nothing ends it.
  void words(bool variable) {
    std::string open;  // the brackets that are to be closed
    for (;;) {
      const std::size_t end = open.empty() ? tag_end(at_, variable ? "}}" : "%}", !variable) : 0;
      if (end > 0) {
        add(variable ? TokenKind::variable_end : TokenKind::block_end);
        return skip(end);
      }
      if (at_ == source_.size()) return;  // the parser says what is missing
      if (const std::size_t blank = blanks(at_); blank > 0) {
        skip(blank);
        continue;
      }
      word();
      if (tokens_.back().kind == TokenKind::symbol) balance(open, tokens_.back().text[0]);
    }
  }
  void balance(std::string& open, char c) {
    if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c != ')' && c != ']' && c != '}') return;
    if (open.empty() || open.back() != c) refuse(std::string("unexpected '") + c + "'");
    open.pop_back();
  }

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static bool is_word(char c) {
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  }

  void word() {
    const char c = source_[at_];
    if (is_digit(c)) return number();
    if (is_word(c)) {
      std::size_t size = 0;
      while (at_ + size < source_.size() && is_word(source_[at_ + size])) ++size;
      add(TokenKind::name, std::string(rest().substr(0, size)));
      return skip(size);
    }
    if (c == '\'' || c == '"') return string(c);
    for (const std::string_view symbol :
         {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
          "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"})
      if (follows(symbol)) {
        add(TokenKind::symbol, std::string(symbol));
        return skip(symbol.size());
      }
    rendering_.line = line_;
    if (static_cast<unsigned char>(c) >= 0x80) rendering_.unsupported("a name that is not ASCII");
    refuse(std::string("unexpected character '") + c + "'");
  }

  std::size_t digits(std::size_t at) const {
    return std::min(source_.find_first_not_of("0123456789", at), source_.size()) - at;
  }

  void number() {
    const std::size_t whole = digits(at_);
    const bool after_point = at_ > 0 && source_[at_ - 1] == '.';
    std::size_t size = whole;
    if (!after_point && at_ + size < source_.size() && source_[at_ + size] == '.')
      if (const std::size_t fraction = digits(at_ + size + 1)) size += 1 + fraction;
    if (!after_point && at_ + size < source_.size() && (source_[at_ + size] | 0x20) == 'e') {
      std::size_t exponent = size + 1;
      if (at_ + exponent < source_.size() &&
          (source_[at_ + exponent] == '+' || source_[at_ + exponent] == '-'))
        ++exponent;
      if (const std::size_t count = digits(at_ + exponent)) size = exponent + count;
    }
    if (size == whole) return integer();
    add(TokenKind::real).real = real_of_text(rendering_, rest().substr(0, size)).value_or(0);
    skip(size);
  }

  void integer() {
    const std::size_t size = digits(at_);
    const char next = at_ + size < source_.size() ? source_[at_ + size] : ' ';
    rendering_.line = line_;
    if (is_word(next)) rendering_.unsupported("a number with letters or underscores");
    if (source_[at_] == '0' && rest().substr(0, size).find_first_not_of('0') != std::string::npos)
      refuse("a number begins with 0");
    add(TokenKind::integer).integer =
        integer_of_text(rendering_, rest().substr(0, size)).value_or(0);
    skip(size);
  }

  void string(char quote) {
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2u : 1u;
    if (end >= source_.size()) refuse(std::string("unexpected character '") + quote + "'");
    const std::string_view inside = std::string_view(source_).substr(at_ + 1, end - at_ - 1);
    add(TokenKind::string, unescaped(inside));
    skip(end + 1 - at_);
  }

  std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t backslash = std::min(text.find('\\', at), text.size());
      out.append(text.substr(at, backslash - at));
      at = backslash;
      if (at < text.size()) escape(out, text, at);
    }
    return out;
  }

  /// Appends what the escape at a backslash means, and moves after it. Unknown ones stay.
  void escape(std::string& out, std::string_view text, std::size_t& at) {
    const char c = text[at + 1];
    at += 2;
    constexpr std::string_view letters = "abfnrtv\\'\"", meanings = "\a\b\f\n\r\t\v\\'\"";
    if (const auto i = letters.find(c); i != std::string_view::npos)
      return out.push_back(meanings[i]);
    if (c == '\n') return;
    if (c == 'x' || c == 'u' || c == 'U')
      return append_coded(out, text, at, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    if (c >= '0' && c <= '7') {
      char32_t value = static_cast<char32_t>(c - '0');
      for (int n = 1; n < 3 && at < text.size() && text[at] >= '0' && text[at] <= '7'; ++n)
        value = value * 8 + static_cast<char32_t>(text[at++] - '0');
      return append_character(out, value);
    }
    rendering_.line = line_;
    if (c == 'N') rendering_.unsupported("a character by its name, \\N{…}");
    if (static_cast<unsigned char>(c) < 0x80) return out.push_back('\\'), out.push_back(c);
    out.append(escaped_character(next_character(text, --at)));  // as in jinja2: its code
  }
  void append_coded(std::string& out, std::string_view text, std::size_t& at, std::size_t digits) {
    char32_t value = 0;
    for (std::size_t n = 0; n < digits; ++n) {
      const char c = at < text.size() ? static_cast<char>(text[at] | 0x20) : ' ';
      const bool letter = c >= 'a' && c <= 'f';
      if (at >= text.size() || (!is_digit(text[at]) && !letter))
        refuse("truncated \\x, \\u or \\U escape");
      value = value * 16 + static_cast<char32_t>(letter ? c - 'a' + 10 : c - '0');
      ++at;
    }
    if (value > 0x10ffff) refuse("illegal Unicode character");
    rendering_.line = line_;
    if (value >= 0xd800 && value < 0xe000) rendering_.unsupported("a surrogate, which is not text");
    append_character(out, value);
  }

  Rendering& rendering_;
  const std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // the last tag ended with its line
  std::vector<Token> tokens_;
};

}}}}  // namespace idefics::v0::detail::jinja
