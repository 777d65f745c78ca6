// Pictures inside of one text, as text-generation-inference accepts them: "What is ![](URL) this?".
// Source: the expression !\[[^\]]*\]\((.*?)\s*(\"(?:.*[^\"])\")?\s*\) of its server, which is matched
// here in linear time.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/core/config.hpp>

namespace idefics { inline namespace v0 {

/// A part of a text: words, or the URL of a picture.
struct MarkdownPart {
  std::string text;
  bool is_url = false;
};

namespace detail {

/// Finds what follows positions that only grow, looking at each character once.
class MarkdownScan {
 public:
  static constexpr std::size_t none = std::string_view::npos;
  struct Match {
    std::size_t url_end, end;  // of the whole picture; none if there is no picture
  };

  explicit MarkdownScan(std::string_view text) : text_(text) {}

  /// The first `]` from `at` on.
  std::size_t bracket(std::size_t at) { return next(bracket_, ']', at); }

  /// The picture whose URL begins at `begin`: it ends at the first parenthesis, or at a title.
  Match picture(std::size_t begin) {
    const std::size_t line_end = std::min(next(newline_, '\n', begin), text_.size());
    if (line_end_ != line_end) line_end_ = line_end, after_ = solid(line_end);
    const std::size_t after = after_;  // spaces before the end may include line ends
    const auto reached = [&](std::size_t at) { return at < line_end || at == after; };
    const std::size_t paren = next(paren_, ')', begin), quote = next(quote_, '"', begin);
    std::size_t place = none, end = none;
    if (paren != none && reached(paren)) place = paren, end = paren + 1;
    if (quote < place && reached(quote))
      if (const std::size_t closed = title_end(line_, quote); closed != none)
        place = quote, end = closed;
    // a quotation mark after the line can also follow one within it that begins no title
    if (end == none && after < text_.size() && text_[after] == '"' && quote < line_end)
      if (const std::size_t closed = title_end(next_line_, after); closed != none)
        place = after, end = closed;
    if (end == none) return {none, none};
    std::size_t url_end = place;
    while (url_end > begin && is_space(text_[url_end - 1])) --url_end;
    return {url_end, end};
  }

 private:
  static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
  std::size_t solid(std::size_t at) const {
    while (at < text_.size() && is_space(text_[at])) ++at;
    return at;
  }
  std::size_t next(std::size_t& known, char c, std::size_t at) {
    if (known == none || (known < at && known != text_.size())) known = at;
    if (known <= at) known = std::min(text_.find(c, at), text_.size());
    return known == text_.size() ? none : known;
  }
  struct Titles {  // of a line
    std::size_t begin = 0, end = 0;
    std::size_t closing = none, picture_end = none;  // of the last title of a picture
  };
  /// The end of a picture whose title begins at `quote`, with the last `"` that a `)` follows.
  std::size_t title_end(Titles& line, std::size_t quote) {
    if (quote >= line.end || quote < line.begin) line = find_titles(quote);
    return line.closing != none && line.closing > quote + 1 ? line.picture_end : none;
  }
  Titles find_titles(std::size_t at) const {
    Titles line{.begin = at, .end = std::min(text_.find('\n', at), text_.size())};
    // the last character of a title may be the line end
    for (std::size_t i = std::min(line.end + 2, text_.size()); i-- > at + 1;) {
      if (text_[i] != '"' || text_[i - 1] == '"') continue;
      const std::size_t close = solid(i + 1);
      if (close >= text_.size() || text_[close] != ')') continue;
      line.closing = i, line.picture_end = close + 1;
      break;
    }
    return line;
  }

  std::string_view text_;
  std::size_t bracket_ = none, newline_ = none, paren_ = none, quote_ = none;
  std::size_t line_end_ = none, after_ = none;
  Titles line_, next_line_;
};

}  // namespace detail

/// Splits a text at the pictures in it. The URLs are not checked.
inline std::vector<MarkdownPart> split_markdown_pictures(std::string_view text) {
  std::vector<MarkdownPart> parts;
  detail::MarkdownScan scan(text);
  std::size_t copied = 0;
  const auto add_words = [&](std::size_t end) {
    if (end > copied) parts.push_back({std::string(text.substr(copied, end - copied))});
  };
  for (std::size_t at = 0; (at = text.find("![", at)) != std::string_view::npos;) {
    const std::size_t bracket = scan.bracket(at + 2);
    if (bracket == std::string_view::npos) break;
    const std::size_t begin = bracket + 2;
    const bool opens = begin <= text.size() && text.substr(bracket, 2) == "](";
    const auto found = opens ? scan.picture(begin) : detail::MarkdownScan::Match{0, text.npos};
    if (found.end == std::string_view::npos) {
      ++at;
      continue;
    }
    add_words(at);
    parts.push_back({std::string(text.substr(begin, found.url_end - begin)), true});
    copied = at = found.end;
  }
  add_words(text.size());
  return parts;
}

}}  // namespace idefics::v0
