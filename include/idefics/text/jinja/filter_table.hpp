// Filters that apply filters and tests to items: map, select and the like. The table of all
// filters.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/jinja/sequence_filters.hpp>
#include <idefics/text/jinja/tests.hpp>
#include <idefics/text/jinja/text_filters.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

inline const Builtin* find_filter(std::string_view name);

/// The first of the arguments that name a filter or test.
inline Value take_first(std::vector<Value>& arguments) {
  Value first = arguments.front();
  arguments.erase(arguments.begin());
  return first;
}

inline const Builtin& named(Rendering& r, const Value& name, const char* kind,
                            const Builtin* (*find)(std::string_view)) {
  const Builtin* found = name.is_text() ? find(name.bytes()) : nullptr;
  if (found == nullptr)
    r.fail("there is no " + std::string(kind) +
           (name.is_text() ? " named " + in_quotes(name.bytes()) : ": its name must be a text"));
  return *found;
}

inline Arguments with_item(const Arguments& arguments, const Value& item) {
  Arguments all;
  all.positional.reserve(arguments.positional.size() + 1);
  all.positional.push_back(item);
  all.positional.insert(all.positional.end(), arguments.positional.begin(),
                        arguments.positional.end());
  all.named = arguments.named;
  return all;
}

/// map(attribute=…, default=…) or map(filter, arguments…)
inline Value filter_map(Call& c) {
  Items made(c.r);
  if (!is_true(c[0])) return generated(made);
  Arguments& given = c.rest;
  const auto walk = iterate(c.r, c[0]);
  const auto attribute =
      std::ranges::find(given.named, "attribute", &std::pair<std::string, Value>::first);
  if (given.positional.empty() && attribute != given.named.end()) {
    Value otherwise = Value::none();
    for (const auto& [name, value] : given.named)
      if (name == "default")
        otherwise = value;
      else if (name != "attribute")
        c.r.fail("unexpected keyword argument " + in_quotes(name));
    const ItemKey key(c.r, attribute->second, true, otherwise);
    while (const auto item = next(*walk)) made.push(key(*item));
    return generated(made);
  }
  if (given.positional.empty()) c.r.fail("map requires a filter argument");
  const Builtin& filter = named(c.r, take_first(given.positional), "filter", find_filter);
  while (const auto item = next(*walk)) {
    Arguments all = with_item(given, *item);
    made.push(run(c.r, filter, all, "filter"));
  }
  return generated(made);
}

/// select, reject, selectattr, rejectattr: [attribute], then perhaps a test and its arguments.
template <bool by_attribute, bool wanted>
Value selected(Call& c) {
  Items made(c.r);
  if (!is_true(c[0])) return generated(made);
  auto& given = c.rest.positional;
  if (by_attribute && given.empty()) c.r.fail("missing parameter for attribute name");
  const ItemKey key(c.r, by_attribute ? take_first(given) : Value::none());
  const Builtin* test = given.empty() ? nullptr : &named(c.r, take_first(given), "test", find_test);
  for (const auto walk = iterate(c.r, c[0]); const auto item = next(*walk);) {
    Value judged = key(*item);
    if (test != nullptr) {
      Arguments all = with_item(c.rest, judged);
      judged = run(c.r, *test, all, "test");
    }
    if (is_true(judged) == wanted) made.push(*item);
  }
  return generated(made);
}

/// Items whose keys were not seen before.
inline Value filter_unique(Call& c) {
  const ItemKey key(c.r, c.or_none(2), c.flag(1));
  const auto seen = make<Dict>(c.r);
  Items made(c.r);
  for (const auto walk = iterate(c.r, c[0]); const auto item = next(*walk);) {
    const Value one = key(*item);
    if (seen->find(one) != nullptr) continue;
    seen->set(one, Value::none());
    made.push(*item);
  }
  return generated(made);
}

inline Value filter_items(Call& c) {
  Items made(c.r);
  if (c[0].is(Kind::undefined)) return generated(made);
  if (!c[0].is(Kind::dict)) c.r.fail("can only get item pairs from a mapping");
  for (const Dict::Entry& entry : c[0].dict().entries())
    made.push(part_of(c.r, entry, DictPart::items));
  return generated(made);
}

inline constexpr Builtin filters[] = {
    {"abs", filter_abs, "x /"},
    {"attr", filter_attr, "obj name"},
    {"capitalize", filter_changed<capitalized>, "s"},
    {"count", filter_length, "obj /"},
    {"d", filter_default, "value [default_value boolean]"},
    {"default", filter_default, "value [default_value boolean]"},
    {"dictsort", filter_dictsort, "value [case_sensitive by reverse]"},
    {"e", filter_escape, "s /"},
    {"escape", filter_escape, "s /"},
    {"first", filter_first, "seq"},
    {"float", filter_float, "value [default]"},
    {"format", filter_format, "value *"},
    {"indent", filter_indent, "s [width first blank]"},
    {"int", filter_int, "value [default base]"},
    {"items", filter_items, "value"},
    {"join", filter_join, "value [d attribute]"},
    {"last", filter_last, "seq"},
    {"length", filter_length, "obj /"},
    {"list", filter_list, "value"},
    {"lower", filter_changed<lower_case>, "s"},
    {"map", filter_map, "value *"},
    {"max", extreme<true>, "value [case_sensitive attribute]"},
    {"min", extreme<false>, "value [case_sensitive attribute]"},
    {"reject", selected<false, false>, "value *"},
    {"rejectattr", selected<true, false>, "value *"},
    {"replace", filter_replace, "s old new [count]"},
    {"reverse", filter_reverse, "value"},
    {"round", filter_round, "value [precision method]"},
    {"safe", filter_safe, "value"},
    {"select", selected<false, true>, "value *"},
    {"selectattr", selected<true, true>, "value *"},
    {"sort", filter_sort, "value [reverse case_sensitive attribute]"},
    {"string", filter_string, "s"},
    {"sum", filter_sum, "iterable [attribute start]"},
    {"title", filter_title, "s"},
    {"tojson", filter_tojson, "x [ensure_ascii indent separators sort_keys]"},
    {"trim", filter_trim, "value [chars]"},
    {"unique", filter_unique, "value [case_sensitive attribute]"},
    {"upper", filter_changed<upper_case>, "s"},
};

inline constexpr auto other_filters = not_here(
    {"batch", "center", "filesizeformat", "forceescape", "groupby", "pprint", "random", "slice",
     "striptags", "truncate", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"});

inline const Builtin* find_filter(std::string_view name) {
  return find_builtin(filters, other_filters, name);
}

}}}}  // namespace idefics::v0::detail::jinja
