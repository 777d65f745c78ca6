// str() and repr() of values.
#pragma once

#include <string>
#include <string_view>

#include <idefics/text/jinja/numbers.hpp>
#include <idefics/text/jinja/value.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// repr() of a str: in single quotes, unless it has these and no double ones.
inline void print_quoted(Buffer& out, std::string_view text) {
  const bool twice =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = twice ? '"' : '\'';
  std::string quoted(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_character(text, at);
    if (c == '\\' || c == static_cast<char32_t>(quote))
      quoted.append(1, '\\').append(1, static_cast<char>(c));
    else if (c == '\n' || c == '\r' || c == '\t')
      quoted.append(c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    else if (is_printable(c))
      quoted.append(text.substr(begin, at - begin));
    else
      quoted.append(escaped_character(c));
    if (quoted.size() >= 4096) out.append(std::exchange(quoted, {}));
  }
  out.append(quoted + quote);
}

inline void print_repr(Buffer& out, const Value& value);

inline void print_items(Buffer& out, const std::vector<Value>& items) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(", ");
    print_repr(out, items[i]);
  }
}

inline void print_dict(Buffer& out, const Dict& dict) {
  out.append("{");
  for (const Dict::Entry& entry : dict.entries()) {
    if (&entry != dict.entries().data()) out.append(", ");
    print_repr(out, entry.key);
    out.append(": ");
    print_repr(out, entry.value);
  }
  out.append("}");
}

inline void print_repr(Buffer& out, const Value& value) {
  const Nested nested(out.rendering());
  out.rendering().step();
  switch (value.kind()) {
    case Kind::undefined: return out.append("Undefined");
    case Kind::none: return out.append("None");
    case Kind::boolean: return out.append(value.truth() ? "True" : "False");
    case Kind::integer: return out.append(std::to_string(value.integer()));
    case Kind::real: return out.append(text_of_real(value.real()));
    case Kind::text:
      if (value.text().safe) out.append("Markup(");
      print_quoted(out, value.bytes());
      if (value.text().safe) out.append(")");
      return;
    case Kind::list:
    case Kind::tuple:
      out.append(value.is(Kind::list) ? "[" : "(");
      print_items(out, value.items());
      if (value.is(Kind::tuple) && value.items().size() == 1) out.append(",");
      return out.append(value.is(Kind::list) ? "]" : ")");
    case Kind::dict: return print_dict(out, value.dict());
    case Kind::thing: return value.thing().print(out);
  }
}

inline void print_str(Buffer& out, const Value& value) {
  if (value.is_text())
    out.append(value.bytes());
  else if (!value.is(Kind::undefined))
    print_repr(out, value);
}

/// str(value), as a text.
inline Value str_of(Rendering& r, const Value& value) {
  if (value.is_text() && !value.text().safe) return value;
  Buffer out(r);
  print_str(out, value);
  return Value::text(r, out.take());
}
/// The same, except that a safe text stays safe: markupsafe's soft_str.
inline Value soft_str(Rendering& r, const Value& value) {
  return value.is_text() ? value : str_of(r, value);
}

/// The text with the five characters that HTML escapes as entities.
inline std::string escaped_html(Rendering& r, std::string_view text) {
  Buffer out(r);
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const char* entity = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '\'' ? "&#39;"
                         : c == '"'  ? "&#34;"
                                     : nullptr;
    if (entity == nullptr) continue;
    out.append(text.substr(begin, at - begin));
    out.append(entity);
    begin = at + 1;
  }
  out.append(text.substr(begin));
  return out.take();
}
/// markupsafe's escape(): a safe text.
inline Value escape(Rendering& r, const Value& value) {
  if (value.is_text() && value.text().safe) return value;
  return Value::text(r, escaped_html(r, str_of(r, value).bytes()), true);
}

}}}}  // namespace idefics::v0::detail::jinja
