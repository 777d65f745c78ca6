// Values of chat templates and operations on them. Values are JSON. An undefined value is a
// discarded one; like Jinja's Undefined it counts as false and as "".
#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/io/json.hpp>
#include <idefics/text/utf8.hpp>

namespace idefics { inline namespace v0 { namespace detail {

[[noreturn]] inline void refuse_template(const std::string& what) {
  fail(ErrorCode::invalid_tokenizer, "unsupported chat template: " + what,
       {.field = "chat_template"});
}

inline Json undefined() { return Json(Json::value_t::discarded); }

inline bool is_true(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return value.is_structured() && !value.empty();
}

inline std::string to_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_null()) return "None";
  if (value.is_structured()) refuse_template("a list or a mapping is used as text");
  return value.is_discarded() ? "" : value.dump();
}

/// Numbers in templates count messages: small integers.
inline std::int64_t to_integer(const Json& value) {
  if (value.is_discarded()) return 0;
  if (!value.is_number_integer() && !value.is_boolean())
    refuse_template("arithmetic on a value that is not an integer");
  const auto number = value.is_boolean() ? value.get<bool>() : value.get<std::int64_t>();
  if (number > 1'000'000'000 || number < -1'000'000'000)
    refuse_template("a number is larger than 10^9");
  return number;
}

/// The items that `for` iterates over: those of a list, or the characters of a text.
inline Json to_list(const Json& value) {
  if (value.is_array()) return value;
  Json list = Json::array();
  if (value.is_discarded()) return list;
  if (!value.is_string()) refuse_template("iteration over a value that is neither a list nor text");
  const std::string_view text = value.get_ref<const std::string&>();
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = std::max<std::size_t>(1, utf8_sequence_length(text.substr(at)));
    list.push_back(text.substr(at, length));
    at += length;
  }
  return list;
}

/// Equality as in Jinja: an undefined value equals only an undefined value.
inline bool is_equal(const Json& a, const Json& b) {
  if (a.is_discarded() || b.is_discarded()) return a.is_discarded() && b.is_discarded();
  return a == b;
}

inline bool contains(const Json& container, const Json& item) {
  if (container.is_string() && item.is_string())
    return container.get_ref<const std::string&>().find(item.get_ref<const std::string&>()) !=
           std::string::npos;
  if (container.is_object() && item.is_string()) return container.contains(item.get<std::string>());
  return container.is_array() && std::ranges::find(container, item) != container.end();
}

inline std::string joined(std::string a, const std::string& b) {
  if (a.size() + b.size() > (16u << 20)) refuse_template("a text is larger than 16 MiB");
  return a += b;
}

inline Json sum_of(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return to_integer(a) + to_integer(b);
  if (a.is_array() && b.is_array()) {
    Json list = a;
    list.insert(list.end(), b.begin(), b.end());
    return list;
  }
  if (a.is_discarded() || b.is_discarded()) return undefined();
  if (!a.is_string() || !b.is_string()) refuse_template("a sum of values of different types");
  return joined(a.get<std::string>(), b.get<std::string>());
}

inline Json modulo_of(const Json& a, const Json& b) {
  const std::int64_t divisor = to_integer(b);
  if (divisor <= 0) refuse_template("modulo by zero or a negative number");
  return (to_integer(a) % divisor + divisor) % divisor;
}

inline Json member_of(const Json& value, const Json& key) {
  if (value.is_object() && key.is_string())
    return value.contains(key.get<std::string>()) ? value.at(key.get<std::string>()) : undefined();
  if (value.is_array() && key.is_number_integer()) {
    const auto size = static_cast<std::int64_t>(value.size());
    const std::int64_t at = to_integer(key) + (to_integer(key) < 0 ? size : 0);
    return at >= 0 && at < size ? value[static_cast<std::size_t>(at)] : undefined();
  }
  return undefined();
}

