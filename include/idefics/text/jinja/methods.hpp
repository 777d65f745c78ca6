// The other methods of str: case, white space, properties of characters. Methods of lists and
// dicts, and the method of a value by its name.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include <idefics/text/jinja/access.hpp>
#include <idefics/text/jinja/call.hpp>
#include <idefics/text/jinja/format.hpp>
#include <idefics/text/jinja/text_search.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// A text made by `change`, which appends what it makes of the character at a byte.
template <class Change>
std::string changed(Rendering& r, std::string_view text, const Change& change) {
  r.require(2 * text.size());
  r.step(text.size() / 8);
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) change(result, at);
  return result;
}

inline std::string lower_case(Rendering& r, std::string_view text) {
  return changed(r, text,
                 [text](std::string& out, std::size_t& at) { append_lower(out, text, at); });
}
inline std::string upper_case(Rendering& r, std::string_view text) {
  return changed(r, text, [text](std::string& out, std::size_t& at) {
    append_upper(out, next_character(text, at));
  });
}
inline std::string capitalized(Rendering& r, std::string_view text) {
  return changed(r, text, [text](std::string& out, std::size_t& at) {
    at == 0 ? append_title(out, next_character(text, at)) : append_lower(out, text, at);
  });
}

template <std::string (*change)(Rendering&, std::string_view)>
Value text_changed(Call& c) {
  return like_self(c, change(c.r, c[0].bytes()));
}
inline Value text_title(Call& c) {
  const std::string_view text = c[0].bytes();
  bool in_word = false;
  return like_self(c, changed(c.r, text, [&](std::string& out, std::size_t& at) {
                     std::size_t next = at;
                     const char32_t character = next_character(text, next);
                     in_word ? append_lower(out, text, at)
                             : append_title(out, next_character(text, at));
                     in_word = is_cased(character);
                   }));
}
enum class Side : std::uint8_t { left = 1, right = 2, both = 3 };

/// The text without characters of a set (white space, if it is null) at its ends.
inline std::string_view stripped(Rendering& r, std::string_view text, const std::string* set,
                                 Side side) {
  const auto drops = [&](std::size_t at) {
    const std::size_t begin = at;
    const char32_t character = next_character(text, at);
    if (set == nullptr) return is_space(character);
    r.step(1 + set->size() / 64);
    return set->find(text.substr(begin, at - begin)) != std::string::npos;
  };
  const auto sides = static_cast<int>(side);
  while ((sides & 1) != 0 && !text.empty() && drops(0)) {
    std::size_t at = 0;
    next_character(text, at);
    text.remove_prefix(at);
    r.step();
  }
  while ((sides & 2) != 0 && !text.empty()) {
    const std::size_t begin = previous_character(text, text.size());
    if (!drops(begin)) break;
    text.remove_suffix(text.size() - begin);
    r.step();
  }
  return text;
}
template <Side side>
Value text_strip(Call& c) {
  const std::string* set = c.is_none(1) ? nullptr : &c.text(1);
  return like_self(c, std::string(stripped(c.r, c[0].bytes(), set, side)));
}

inline Value text_removeprefix(Call& c) {
  const std::string &text = c[0].bytes(), &prefix = c.text(1);
  return like_self(c, text.starts_with(prefix) ? text.substr(prefix.size()) : text);
}
inline Value text_removesuffix(Call& c) {
  const std::string &text = c[0].bytes(), &suffix = c.text(1);
  return like_self(c, text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text);
}

/// Whether there are characters, and all of them have a property.
template <bool (*property)(char32_t)>
Value text_is(Call& c) {
  const std::string_view text = c[0].bytes();
  c.r.step(text.size() / 8);
  for (std::size_t at = 0; at < text.size();)
    if (!property(next_character(text, at))) return Value::boolean(false);
  return Value::boolean(!text.empty());
}
inline Value text_isascii(Call& c) { return Value::boolean(c[0].text().ascii()); }

/// Whether there are cased characters, and all of these have one case.
inline bool has_only(Rendering& r, std::string_view text, bool (*is_case)(char32_t)) {
  r.step(text.size() / 8);
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t character = next_character(text, at);
    if (is_case(character))
      any = true;
    else if (is_cased(character))
      return false;
  }
  return any;
}
template <bool (*is_case)(char32_t)>
Value text_has_only(Call& c) {
  return Value::boolean(has_only(c.r, c[0].bytes(), is_case));
}
inline Value text_format(Call& c) { return brace_format(c.r, c[0], c.rest); }

