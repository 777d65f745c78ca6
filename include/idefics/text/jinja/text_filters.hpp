// Filters that make texts and numbers.
#pragma once

#include <cmath>
#include <string>
#include <string_view>

#include <idefics/text/jinja/call.hpp>
#include <idefics/text/jinja/json.hpp>
#include <idefics/text/jinja/methods.hpp>
#include <idefics/text/jinja/operators.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// A text of the same kind as another: safe if that is.
inline Value text_like(Rendering& r, const Value& model, std::string text) {
  return Value::text(r, std::move(text), model.text().safe);
}

template <std::string (*change)(Rendering&, std::string_view)>
Value filter_changed(Call& c) {
  const Value s = soft_str(c.r, c[0]);
  return text_like(c.r, s, change(c.r, s.bytes()));
}

/// Words begin after white space and after -({[<; jinja2's own rule, not that of str.title().
inline Value filter_title(Call& c) {
  const Value s = soft_str(c.r, c[0]);
  const std::string& text = s.bytes();
  const auto separates = [&](std::size_t at) {
    const char32_t character = next_character(text, at);
    return character < 0x80 && std::string_view("-({[<").find(static_cast<char>(character)) !=
                                   std::string_view::npos
               ? true
               : is_space(character);
  };
  c.r.require(2 * text.size());
  c.r.step(text.size() / 8);
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    append_upper(result, next_character(text, at));
    const std::size_t begin = at;
    const bool between = separates(previous_character(text, begin));
    while (at < text.size() && separates(at) == between) next_character(text, at);
    result += to_lower(std::string_view(text).substr(begin, at - begin));
  }
  return Value::text(c.r, std::move(result));
}

inline Value filter_trim(Call& c) {
  const Value s = soft_str(c.r, c[0]);
  const std::string* set = c.is_none(1) ? nullptr : &c.text(1);
  return text_like(c.r, s, std::string(stripped(c.r, s.bytes(), set, Side::both)));
}

inline Value filter_replace(Call& c) {
  const Value s = str_of(c.r, c[0]), old = str_of(c.r, c[1]), by = str_of(c.r, c[2]);
  const std::int64_t count = c.is_none(3) ? -1 : c.integer(3);
  return Value::text(c.r, replaced(c.r, s.bytes(), old.bytes(), by.bytes(), count));
}

inline Value filter_indent(Call& c) {
  (void)c.text(0);
  std::string indentation;
  if (c.has(1) && c[1].is_text())
    indentation = c[1].bytes();
  else
    c.r.require(static_cast<std::uint64_t>(std::max<std::int64_t>(c.integer(1, 4), 0))),
        indentation.assign(static_cast<std::size_t>(std::max<std::int64_t>(c.integer(1, 4), 0)),
                           ' ');
  const bool first = c.flag(2), blank = c.flag(3);
  const std::string text = c[0].bytes() + "\n";
  c.r.read(text.size() * 8);
  Buffer out(c.r);
  bool begins = true;
  for (const std::string_view line : lines_of(text, false)) {
    if (begins ? first : blank || !line.empty()) {
      if (!begins) out.append("\n");
      out.append(indentation);
    } else if (!begins) {
      out.append("\n");
    }
    out.append(line);
    begins = false;
  }
  return text_like(c.r, c[0], out.take());
}

inline Value filter_format(Call& c) {
  if (!c.rest.positional.empty() && !c.rest.named.empty())
    c.r.fail("can't handle positional and keyword arguments at the same time");
  const Value s = soft_str(c.r, c[0]);
  if (c.rest.named.empty())
    return calculate(c.r, Operator::modulo, s, Value::tuple(c.r, c.rest.positional));
  const auto names = make<Dict>(c.r);
  for (const auto& [name, value] : c.rest.named) names->set(Value::text(c.r, name), value);
  return calculate(c.r, Operator::modulo, s, Value(names));
}

inline Value filter_string(Call& c) { return soft_str(c.r, c[0]); }
inline Value filter_escape(Call& c) { return escape(c.r, c[0]); }
inline Value filter_safe(Call& c) { return Value::text(c.r, str_of(c.r, c[0]).bytes(), true); }

inline Value filter_tojson(Call& c) {
  return Value::text(c.r,
                     JsonWriter(c.r, c.flag(1), c.or_none(2), c.or_none(3), c.flag(4)).write(c[0]));
}

/// float(value), or nothing where that raises TypeError or ValueError.
inline std::optional<double> try_real(Rendering& r, const Value& value) {
  if (value.is(Kind::undefined)) r.fail(value.why_undefined());
  if (value.is_number()) return value.real();
  return value.is_text() ? real_of_text(r, value.bytes()) : std::nullopt;
}

inline Value filter_int(Call& c) {
  if (c.integer(2, 10) != 10) c.r.unsupported("another base than ten");
  const Value otherwise = c.has(1) ? c[1] : Value::integer(0);
  if (c[0].is_integer()) return Value::integer(c[0].integer());
  if (c[0].is(Kind::real) && !std::isnan(c[0].real()))
    return Value::integer(integer_of_real(c.r, c[0].real()));
  if (c[0].is_text())
    if (const auto value = integer_of_text(c.r, c[0].bytes())) return Value::integer(*value);
  const auto value = try_real(c.r, c[0]);
  if (!value || !std::isfinite(*value)) return otherwise;
  return Value::integer(integer_of_real(c.r, *value));
}

inline Value filter_float(Call& c) {
  const auto value = try_real(c.r, c[0]);
  return value ? Value::real(*value) : c.has(1) ? c[1] : Value::real(0);
}

inline Value filter_abs(Call& c) {
  if (c[0].is(Kind::real)) return Value::real(std::fabs(c[0].real()));
  if (!c[0].is_integer())
    c.r.fail("bad operand type for abs(): '" + std::string(type_name(c[0])) + "'");
  return c[0].integer() < 0 ? negated(c.r, c[0]) : Value::integer(c[0].integer());
}

inline Value filter_round(Call& c) {
  if (c[0].is(Kind::undefined)) c.r.fail(c[0].why_undefined());
  const std::string method = c.has(2) ? c.text(2) : "common";
  if (method != "common" && method != "ceil" && method != "floor")
    c.r.fail("method must be common, ceil or floor");
  if (!c[0].is_number())
    c.r.fail("type " + std::string(type_name(c[0])) + " doesn't define __round__ method");
  const std::int64_t digits = c.integer(1, 0);
  if (method == "common")
    return c[0].is_integer() && digits >= 0 ? Value::integer(c[0].integer())
                                            : Value::real(round_real(c.r, c[0].real(), digits));
  if (digits != 0) c.r.unsupported("rounding digits up or down");
  const double whole = method == "ceil" ? std::ceil(c[0].real()) : std::floor(c[0].real());
  return Value::real(static_cast<double>(integer_of_real(c.r, whole)));
}

}}}}  // namespace idefics::v0::detail::jinja
