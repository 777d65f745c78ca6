// Walking through values: iterators, ranges, views of dicts, lengths, `in` and other comparisons.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <idefics/text/jinja/compare.hpp>
#include <idefics/text/jinja/print.hpp>
#include <idefics/text/jinja/value.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// Items that a function of their position returns.
template <class At>
class Positions final : public Iterator {
 public:
  Positions(Rendering& r, const Value& owner, std::int64_t count, At at)
      : Iterator(r, sizeof(Positions), owner.depth() + 1),
        owner_(owner),
        at_(std::move(at)),
        count_(count) {}
  std::optional<Value> next() override {
    return next_ == count_ ? std::nullopt : std::optional(at_(next_++));
  }

 private:
  Value owner_;  // keeps what `at` reads
  At at_;
  std::int64_t count_, next_ = 0;
};

template <class At>
Ref<Iterator> positions(Rendering& r, const Value& owner, std::int64_t count, At at) {
  return make<Positions<At>>(r, owner, count, std::move(at));
}

/// The items of a list or tuple.
inline Ref<Iterator> walk_items(Rendering& r, const Value& list) {
  const auto& items = list.items();
  return positions(r, list, std::ssize(items),
                   [&items](std::int64_t i) { return items[static_cast<std::size_t>(i)]; });
}

/// The characters of a text.
inline Ref<Iterator> walk_characters(Rendering& r, const Value& text) {
  return positions(r, text, static_cast<std::int64_t>(text.text().length),
                   [&r, &bytes = text.bytes(), at = std::size_t{0}](std::int64_t) mutable {
                     const std::size_t begin = at;
                     next_character(bytes, at);
                     return Value::text(r, bytes.substr(begin, at - begin));
                   });
}

enum class DictPart { keys, values, items };

inline Value part_of(Rendering& r, const Dict::Entry& entry, DictPart part) {
  if (part == DictPart::items) return Value::tuple(r, {entry.key, entry.value});
  return part == DictPart::keys ? entry.key : entry.value;
}

inline Ref<Iterator> walk_dict(Rendering& r, const Value& dict, DictPart part) {
  const auto& entries = dict.dict().entries();
  return positions(r, dict, std::ssize(entries), [&r, &entries, part](std::int64_t i) {
    return part_of(r, entries[static_cast<std::size_t>(i)], part);
  });
}

/// dict.keys(), dict.values(), dict.items().
class DictView final : public Thing {
 public:
  DictView(Rendering& r, Value dict, DictPart part)
      : Thing(r, sizeof(DictView), dict.depth() + 1), dict_(std::move(dict)), part_(part) {}
  std::string_view type_name() const override {
    return part_ == DictPart::keys     ? "dict_keys"
           : part_ == DictPart::values ? "dict_values"
                                       : "dict_items";
  }
  Ref<Iterator> iterate() override { return walk_dict(rendering(), dict_, part_); }
  std::optional<std::int64_t> length() override { return std::ssize(dict_.dict().entries()); }
  bool equals(const Thing& other) override {
    const auto* view = dynamic_cast<const DictView*>(&other);
    if (view == nullptr || part_ == DictPart::values || view->part_ == DictPart::values)
      return this == &other;
    rendering().unsupported("a comparison of views of dicts");
  }
  void print(Buffer& out) override {
    out.append(type_name());
    out.append("([");
    bool first = true;
    for (const auto items = iterate(); const auto item = items->next(); first = false) {
      if (!first) out.append(", ");
      print_repr(out, *item);
    }
    out.append("])");
  }

 private:
  Value dict_;
  DictPart part_;
};

class Range final : public Thing {
 public:
  Range(Rendering& r, std::int64_t start, std::int64_t stop, std::int64_t step)
      : Thing(r, sizeof(Range), 1), start_(start), stop_(stop), step_(step) {
    for (const std::int64_t bound : {start, stop, step})
      if (bound > limit || bound < -limit) refuse_large(r);
    const auto distance = [](std::int64_t low, std::int64_t high) {
      return low >= high ? 0 : static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
    };
    const std::uint64_t span = step > 0 ? distance(start, stop) : distance(stop, start);
    const std::uint64_t stride =
        step > 0 ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
    const std::uint64_t count = span == 0 ? 0 : (span - 1) / stride + 1;
    if (count > 100000) r.fail("range too big: the sandbox blocks ranges of more than 100000");
    count_ = static_cast<std::int64_t>(count);
  }
  std::string_view type_name() const override { return "range"; }
  std::optional<std::int64_t> length() override { return count_; }
  bool subscriptable() const override { return true; }
  std::int64_t at(std::int64_t i) const { return start_ + i * step_; }
  std::optional<Value> item(const Value& key) override {
    if (!key.is_integer()) return std::nullopt;
    const std::int64_t i = key.integer() < 0 ? key.integer() + count_ : key.integer();
    return i < 0 || i >= count_ ? std::nullopt : std::optional(Value::integer(at(i)));
  }
  Ref<Iterator> iterate() override {
    return positions(rendering(), Value(Ref<Thing>(this)), count_,
                     [this](std::int64_t i) { return Value::integer(at(i)); });
  }
  bool equals(const Thing& other) override {
    const auto* range = dynamic_cast<const Range*>(&other);
    return range != nullptr && count_ == range->count_ &&
           (count_ == 0 || (start_ == range->start_ && (count_ == 1 || step_ == range->step_)));
  }
  void print(Buffer& out) override {
    out.append("range(" + std::to_string(start_) + ", " + std::to_string(stop_) +
               (step_ == 1 ? "" : ", " + std::to_string(step_)) + ")");
  }
  /// A part of the range: `count` items from the i-th on, each `stride` after the previous.
  Value part(std::int64_t i, std::int64_t stop, std::int64_t stride) {
    return make<Range>(rendering(), at(i), at(stop), step_ * stride);
  }