/// value[first:last]; an undefined bound is the end on its side.
inline Json slice_of(const Json& value, const Json& first, const Json& last) {
  if (!value.is_array()) refuse_template("a slice of a value that is not a list");
  const auto size = static_cast<std::int64_t>(value.size());
  auto bound = [size](const Json& given, std::int64_t fallback) {
    if (given.is_discarded()) return fallback;
    return std::clamp(to_integer(given) + (to_integer(given) < 0 ? size : 0), std::int64_t{0},
                      size);
  };
  Json part = Json::array();
  for (std::int64_t i = bound(first, 0); i < bound(last, size); ++i)
    part.push_back(value[static_cast<std::size_t>(i)]);
  return part;
}

/// Evaluates `value is kind`.
inline bool passes_test(const Json& value, const std::string& kind) {
  static const std::map<std::string, bool (*)(const Json&)> kinds{
      {"defined", [](const Json& v) { return !v.is_discarded(); }},
      {"undefined", [](const Json& v) { return v.is_discarded(); }},
      {"none", [](const Json& v) { return v.is_null(); }},
      {"string", [](const Json& v) { return v.is_string(); }},
      {"mapping", [](const Json& v) { return v.is_object(); }},
      {"iterable", [](const Json& v) { return v.is_structured() || v.is_string(); }},
      {"sequence", [](const Json& v) { return v.is_structured() || v.is_string(); }},
      {"true", [](const Json& v) { return v == true; }},
      {"false", [](const Json& v) { return v == false; }}};
  const auto found = kinds.find(kind);
  if (found == kinds.end()) refuse_template("the test \"is " + kind + "\"");
  return found->second(value);
}

/// Filters and methods of texts.
inline Json call_on_text(const std::string& function, std::string text, const Json& arguments) {
  const std::string argument = arguments.empty() ? "" : to_text(arguments[0]);
  auto change = [&text](std::size_t from, std::size_t to, int (*letter)(int)) {
    for (std::size_t i = from; i < std::min(to, text.size()); ++i)
      if (static_cast<unsigned char>(text[i]) < 0x80)
        text[i] = static_cast<char>(letter(static_cast<unsigned char>(text[i])));
  };
  if (function == "startswith") return text.starts_with(argument);
  if (function == "endswith") return text.ends_with(argument);
  if (function == "trim" || function == "strip" || function == "lstrip" || function == "rstrip") {
    const std::string_view spaces = arguments.empty() ? " \t\r\n\v\f" : std::string_view(argument);
    if (function != "rstrip") text.erase(0, std::min(text.find_first_not_of(spaces), text.size()));
    if (function != "lstrip") text.erase(text.find_last_not_of(spaces) + 1);
  } else if (function == "upper") {
    change(0, text.size(), std::toupper);
  } else if (function == "lower") {
    change(0, text.size(), std::tolower);
  } else if (function == "capitalize") {
    change(0, 1, std::toupper);
    change(1, text.size(), std::tolower);
  } else {
    refuse_template("\"" + function + "(…)\"");
  }
  return text;
}

/// Filters, methods and functions; `value` is the operand before the bar or the dot. Throws
/// `invalid_prompt` for raise_exception.
inline Json call(const std::string& function, const Json& value, const Json& arguments) {
  if (function == "raise_exception")
    fail(ErrorCode::invalid_prompt,
         "the chat template refuses the messages: " +
             (arguments.empty() ? "" : to_text(arguments[0])),
         {.field = "chat_template"});
  if (function == "length" || function == "count") return to_list(value).size();
  if (function == "first") return member_of(value, 0);
  if (function == "last") return member_of(value, -1);
  if (function == "string") return to_text(value);
  if (function == "default") return value.is_discarded() ? member_of(arguments, 0) : value;
  if (function == "get") return member_of(value, member_of(arguments, 0));
  return call_on_text(function, to_text(value), arguments);
}

}}}  // namespace idefics::v0::detail
