// Methods of str that search, split and join. Positions count characters.
#pragma once

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/text/jinja/call.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// A text of the same kind as the method's own: safe if that is.
inline Value like_self(Call& c, std::string text) {
  return Value::text(c.r, std::move(text), c[0].text().safe);
}

/// The part of a text that find(), startswith() and the like consider: text[start:end].
struct Window {
  /// The arguments `start` and `end` are the first-th and the next.
  Window(Call& c, std::size_t first) {
    const Text& text = c[0].text();
    const auto length = static_cast<std::int64_t>(text.length);
    const auto bound = [&](std::size_t i, std::int64_t otherwise) {
      const std::int64_t n = c.is_none(i) ? otherwise : c.integer(i);
      return n < 0 ? std::max<std::int64_t>(n + length, 0) : n;
    };
    begin = bound(first, 0);
    const std::int64_t end = std::min(bound(first + 1, length), length);
    if (begin > end) return;
    if (!text.ascii()) c.r.read(text.bytes.size());
    const auto byte_of = [&text](std::int64_t i) {
      return text.ascii() ? static_cast<std::size_t>(i)
                          : byte_of_character(text.bytes, static_cast<std::size_t>(i));
    };
    const std::size_t from = byte_of(begin);
    view = std::string_view(text.bytes).substr(from, byte_of(end) - from);
    exists = true;
  }

  std::string_view view;
  std::int64_t begin = 0;  // in characters
  bool exists = false;     // not where start is after the end
};

inline std::size_t find_last(Rendering& r, std::string_view text, std::string_view part) {
  count_search(r, text, part);
  return text.rfind(part);
}

template <bool last>
std::int64_t position_of(Call& c) {
  const std::string& part = c.text(1);
  const Window window(c, 2);
  if (!window.exists) return -1;
  const std::size_t found =
      last ? find_last(c.r, window.view, part) : find_text(c.r, window.view, part);
  if (found == std::string_view::npos) return -1;
  return window.begin + static_cast<std::int64_t>(count_characters(window.view.substr(0, found)));
}
template <bool last>
Value text_find(Call& c) {
  return Value::integer(position_of<last>(c));
}
template <bool last>
Value text_index(Call& c) {
  const std::int64_t position = position_of<last>(c);
  if (position < 0) c.r.fail("substring not found");
  return Value::integer(position);
}

inline Value text_count(Call& c) {
  const std::string& part = c.text(1);
  const Window window(c, 2);
  if (!window.exists) return Value::integer(0);
  if (part.empty())
    return Value::integer(static_cast<std::int64_t>(count_characters(window.view)) + 1);
  std::int64_t count = 0;
  for (std::size_t at = 0; (at = find_text(c.r, window.view, part, at)) != std::string_view::npos;
       at += part.size())
    ++count;
  return Value::integer(count);
}

/// startswith and endswith: of a text, or of any in a tuple.
template <bool at_end>
Value text_matches(Call& c) {
  const Window window(c, 2);
  const auto matches = [&](const Value& part) {
    if (!part.is_text())
      c.r.fail("a tuple for startswith or endswith must only contain str, not " +
               std::string(type_name(part)));
    c.r.read(part.bytes().size());
    return window.exists &&
           (at_end ? window.view.ends_with(part.bytes()) : window.view.starts_with(part.bytes()));
  };
  if (!c[1].is(Kind::tuple)) return Value::boolean(matches(c[1]));
  return Value::boolean(std::ranges::any_of(c[1].items(), matches));
}

/// How often split() and the like split at most.
inline std::int64_t split_limit(Call& c, std::size_t i) {
  const std::int64_t limit = c.integer(i, -1);
  return limit < 0 ? std::numeric_limits<std::int64_t>::max() : limit;
}

/// The words of a text, divided by white space.
inline Value split_words(Call& c, std::int64_t limit, bool from_end) {
  std::string_view text = c[0].bytes();
  c.r.read(text.size() * 16);
  std::vector<std::string_view> words;
  const auto is_blank = [](std::string_view all, std::size_t at) {
    return is_space(next_character(all, at));
  };
  while (!(text = trimmed(text)).empty()) {
    if (limit-- == 0) {
      // the rest keeps its white space, on the side that is not split
      const std::string_view all = c[0].bytes();
      const auto begin = static_cast<std::size_t>(text.data() - all.data());
      words.push_back(from_end ? all.substr(0, begin + text.size()) : all.substr(begin));
      break;
    }
    std::size_t cut = from_end ? text.size() : 0;
    if (from_end)
      while (cut > 0 && !is_blank(text, previous_character(text, cut)))
        cut = previous_character(text, cut);
    else
      while (cut < text.size() && !is_blank(text, cut)) next_character(text, cut);
    words.push_back(from_end ? text.substr(cut) : text.substr(0, cut));
    text = from_end ? text.substr(0, cut) : text.substr(cut);
  }
  if (from_end) std::ranges::reverse(words);
  Items items(c.r);
  for (const std::string_view word : words) items.push(like_self(c, std::string(word)));
  return items.list();
}

