// value.name, value[key] and value[a:b:c], as jinja2's sandbox looks them up: a dot prefers
// attributes and then tries keys, a subscript prefers keys. Neither fails where nothing is found.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/text/jinja/call.hpp>
#include <idefics/text/jinja/iterate.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// The method of a value's type, or null. methods.hpp
inline const Builtin* find_method(const Value& object, std::string_view name);

inline std::string in_quotes(std::string_view text) {
  return "'" + std::string(text.substr(0, 200)) + "'";
}

inline std::string described(const Value& value) {
  return value.is_none() ? "None" : std::string(type_name(value)) + " object";
}

/// Undefined, because the sandbox hides the attribute: methods that change lists and dicts, and
/// Python's own attributes.
inline Value unsafe_attribute(Rendering& r, const Value& object, std::string_view name) {
  return Value::undefined(r, "access to attribute " + in_quotes(name) + " of '" +
                                 std::string(type_name(object)) + "' object is unsafe.");
}

inline bool changes(const Value& object, std::string_view name) {
  static constexpr std::string_view of_list[] = {"append", "clear",  "extend",  "insert",
                                                 "pop",    "remove", "reverse", "sort"};
  static constexpr std::string_view of_dict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (object.is(Kind::list)) return std::ranges::find(of_list, name) != std::end(of_list);
  return object.is(Kind::dict) && std::ranges::find(of_dict, name) != std::end(of_dict);
}

/// Python's getattr(), or nothing where that raises AttributeError.
inline std::optional<Value> python_attribute(Rendering& r, const Value& object,
                                             std::string_view name) {
  if (object.is(Kind::undefined)) r.fail(object.why_undefined());
  if (object.is(Kind::thing)) {
    if (name.starts_with('_')) return unsafe_attribute(r, object, name);
    return object.thing().attribute(name);
  }
  if ((name.starts_with("__") && name.ends_with("__")) || changes(object, name))
    return unsafe_attribute(r, object, name);
  static constexpr std::string_view of_numbers[] = {
      "real",      "imag", "numerator",  "denominator",      "conjugate", "bit_length",
      "bit_count", "hex",  "is_integer", "as_integer_ratio", "to_bytes"};
  if (object.is_number() && std::ranges::find(of_numbers, name) != std::end(of_numbers))
    r.unsupported("the attribute " + in_quotes(name) + " of a number");
  const Builtin* method = find_method(object, name);
  if (method == nullptr) return std::nullopt;
  return Value(make<Function>(r, *method, object));
}

/// value[key] as Python has it, or nothing where that raises TypeError or LookupError.
inline std::optional<Value> python_item(Rendering& r, const Value& object, const Value& key) {
  const auto position = [&](std::size_t size) -> std::optional<std::size_t> {
    if (!key.is_integer()) return std::nullopt;
    const auto count = static_cast<std::int64_t>(size);
    const std::int64_t i = key.integer() < 0 ? key.integer() + count : key.integer();
    return i < 0 || i >= count ? std::nullopt : std::optional(static_cast<std::size_t>(i));
  };
  switch (object.kind()) {
    case Kind::undefined: r.fail(object.why_undefined());
    case Kind::dict: {
      if (!is_hashable(key)) return std::nullopt;
      const Value* found = object.dict().find(key);
      return found == nullptr ? std::nullopt : std::optional(*found);
    }
    case Kind::list:
    case Kind::tuple: {
      const auto i = position(object.items().size());
      return i ? std::optional(object.items()[*i]) : std::nullopt;
    }
    case Kind::text: {
      const auto i = position(object.text().length);
      if (!i) return std::nullopt;
      const std::string& text = object.bytes();
      if (!object.text().ascii()) r.read(text.size());
      std::size_t begin = object.text().ascii() ? *i : byte_of_character(text, *i), end = begin;
      next_character(text, end);
      return Value::text(r, text.substr(begin, end - begin), object.text().safe);
    }
    case Kind::thing: return object.thing().item(key);
    default: return std::nullopt;
  }
}

/// object.name
inline Value attribute_of(Rendering& r, const Value& object, std::string_view name) {
  r.step();
  if (auto found = python_attribute(r, object, name)) return *found;
  if (object.is(Kind::dict))
    if (const Value* found = object.dict().find(name)) return *found;
  return Value::undefined(r, "'" + described(object) + "' has no attribute " + in_quotes(name));
}