inline constexpr Builtin text_methods[] = {
    {"capitalize", text_changed<capitalized>, "self /"},
    {"count", text_count, "self sub [start end] /"},
    {"endswith", text_matches<true>, "self suffix [start end] /"},
    {"find", text_find<false>, "self sub [start end] /"},
    {"format", text_format, "self / *"},
    {"index", text_index<false>, "self sub [start end] /"},
    {"isalnum", text_is<is_alnum>, "self /"},
    {"isalpha", text_is<is_alpha>, "self /"},
    {"isascii", text_isascii, "self /"},
    {"isdecimal", text_is<is_decimal>, "self /"},
    {"isdigit", text_is<is_digit>, "self /"},
    {"islower", text_has_only<is_lower>, "self /"},
    {"isnumeric", text_is<is_numeric>, "self /"},
    {"isspace", text_is<is_space>, "self /"},
    {"isupper", text_has_only<is_upper>, "self /"},
    {"join", text_join, "self iterable /"},
    {"lower", text_changed<lower_case>, "self /"},
    {"lstrip", text_strip<Side::left>, "self [chars] /"},
    {"partition", text_partition<false>, "self sep /"},
    {"removeprefix", text_removeprefix, "self prefix /"},
    {"removesuffix", text_removesuffix, "self suffix /"},
    {"replace", text_replace, "self old new [count] /"},
    {"rfind", text_find<true>, "self sub [start end] /"},
    {"rindex", text_index<true>, "self sub [start end] /"},
    {"rpartition", text_partition<true>, "self sep /"},
    {"rsplit", text_rsplit, "self [sep maxsplit]"},
    {"rstrip", text_strip<Side::right>, "self [chars] /"},
    {"split", text_split, "self [sep maxsplit]"},
    {"splitlines", text_splitlines, "self [keepends]"},
    {"startswith", text_matches<false>, "self prefix [start end] /"},
    {"strip", text_strip<Side::both>, "self [chars] /"},
    {"title", text_title, "self /"},
    {"upper", text_changed<upper_case>, "self /"},
};

/// In Python, and not here: refused when they are called.
inline constexpr auto other_text_methods = not_here(
    {"casefold", "center", "encode", "expandtabs", "format_map", "isidentifier", "isprintable",
     "istitle", "ljust", "maketrans", "rjust", "swapcase", "translate", "zfill"});

inline Value dict_get(Call& c) {
  const Value* found = c[0].dict().find(c[1]);
  return found != nullptr ? *found : c.or_none(2);
}
template <DictPart part>
Value dict_view(Call& c) {
  return Value(make<DictView>(c.r, c[0], part));
}

inline Value same_value(Call& c) { return c[0]; }

inline Value list_count(Call& c) {
  std::int64_t count = 0;
  for (const Value& item : c[0].items()) count += equals(c.r, item, c[1]) ? 1 : 0;
  return Value::integer(count);
}
inline Value list_index(Call& c) {
  const auto& items = c[0].items();
  const auto size = std::ssize(items);
  const auto bound = [&](std::size_t i, std::int64_t otherwise) {
    const std::int64_t n = c.integer(i, otherwise);
    return n < 0 ? std::max<std::int64_t>(n + size, 0) : n;
  };
  for (std::int64_t i = bound(2, 0), end = std::min(bound(3, size), size); i < end; ++i)
    if (equals(c.r, items[static_cast<std::size_t>(i)], c[1])) return Value::integer(i);
  c.r.fail("the value is not in the list");
}

inline constexpr Builtin dict_methods[] = {
    {"copy", same_value, "self /"},
    {"get", dict_get, "self key [default] /"},
    {"items", dict_view<DictPart::items>, "self /"},
    {"keys", dict_view<DictPart::keys>, "self /"},
    {"values", dict_view<DictPart::values>, "self /"},
};
inline constexpr Builtin list_methods[] = {
    {"count", list_count, "self value /"},
    {"index", list_index, "self value [start stop] /"},
    {"copy", same_value, "self /"},
};
inline constexpr auto other_dict_methods = not_here({"fromkeys"});

inline const Builtin* find_method(const Value& object, std::string_view name) {
  switch (object.kind()) {
    case Kind::text: return find_builtin(text_methods, other_text_methods, name);
    case Kind::dict: return find_builtin(dict_methods, other_dict_methods, name);
    case Kind::list: return find_builtin(list_methods, name);
    case Kind::tuple: return find_builtin(std::span(list_methods).first(2), name);
    default: return nullptr;
  }
}

}}}}  // namespace idefics::v0::detail::jinja