inline Value text_split(Call& c) {
  std::int64_t limit = split_limit(c, 2);
  if (c.is_none(1)) return split_words(c, limit, false);
  const std::string &text = c[0].bytes(), &separator = c.text(1);
  if (separator.empty()) c.r.fail("empty separator");
  Items items(c.r);
  std::size_t begin = 0;
  while (limit-- > 0) {
    const std::size_t found = find_text(c.r, text, separator, begin);
    if (found == std::string::npos) break;
    items.push(like_self(c, text.substr(begin, found - begin)));
    begin = found + separator.size();
  }
  items.push(like_self(c, text.substr(begin)));
  return items.list();
}

inline Value text_rsplit(Call& c) {
  std::int64_t limit = split_limit(c, 2);
  if (c.is_none(1)) return split_words(c, limit, true);
  std::string_view text = c[0].bytes();
  const std::string& separator = c.text(1);
  if (separator.empty()) c.r.fail("empty separator");
  std::vector<Value> parts;
  while (limit-- > 0) {
    count_search(c.r, text, separator);
    const std::size_t found = text.rfind(separator);
    if (found == std::string::npos) break;
    parts.push_back(like_self(c, std::string(text.substr(found + separator.size()))));
    text = text.substr(0, found);
  }
  parts.push_back(like_self(c, std::string(text)));
  std::ranges::reverse(parts);
  return Value::list(c.r, std::move(parts));
}

/// The lines of a text, with or without their ends; "\r\n" is one end.
inline std::vector<std::string_view> lines_of(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at;
    const char32_t c = next_character(text, at);
    if (!is_line_end(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

inline Value text_splitlines(Call& c) {
  c.r.read(c[0].bytes().size() * 8);
  Items items(c.r);
  for (const std::string_view line : lines_of(c[0].bytes(), c.strict_flag(1)))
    items.push(like_self(c, std::string(line)));
  return items.list();
}

/// The text before, in and after the first or last separator.
template <bool last>
Value text_partition(Call& c) {
  const std::string &text = c[0].bytes(), &separator = c.text(1);
  if (separator.empty()) c.r.fail("empty separator");
  const std::size_t found =
      last ? find_last(c.r, text, separator) : find_text(c.r, text, separator);
  const auto three = [&](std::string a, std::string b, std::string d) {
    return Value::tuple(
        c.r, {like_self(c, std::move(a)), like_self(c, std::move(b)), like_self(c, std::move(d))});
  };
  if (found == std::string::npos) return last ? three("", "", text) : three(text, "", "");
  return three(text.substr(0, found), separator, text.substr(found + separator.size()));
}

inline Value text_join(Call& c) {
  Buffer out(c.r);
  std::int64_t i = 0;
  for (const auto walk = iterate(c.r, c[1]); const auto item = next(*walk); ++i) {
    if (!item->is_text())
      c.r.fail("sequence item " + std::to_string(i) + ": expected str instance, " +
               std::string(type_name(*item)) + " found");
    if (i > 0) out.append(c[0].bytes());
    out.append(c[0].text().safe ? escape(c.r, *item).bytes() : item->bytes());
  }
  return like_self(c, out.take());
}

/// `text` with occurrences of `old` replaced, `count` of them at most if that is not negative.
inline std::string replaced(Rendering& r, std::string_view text, std::string_view old,
                            std::string_view by, std::int64_t count) {
  if (count < 0) count = std::numeric_limits<std::int64_t>::max();
  Buffer out(r);
  std::size_t begin = 0;
  for (; count > 0; --count) {
    std::size_t found = begin;
    if (!old.empty()) {
      found = find_text(r, text, old, begin);
      if (found == std::string_view::npos) break;
      out.append(text.substr(begin, found - begin));
      out.append(by);
      begin = found + old.size();
      continue;
    }
    r.step();
    out.append(by);  // nothing is found before every character, and at the end
    if (begin == text.size()) break;
    next_character(text, begin);
    out.append(text.substr(found, begin - found));
  }
  out.append(text.substr(begin));
  return out.take();
}

inline Value text_replace(Call& c) {
  (void)c.text(2);  // must be a text
  const Value by = c[0].text().safe ? escape(c.r, c[2]) : c[2];
  return like_self(c, replaced(c.r, c[0].bytes(), c.text(1), by.bytes(), c.integer(3, -1)));
}

}}}}  // namespace idefics::v0::detail::jinja
