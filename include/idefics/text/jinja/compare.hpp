// Truth, equality and order of values, and dict, which needs them.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/text/jinja/numbers.hpp>
#include <idefics/text/jinja/value.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

inline bool is_true(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none: return false;
    case Kind::boolean:
    case Kind::integer: return value.integer() != 0;
    case Kind::real: return value.real() != 0;
    case Kind::text: return !value.bytes().empty();
    case Kind::list:
    case Kind::tuple: return !value.items().empty();
    case Kind::dict: return !value.dict().entries().empty();
    case Kind::thing: return value.thing().length().value_or(1) != 0;
  }
  return true;
}

/// -1, 0 or 1; nothing if one is NaN.
inline std::optional<int> compare_numbers(Rendering& r, const Value& a, const Value& b) {
  const auto order = [](auto x, auto y) { return x < y ? -1 : x > y ? 1 : 0; };
  if (a.is_integer() && b.is_integer()) return order(a.integer(), b.integer());
  for (const Value& value : {a, b})
    if (value.is_integer() && std::abs(value.real()) >= 0x1p53)
      r.unsupported("a comparison of a large integer with a float");
  if (std::isnan(a.real()) || std::isnan(b.real())) return std::nullopt;
  return order(a.real(), b.real());
}

inline bool equals(Rendering& r, const Value& a, const Value& b);

inline bool equals(Rendering& r, const std::vector<Value>& a, const std::vector<Value>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!equals(r, a[i], b[i])) return false;
  return true;
}

inline bool equals(Rendering& r, const Dict& a, const Dict& b) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const Dict::Entry& entry : a.entries()) {
    const Value* other = b.find(entry.key);
    if (other == nullptr || !equals(r, entry.value, *other)) return false;
  }
  return true;
}

inline bool equals(Rendering& r, const Value& a, const Value& b) {
  const Nested nested(r);
  r.step();
  if (a.is_number() && b.is_number()) return compare_numbers(r, a, b) == 0;
  if (a.kind() != b.kind()) return false;
  if (a.object() != nullptr && a.object() == b.object()) return true;
  switch (a.kind()) {
    case Kind::text: return r.read(a.bytes().size()), a.bytes() == b.bytes();
    case Kind::list:
    case Kind::tuple: return equals(r, a.items(), b.items());
    case Kind::dict: return equals(r, a.dict(), b.dict());
    case Kind::thing: return a.thing().equals(b.thing());
    default: return true;  // both undefined or both none
  }
}

/// -1, 0 or 1, or nothing where every comparison is false. Fails where Python's `symbol` raises.
inline std::optional<int> compare(Rendering& r, const Value& a, const Value& b,
                                  const char* symbol) {
  const Nested nested(r);
  r.step();
  if (a.is(Kind::undefined)) r.fail(a.why_undefined());
  if (b.is(Kind::undefined)) r.fail(b.why_undefined());
  if (a.is_number() && b.is_number()) return compare_numbers(r, a, b);
  if (a.is_text() && b.is_text()) {
    // UTF-8 sorts as its code points do
    r.read(std::min(a.bytes().size(), b.bytes().size()));
    const int order = a.bytes().compare(b.bytes());
    return order < 0 ? -1 : order > 0 ? 1 : 0;
  }
  if (a.is_sequence() && a.kind() == b.kind()) {
    const auto &x = a.items(), &y = b.items();
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i)
      if (!equals(r, x[i], y[i])) return compare(r, x[i], y[i], symbol);
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  r.fail("'" + std::string(symbol) + "' not supported between instances of '" +
         std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

inline bool is_less(Rendering& r, const Value& a, const Value& b) {
  return compare(r, a, b, "<") == -1;
}

/// Whether a value can be the key of a dict.
inline bool is_hashable(const Value& value) {
  if (value.is(Kind::list) || value.is(Kind::dict)) return false;
  if (!value.is(Kind::tuple)) return true;
  return std::ranges::all_of(value.items(), is_hashable);
}

/// Dicts of templates are small: their keys are compared one by one.
inline const Value* Dict::find(const Value& key) const {
  if (key.is_text()) return find(key.bytes());
  if (!is_hashable(key)) rendering().fail("unhashable type: '" + std::string(type_name(key)) + "'");
  for (const Entry& entry : entries_)
    if (equals(rendering(), entry.key, key)) return &entry.value;
  return nullptr;
}

inline const Value* Dict::find(std::string_view key) const {
  rendering().step(1 + entries_.size() / 16);
  for (const Entry& entry : entries_)
    if (entry.key.is_text() && entry.key.bytes() == key) {
      rendering().read(key.size());
      return &entry.value;
    }
  return nullptr;
}

inline void Dict::set(const Value& key, Value value) {
  contain(std::max(key.depth(), value.depth()));
  if (const Value* found = find(key)) {
    *const_cast<Value*>(found) = std::move(value);
    return;
  }
  grow(2 * sizeof(Entry));
  entries_.push_back({key, std::move(value)});
}

}}}}  // namespace idefics::v0::detail::jinja
