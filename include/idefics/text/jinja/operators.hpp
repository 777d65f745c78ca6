// The arithmetic operators.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <idefics/text/jinja/format.hpp>
#include <idefics/text/jinja/print.hpp>
#include <idefics/text/jinja/value.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

enum class Operator : std::uint8_t { add, subtract, multiply, divide, floor_divide, modulo, power };

inline const char* symbol_of(Operator op) {
  switch (op) {
    case Operator::add: return "+";
    case Operator::subtract: return "-";
    case Operator::multiply: return "*";
    case Operator::divide: return "/";
    case Operator::floor_divide: return "//";
    case Operator::modulo: return "%";
    case Operator::power: return "**";
  }
  return "";
}

inline Value on_integers(Rendering& r, Operator op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool large = false;
  switch (op) {
    case Operator::add: large = __builtin_add_overflow(a, b, &result); break;
    case Operator::subtract: large = __builtin_sub_overflow(a, b, &result); break;
    case Operator::multiply: large = __builtin_mul_overflow(a, b, &result); break;
    case Operator::divide:
      if (b == 0) r.fail("division by zero");
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case Operator::floor_divide: result = floor_divide(r, a, b); break;
    case Operator::modulo: result = floor_modulo(r, a, b); break;
    case Operator::power:
      if (b < 0) r.unsupported("a negative power");
      result = power(r, a, b);
  }
  if (large) refuse_large(r);
  return Value::integer(result);
}

inline Value on_reals(Rendering& r, Operator op, double a, double b) {
  switch (op) {
    case Operator::add: return Value::real(a + b);
    case Operator::subtract: return Value::real(a - b);
    case Operator::multiply: return Value::real(a * b);
    case Operator::divide:
      if (b == 0) r.fail("float division by zero");
      return Value::real(a / b);
    default: r.unsupported(std::string("the operator ") + symbol_of(op) + " for floats");
  }
  return {};
}

/// a + b of texts. If one is safe, the other is escaped.
inline Value concatenate(Rendering& r, const Value& a, const Value& b) {
  const bool safe = a.text().safe || b.text().safe;
  const Value left = safe ? escape(r, a) : a, right = safe ? escape(r, b) : b;
  const std::size_t size = left.bytes().size() + right.bytes().size();
  r.require(size);
  std::string text;
  text.reserve(size);
  return Value::text(r, text.append(left.bytes()).append(right.bytes()), safe);
}

inline Value joined_lists(Rendering& r, const Value& a, const Value& b) {
  const auto &left = a.items(), &right = b.items();
  r.require((left.size() + right.size()) * sizeof(Value));
  std::vector<Value> items;
  items.reserve(left.size() + right.size());
  items.insert(items.end(), left.begin(), left.end());
  items.insert(items.end(), right.begin(), right.end());
  return a.is(Kind::list) ? Value::list(r, std::move(items)) : Value::tuple(r, std::move(items));
}

/// A text, list or tuple, repeated.
inline Value repeated(Rendering& r, const Value& value, std::int64_t times) {
  const auto count = static_cast<std::uint64_t>(std::max<std::int64_t>(times, 0));
  const std::size_t size = value.is_text() ? value.bytes().size() : value.items().size();
  if (size > 0) r.require(count > r.limits().memory ? count : count * size);
  if (size == 0 || count == 0) {
    if (value.is_text()) return Value::text(r, "", value.text().safe);
    return value.is(Kind::list) ? Value::list(r, {}) : Value::tuple(r, {});
  }
  if (value.is_text()) {
    Buffer out(r);
    for (std::uint64_t i = 0; i < count; ++i) r.step(), out.append(value.bytes());
    return Value::text(r, out.take(), value.text().safe);
  }
  Items items(r);
  for (std::uint64_t i = 0; i < count; ++i)
    for (const Value& item : value.items()) items.push(item);
  return value.is(Kind::list) ? items.list() : Value::tuple(r, items.take());
}

inline Value calculate(Rendering& r, Operator op, const Value& a, const Value& b) {
  if (a.is(Kind::undefined)) r.fail(a.why_undefined());
  if (op == Operator::modulo && a.is_text()) return percent_format(r, a, b);
  if (b.is(Kind::undefined)) r.fail(b.why_undefined());
  if (a.is_integer() && b.is_integer()) return on_integers(r, op, a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return on_reals(r, op, a.real(), b.real());
  if (op == Operator::add && a.is_text() && b.is_text()) return concatenate(r, a, b);
  if (op == Operator::add && a.is_sequence() && a.kind() == b.kind()) return joined_lists(r, a, b);
  const auto repeats = [](const Value& value) { return value.is_text() || value.is_sequence(); };
  if (op == Operator::multiply && repeats(a) && b.is_integer()) return repeated(r, a, b.integer());
  if (op == Operator::multiply && a.is_integer() && repeats(b)) return repeated(r, b, a.integer());
  if (op == Operator::add && (a.is_text() || a.is_sequence())) {
    const std::string type(type_name(a));
    r.fail("can only concatenate " + type + " (not \"" + std::string(type_name(b)) + "\") to " +
           type);
  }
  r.fail("unsupported operand type(s) for " + std::string(symbol_of(op)) + ": '" +
         std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

inline Value negated(Rendering& r, const Value& value) {
  if (value.is(Kind::undefined)) r.fail(value.why_undefined());
  if (value.is(Kind::real)) return Value::real(-value.real());
  if (!value.is_integer())
    r.fail("bad operand type for unary -: '" + std::string(type_name(value)) + "'");
  return on_integers(r, Operator::subtract, 0, value.integer());
}

/// +value, which turns a boolean into an integer.
inline Value unary_plus(Rendering& r, const Value& value) {
  if (value.is(Kind::undefined)) r.fail(value.why_undefined());
  if (!value.is_number())
    r.fail("bad operand type for unary +: '" + std::string(type_name(value)) + "'");
  return value.is(Kind::real) ? value : Value::integer(value.integer());
}

}}}}  // namespace idefics::v0::detail::jinja
