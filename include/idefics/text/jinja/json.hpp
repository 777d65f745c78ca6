// JSON as values, and values as JSON: the filter tojson, which transformers defines as json.dumps.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/text/jinja/compare.hpp>
#include <idefics/text/jinja/print.hpp>
#include <idefics/text/jinja/value.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// Throws `invalid_utf8` for a text that is not UTF-8.
inline Value text_value(Rendering& r, const std::string& text) {
  if (const auto valid = valid_utf8_prefix(text); valid != text.size())
    idefics::fail(ErrorCode::invalid_utf8, "the text is not UTF-8", {.offset = valid});
  return Value::text(r, text);
}

/// Throws `invalid_utf8` for texts that are not UTF-8.
inline Value value_of_json(Rendering& r, const OrderedJson& json) {
  const Nested nested(r);
  r.step();
  switch (json.type()) {
    case OrderedJson::value_t::boolean: return Value::boolean(json.get<bool>());
    case OrderedJson::value_t::number_integer: return Value::integer(json.get<std::int64_t>());
    case OrderedJson::value_t::number_unsigned:
      if (json.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()})
        refuse_large(r);
      return Value::integer(json.get<std::int64_t>());
    case OrderedJson::value_t::number_float: return Value::real(json.get<double>());
    case OrderedJson::value_t::string: return text_value(r, json.get_ref<const std::string&>());
    case OrderedJson::value_t::array: {
      Items items(r);
      for (const OrderedJson& item : json) items.push(value_of_json(r, item));
      return items.list();
    }
    case OrderedJson::value_t::object: {
      const auto dict = make<Dict>(r);
      for (const auto& [key, value] : json.items())
        dict->set(text_value(r, key), value_of_json(r, value));
      return Value(dict);
    }
    default: return Value::none();
  }
}

/// Writes JSON as Python's json.dumps does.
class JsonWriter {
 public:
  JsonWriter(Rendering& r, bool ascii, const Value& indent, const Value& separators, bool sort_keys)
      : rendering_(r), out_(r), ascii_(ascii), sort_keys_(sort_keys) {
    if (indent.is_text())
      unit_ = indent.bytes();
    else if (indent.is_integer() && indent.integer() > 0)
      r.require(static_cast<std::uint64_t>(indent.integer())),
          unit_ = std::string(static_cast<std::size_t>(indent.integer()), ' ');
    else if (!indent.is_none() && !indent.is_integer())
      r.fail("the indent of JSON must be an integer or a text");
    lines_ = !indent.is_none();
    if (lines_) between_ = ",";
    if (separators.is_none()) return;
    if (!separators.is_sequence() || separators.items().size() != 2 ||
        !separators.items()[0].is_text() || !separators.items()[1].is_text())
      r.fail("the separators of JSON must be two texts");
    between_ = separators.items()[0].bytes();
    after_key_ = separators.items()[1].bytes();
  }

  std::string write(const Value& value) {
    put(value);
    return out_.take();
  }

 private:
  void put(const Value& value) {
    const Nested nested(rendering_);
    rendering_.step();
    switch (value.kind()) {
      case Kind::none: return out_.append("null");
      case Kind::boolean: return out_.append(value.truth() ? "true" : "false");
      case Kind::integer: return out_.append(std::to_string(value.integer()));
      case Kind::real: return out_.append(number(value.real()));
      case Kind::text: return quoted(value.bytes());
      case Kind::list:
      case Kind::tuple:
        return enclosed('[', ']', value.items().size(),
                        [&](std::size_t i) { put(value.items()[i]); });
      case Kind::dict: return object(value.dict());
      default:
        rendering_.fail("Object of type " + std::string(type_name(value)) +
                        " is not JSON serializable");
    }
  }

  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return text_of_real(value);
  }

  void quoted(std::string_view text) {
    out_.append("\"");
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t start = at;
      const char32_t c = next_character(text, at);
      const bool plain = c >= 0x20 && c != '"' && c != '\\' && (!ascii_ || c < 0x7f);
      if (plain) continue;
      out_.append(text.substr(begin, start - begin));
      out_.append(escape_of(c));
      begin = at;
    }
    out_.append(text.substr(begin));
    out_.append("\"");
  }
  static std::string escape_of(char32_t c) {
    constexpr std::string_view plain = "\"\\\n\r\t\b\f", letters = "\"\\nrtbf";
    if (const auto i = c < 0x80 ? plain.find(static_cast<char>(c)) : std::string_view::npos;
        i != std::string_view::npos)
      return {'\\', letters[i]};
    const auto unit = [](char32_t u) {
      std::string text = "\\u";
      for (int shift = 12; shift >= 0; shift -= 4)
        text.push_back("0123456789abcdef"[u >> shift & 15]);
      return text;
    };
    if (c < 0x10000) return unit(c);
    return unit(0xd800 + ((c - 0x10000) >> 10)) + unit(0xdc00 + ((c - 0x10000) & 0x3ff));
  }

  template <class Put>
  void enclosed(char open, char close, std::size_t count, const Put& put_item) {
    out_.append(1, open);
    ++level_;
    for (std::size_t i = 0; i < count; ++i) {
      if (i > 0) out_.append(between_);
      line();
      put_item(i);
    }
    --level_;
    if (count > 0) line();
    out_.append(1, close);
  }
  void line() {
    if (!lines_) return;
    out_.append("\n");
    for (int i = 0; i < level_; ++i) out_.append(unit_);
  }

  void object(const Dict& dict) {
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (sort_keys_)
      std::ranges::stable_sort(entries, [this](const auto* a, const auto* b) {
        return is_less(rendering_, a->key, b->key);
      });
    enclosed('{', '}', entries.size(), [&](std::size_t i) {
      key(entries[i]->key);
      out_.append(after_key_);
      put(entries[i]->value);
    });
  }
  void key(const Value& value) {
    if (value.is_text()) return quoted(value.bytes());
    if (!value.is_number() && !value.is_none())
      rendering_.fail("keys must be str, int, float, bool or None, not " +
                      std::string(type_name(value)));
    out_.append("\"");
    put(value);
    out_.append("\"");
  }

  Rendering& rendering_;
  Buffer out_;
  bool ascii_, sort_keys_, lines_ = false;
  std::string unit_, between_ = ", ", after_key_ = ": ";
  int level_ = 0;
};

}}}}  // namespace idefics::v0::detail::jinja