 private:
  static constexpr std::int64_t limit = std::int64_t{1} << 60;  // so that no item overflows

  std::int64_t start_, stop_, step_, count_ = 0;
};

inline std::string object_is(const Value& value) {
  return "'" + std::string(type_name(value)) + "' object is ";
}

/// An iterator over a value, or null if it is not iterable.
inline Ref<Iterator> try_iterate(Rendering& r, const Value& value) {
  switch (value.kind()) {
    case Kind::list:
    case Kind::tuple: return walk_items(r, value);
    case Kind::text: return walk_characters(r, value);
    case Kind::dict: return walk_dict(r, value, DictPart::keys);
    case Kind::undefined: return positions(r, value, 0, [](std::int64_t) { return Value(); });
    case Kind::thing: return value.thing().iterate();
    default: return {};
  }
}

inline Ref<Iterator> iterate(Rendering& r, const Value& value) {
  auto iterator = try_iterate(r, value);
  if (!iterator) r.fail(object_is(value) + "not iterable");
  return iterator;
}

/// The next item, counted as a step.
inline std::optional<Value> next(Iterator& iterator) {
  iterator.rendering().step();
  return iterator.next();
}

inline std::vector<Value> list_of(Rendering& r, const Value& value) {
  if (value.is_sequence()) {
    r.step(value.items().size());
    r.require(value.items().size() * sizeof(Value));
    return value.items();
  }
  Items items(r);
  for (const auto walk = iterate(r, value); auto item = next(*walk);) items.push(*item);
  return items.take();
}

/// len(), or nothing where that raises.
inline std::optional<std::int64_t> try_length(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined: return 0;
    case Kind::text: return static_cast<std::int64_t>(value.text().length);
    case Kind::list:
    case Kind::tuple: return std::ssize(value.items());
    case Kind::dict: return std::ssize(value.dict().entries());
    case Kind::thing: return value.thing().length();
    default: return std::nullopt;
  }
}

inline std::int64_t length_of(Rendering& r, const Value& value) {
  const auto length = try_length(value);
  if (!length) r.fail("object of type '" + std::string(type_name(value)) + "' has no len()");
  return *length;
}

/// Counts the work of searching for a text, which can take a step for each pair of characters.
inline void count_search(Rendering& r, std::string_view text, std::string_view part) {
  r.step(1 + text.size() * std::max<std::size_t>(part.size(), 8) / 256);
}
/// The first occurrence of `part` at or after a byte, or npos.
inline std::size_t find_text(Rendering& r, std::string_view text, std::string_view part,
                             std::size_t from = 0) {
  const std::size_t found = text.find(part, from);
  if (from <= text.size()) count_search(r, text.substr(from, found - from), part);
  return found;
}

/// item in container
inline bool contains(Rendering& r, const Value& container, const Value& item) {
  if (container.is_text()) {
    if (!item.is_text())
      r.fail("'in <string>' requires string as left operand, not " + std::string(type_name(item)));
    return find_text(r, container.bytes(), item.bytes()) != std::string::npos;
  }
  if (container.is(Kind::dict)) return container.dict().find(item) != nullptr;
  const auto walk = try_iterate(r, container);
  if (!walk) r.fail("argument of type '" + std::string(type_name(container)) + "' is not iterable");
  while (const auto other = next(*walk))
    if (equals(r, item, *other)) return true;
  return false;
}

enum class Comparator : std::uint8_t { eq, ne, lt, le, gt, ge, in, not_in };

/// left == right, left < right, left in right and so on.
inline bool holds_between(Rendering& r, Comparator comparator, const Value& left,
                          const Value& right) {
  switch (comparator) {
    case Comparator::eq: return equals(r, left, right);
    case Comparator::ne: return !equals(r, left, right);
    case Comparator::lt: return compare(r, left, right, "<") == -1;
    case Comparator::le: return compare(r, left, right, "<=").value_or(1) <= 0;
    case Comparator::gt: return compare(r, left, right, ">") == 1;
    case Comparator::ge: return compare(r, left, right, ">=").value_or(-1) >= 0;
    case Comparator::in: return contains(r, right, left);
    case Comparator::not_in: return !contains(r, right, left);
  }
  return false;
}

}}}}  // namespace idefics::v0::detail::jinja
