// Tests: what follows "is".
#pragma once

#include <string>
#include <string_view>

#include <idefics/text/jinja/call.hpp>
#include <idefics/text/jinja/methods.hpp>
#include <idefics/text/jinja/operators.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

template <Kind kind>
Value test_kind(Call& c) {
  return Value::boolean(c[0].is(kind));
}

inline Value test_defined(Call& c) { return Value::boolean(!c[0].is(Kind::undefined)); }
template <bool wanted>
Value test_truth(Call& c) {
  return Value::boolean(c[0].is(Kind::boolean) && c[0].truth() == wanted);
}
inline Value test_number(Call& c) { return Value::boolean(c[0].is_number()); }
inline Value test_callable(Call& c) {
  return Value::boolean(c[0].is(Kind::undefined) ||
                        (c[0].is(Kind::thing) && c[0].thing().callable()));
}
inline Value test_sequence(Call& c) {
  const bool yes = c[0].is_text() || c[0].is_sequence() || c[0].is(Kind::dict) ||
                   c[0].is(Kind::undefined) ||
                   (c[0].is(Kind::thing) && c[0].thing().subscriptable());
  return Value::boolean(yes);
}
inline Value test_iterable(Call& c) { return Value::boolean(bool(try_iterate(c.r, c[0]))); }

/// Whether two values are one object; small integers and short texts are shared, as in CPython.
inline Value test_sameas(Call& c) {
  const Value &a = c[0], &b = c[1];
  if (a.kind() != b.kind()) return Value::boolean(false);
  if (a.is(Kind::integer))
    return Value::boolean(a.integer() == b.integer() && a.integer() >= -5 && a.integer() <= 256);
  if (a.is(Kind::boolean)) return Value::boolean(a.truth() == b.truth());
  if (a.is_text() && a.text().length <= 1) return Value::boolean(a.bytes() == b.bytes());
  return Value::boolean(a.is_none() || (a.object() != nullptr && a.object() == b.object()));
}

inline bool remainder_is(Call& c, const Value& divisor, std::int64_t wanted) {
  return equals(c.r, calculate(c.r, Operator::modulo, c[0], divisor), Value::integer(wanted));
}
inline Value test_odd(Call& c) { return Value::boolean(remainder_is(c, Value::integer(2), 1)); }
inline Value test_even(Call& c) { return Value::boolean(remainder_is(c, Value::integer(2), 0)); }
inline Value test_divisibleby(Call& c) { return Value::boolean(remainder_is(c, c[1], 0)); }

template <bool (*is_case)(char32_t)>
Value test_case(Call& c) {
  return Value::boolean(has_only(c.r, str_of(c.r, c[0]).bytes(), is_case));
}

template <Comparator comparator>
Value test_compare(Call& c) {
  return Value::boolean(holds_between(c.r, comparator, c[0], c[1]));
}

inline constexpr Builtin tests[] = {
    {"odd", test_odd, "value"},
    {"even", test_even, "value"},
    {"divisibleby", test_divisibleby, "value num"},
    {"defined", test_defined, "value"},
    {"undefined", test_kind<Kind::undefined>, "value"},
    {"none", test_kind<Kind::none>, "value"},
    {"boolean", test_kind<Kind::boolean>, "value"},
    {"false", test_truth<false>, "value"},
    {"true", test_truth<true>, "value"},
    {"integer", test_kind<Kind::integer>, "value"},
    {"float", test_kind<Kind::real>, "value"},
    {"lower", test_case<is_lower>, "value"},
    {"upper", test_case<is_upper>, "value"},
    {"string", test_kind<Kind::text>, "value"},
    {"mapping", test_kind<Kind::dict>, "value"},
    {"number", test_number, "value"},
    {"sequence", test_sequence, "value"},
    {"iterable", test_iterable, "value"},
    {"callable", test_callable, "obj /"},
    {"sameas", test_sameas, "value other"},
    {"in", test_compare<Comparator::in>, "value seq"},
    {"==", test_compare<Comparator::eq>, "a b /"},
    {"eq", test_compare<Comparator::eq>, "a b /"},
    {"equalto", test_compare<Comparator::eq>, "a b /"},
    {"!=", test_compare<Comparator::ne>, "a b /"},
    {"ne", test_compare<Comparator::ne>, "a b /"},
    {">", test_compare<Comparator::gt>, "a b /"},
    {"gt", test_compare<Comparator::gt>, "a b /"},
    {"greaterthan", test_compare<Comparator::gt>, "a b /"},
    {"ge", test_compare<Comparator::ge>, "a b /"},
    {">=", test_compare<Comparator::ge>, "a b /"},
    {"<", test_compare<Comparator::lt>, "a b /"},
    {"lt", test_compare<Comparator::lt>, "a b /"},
    {"lessthan", test_compare<Comparator::lt>, "a b /"},
    {"<=", test_compare<Comparator::le>, "a b /"},
    {"le", test_compare<Comparator::le>, "a b /"},
};

inline constexpr auto other_tests = not_here({"escaped", "filter", "test"});

inline const Builtin* find_test(std::string_view name) {
  return find_builtin(tests, other_tests, name);
}

}}}}  // namespace idefics::v0::detail::jinja