/// object[key]
inline Value item_of(Rendering& r, const Value& object, const Value& key) {
  r.step();
  if (auto found = python_item(r, object, key)) return *found;
  if (!key.is_text()) {
    const std::string which =
        key.is_integer() ? std::to_string(key.integer()) : std::string(type_name(key));
    return Value::undefined(r, described(object) + " has no element " + which);
  }
  if (auto found = python_attribute(r, object, key.bytes())) return *found;
  return Value::undefined(r,
                          "'" + described(object) + "' has no attribute " + in_quotes(key.bytes()));
}

/// The positions that a slice of `size` items selects: first, first + step, … `count` of them.
struct SliceBounds {
  std::int64_t first, step, count;
};

/// Nothing where Python raises TypeError, of which jinja2 makes an undefined value.
inline std::optional<SliceBounds> slice_bounds(Rendering& r, std::int64_t size, const Value& begin,
                                               const Value& end, const Value& step) {
  for (const Value& value : {begin, end, step})
    if (!value.is_none() && !value.is_integer()) return std::nullopt;
  const std::int64_t wanted = step.is_none() ? 1 : step.integer();
  if (wanted == 0) r.fail("slice step cannot be zero");
  const std::int64_t stride = std::clamp(wanted, -size - 1, size + 1);  // the same selection
  const std::int64_t low = stride > 0 ? 0 : -1, high = stride > 0 ? size : size - 1;
  const auto bound = [&](const Value& value, std::int64_t otherwise) {
    if (value.is_none()) return otherwise;
    const std::int64_t n = value.integer();
    return n < 0 ? std::max(n + size, low) : std::min(n, high);
  };
  const std::int64_t first = bound(begin, stride > 0 ? low : high),
                     last = bound(end, stride > 0 ? high : low);
  const std::int64_t span = stride > 0 ? last - first : first - last;
  return SliceBounds{first, stride, span <= 0 ? 0 : (span - 1) / std::abs(stride) + 1};
}

inline Value slice_of_text(Rendering& r, const Value& value, const SliceBounds& bounds) {
  const std::string& text = value.bytes();
  const bool ascii = value.text().ascii();
  if (!ascii) r.read(text.size());
  const auto byte_of = [&](std::int64_t i) {
    const auto index = static_cast<std::size_t>(i);
    return ascii ? index : byte_of_character(text, index);
  };
  std::string part;
  if (bounds.count > 0 && bounds.step == 1) {
    const std::size_t begin = byte_of(bounds.first);
    part = text.substr(begin, byte_of(bounds.first + bounds.count) - begin);
  } else if (bounds.count > 0) {
    r.require(text.size() * 5);
    r.step(text.size() / 16);
    std::vector<std::uint32_t> starts;
    for (std::size_t at = 0; at < text.size(); next_character(text, at))
      starts.push_back(static_cast<std::uint32_t>(at));
    for (std::int64_t i = 0; i < bounds.count; ++i) {
      std::size_t begin = starts[static_cast<std::size_t>(bounds.first + i * bounds.step)],
                  end = begin;
      next_character(text, end);
      part.append(text, begin, end - begin);
    }
  }
  return Value::text(r, std::move(part), value.text().safe);
}

/// value[begin:end:step]
inline Value slice_of(Rendering& r, const Value& value, const Value& begin, const Value& end,
                      const Value& step) {
  r.step();
  if (value.is(Kind::undefined)) r.fail(value.why_undefined());
  Range* range = value.is(Kind::thing) ? dynamic_cast<Range*>(&value.thing()) : nullptr;
  const bool sliceable = value.is_text() || value.is_sequence() || range != nullptr;
  const auto found = sliceable ? slice_bounds(r, length_of(r, value), begin, end, step)
                               : std::optional<SliceBounds>();
  if (!found) return Value::undefined(r, described(value) + " has no such slice");
  const SliceBounds& bounds = *found;
  if (value.is_text()) return slice_of_text(r, value, bounds);
  if (range != nullptr)
    return range->part(bounds.first, bounds.first + bounds.count * bounds.step, bounds.step);
  Items items(r);
  for (std::int64_t i = 0; i < bounds.count; ++i)
    items.push(value.items()[static_cast<std::size_t>(bounds.first + i * bounds.step)]);
  return value.is(Kind::list) ? items.list() : Value::tuple(r, items.take());
}

}}}}  // namespace idefics::v0::detail::jinja
