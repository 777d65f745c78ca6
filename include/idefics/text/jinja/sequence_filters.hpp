// Filters on sequences: those that return an item, a list or a number.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/jinja/access.hpp>
#include <idefics/text/jinja/call.hpp>
#include <idefics/text/jinja/methods.hpp>
#include <idefics/text/jinja/operators.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// A generator: items that can be walked through once. They are made at once, in jinja2 when they
/// are asked for, which differs only if making one fails.
inline Value generated(Items& items) {
  const Value list = items.list();
  return Value(walk_items(list.object()->rendering(), list));
}

/// What `attribute="a.b.0"` looks up in an item; the item itself without an attribute.
class ItemKey {
 public:
  ItemKey(Rendering& r, const Value& attribute, bool case_sensitive = true,
          Value otherwise = Value::none())
      : rendering_(r), otherwise_(std::move(otherwise)), case_sensitive_(case_sensitive) {
    if (attribute.is_none()) return;
    if (!attribute.is_text()) {
      path_.push_back(attribute);
      return;
    }
    std::string_view rest = attribute.bytes();
    for (bool more = true; more;) {
      const std::size_t end = std::min(rest.find('.'), rest.size());
      const std::string part(rest.substr(0, end));
      const bool number =
          !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
      path_.push_back(number ? Value::integer(integer_of_text(r, part).value_or(0))
                             : Value::text(r, part));
      more = end < rest.size();
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  Value operator()(Value item) const {
    for (const Value& part : path_) {
      item = item_of(rendering_, item, part);
      if (item.is(Kind::undefined) && !otherwise_.is_none()) item = otherwise_;
    }
    if (case_sensitive_ || !item.is_text()) return item;
    return Value::text(rendering_, lower_case(rendering_, item.bytes()));
  }

 private:
  Rendering& rendering_;
  Value otherwise_;
  bool case_sensitive_;
  std::vector<Value> path_;
};

/// Items with the keys that they are sorted by.
using Keyed = std::vector<std::pair<Value, Value>>;

inline void sort(Rendering& r, Keyed& items, bool reverse) {
  r.require(2 * items.size() * sizeof(Keyed::value_type));
  std::ranges::stable_sort(items, [&](const auto& a, const auto& b) {
    return reverse ? is_less(r, b.first, a.first) : is_less(r, a.first, b.first);
  });
}

inline Value list_of_items(Rendering& r, const Keyed& keyed) {
  Items items(r);
  for (const auto& [key, item] : keyed) items.push(item);
  return items.list();
}

inline Value filter_sort(Call& c) {
  // "a,b" sorts by a, then by b
  std::vector<ItemKey> keys;
  const Value attribute = c.or_none(3);
  const bool case_sensitive = c.flag(2);
  if (!attribute.is_text()) keys.emplace_back(c.r, attribute, case_sensitive);
  std::string_view rest = attribute.is_text() ? std::string_view(attribute.bytes()) : "";
  for (bool more = attribute.is_text(); more;) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    keys.emplace_back(c.r, Value::text(c.r, std::string(rest.substr(0, end))), case_sensitive);
    more = end < rest.size();
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  Keyed keyed;
  for (const Value& item : list_of(c.r, c[0])) {
    std::vector<Value> key;
    for (const ItemKey& one : keys) key.push_back(one(item));
    keyed.emplace_back(Value::list(c.r, std::move(key)), item);
  }
  sort(c.r, keyed, c.strict_flag(1));
  return list_of_items(c.r, keyed);
}

inline Value filter_dictsort(Call& c) {
  if (c[0].is(Kind::undefined)) c.r.fail(c[0].why_undefined());
  if (!c[0].is(Kind::dict)) c.r.fail(object_is(c[0]) + "not a mapping");
  const std::string by = c.has(2) ? c.text(2) : "key";
  if (by != "key" && by != "value") c.r.fail("dictsort sorts by \"key\" or \"value\"");
  const ItemKey key(c.r, Value::none(), c.flag(1));
  Keyed keyed;
  for (const Dict::Entry& entry : c[0].dict().entries())
    keyed.emplace_back(key(by == "key" ? entry.key : entry.value),
                       part_of(c.r, entry, DictPart::items));
  sort(c.r, keyed, c.strict_flag(3));
  return list_of_items(c.r, keyed);
}

template <bool greatest>
Value extreme(Call& c) {
  const ItemKey key(c.r, c.or_none(2), c.flag(1));
  const auto walk = iterate(c.r, c[0]);
  auto best = next(*walk);
  if (!best) return Value::undefined(c.r, "No aggregated item, sequence was empty.");
  Value best_key = key(*best);
  while (const auto item = next(*walk)) {
    const Value other = key(*item);
    const auto order = compare(c.r, other, best_key, greatest ? ">" : "<");
    if (order == (greatest ? 1 : -1)) best = item, best_key = other;
  }
  return *best;
}

inline Value filter_sum(Call& c) {
  const ItemKey key(c.r, c.or_none(1));
  Value sum = c.has(2) ? c[2] : Value::integer(0);
  const auto walk = iterate(c.r, c[0]);
  if (sum.is_text()) c.r.fail("sum() can't sum strings [use ''.join(seq) instead]");
  while (const auto item = next(*walk)) sum = calculate(c.r, Operator::add, sum, key(*item));
  return sum;
}

inline Value filter_join(Call& c) {
  const ItemKey key(c.r, c.or_none(2));
  const Value between = c.has(1) ? str_of(c.r, c[1]) : Value::text(c.r, "");
  Buffer out(c.r);
  bool first = true;
  for (const auto walk = iterate(c.r, c[0]); const auto item = next(*walk); first = false) {
    if (!first) out.append(between.bytes());
    print_str(out, key(*item));
  }
  return Value::text(c.r, out.take());
}

inline Value filter_first(Call& c) {
  const auto item = next(*iterate(c.r, c[0]));
  return item ? *item : Value::undefined(c.r, "No first item, sequence was empty.");
}
inline bool is_iterator(const Value& value) {
  return value.is(Kind::thing) && dynamic_cast<const Iterator*>(&value.thing()) != nullptr;
}
/// The items in reverse; fails for iterators, as reversed() does.
inline std::vector<Value> reversed(Call& c) {
  if (is_iterator(c[0])) c.r.fail(object_is(c[0]) + "not reversible");
  std::vector<Value> items = list_of(c.r, c[0]);
  std::ranges::reverse(items);
  return items;
}
inline Value filter_last(Call& c) {
  const auto items = reversed(c);
  return items.empty() ? Value::undefined(c.r, "No last item, sequence was empty.") : items[0];
}
inline Value filter_length(Call& c) { return Value::integer(length_of(c.r, c[0])); }
inline Value filter_list(Call& c) { return Value::list(c.r, list_of(c.r, c[0])); }

inline Value filter_reverse(Call& c) {
  if (c[0].is_text()) return slice_of(c.r, c[0], Value::none(), Value::none(), Value::integer(-1));
  const bool iterator = is_iterator(c[0]);
  std::vector<Value> items = list_of(c.r, c[0]);
  std::ranges::reverse(items);
  const Value list = Value::list(c.r, std::move(items));
  return iterator ? list : Value(walk_items(c.r, list));
}

inline Value filter_default(Call& c) {
  const bool missing = c[0].is(Kind::undefined) || (c.flag(2) && !is_true(c[0]));
  if (!missing) return c[0];
  return c.has(1) ? c[1] : Value::text(c.r, "");
}

inline Value filter_attr(Call& c) {
  const auto found = python_attribute(c.r, c[0], c.text(1));
  return found ? *found
               : Value::undefined(
                     c.r, "'" + described(c[0]) + "' has no attribute " + in_quotes(c.text(1)));
}

}}}}  // namespace idefics::v0::detail::jinja
