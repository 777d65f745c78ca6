// The members of a JSON object in a request. A fault names its place, such as messages[0].role.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/core/error.hpp>
#include <idefics/io/json.hpp>

namespace cli::serve {

[[noreturn]] inline void refuse(const std::string& where, const std::string& why) {
  idefics::fail(idefics::ErrorCode::invalid_option, why, {.field = where});
}

inline std::string indexed(const std::string& where, std::size_t i) {
  return where + "[" + std::to_string(i) + "]";
}

/// The most values of a request: JSON of many small values takes a hundred times its size.
inline constexpr std::size_t most_values = 1 << 18;

/// The values that a JSON text may have at most, counted without parsing it.
inline std::size_t count_values(std::string_view text) {
  std::size_t count = 1;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') ++i;
    if (c == '"') in_string = !in_string;
    if (!in_string && (c == ',' || c == '[' || c == '{')) ++count;
  }
  return count;
}

/// Parses the body of a request. Throws `invalid_json`, `duplicate_key` and `oversized_file`.
inline idefics::detail::JsonDocument parse_body(std::string_view text) {
  if (count_values(text) > most_values)
    idefics::fail(idefics::ErrorCode::invalid_json, "the request has too many values",
                  {.limit = most_values});
  auto document =
      idefics::detail::parse_document(text, "", {.bytes = UINT64_MAX, .depth = 12, .strict = true});
  if (!document->is_object())
    idefics::fail(idefics::ErrorCode::invalid_json, "the request must be a JSON object");
  return document;
}

class Fields {
 public:
  Fields(const idefics::Json& object, std::string where)
      : object_(object), where_(std::move(where)) {
    if (!object.is_object()) refuse(where_, "must be an object");
  }

  /// The value of a member; null if it is missing or null.
  const idefics::Json* find(const std::string& name) {
    known_.insert(name);
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  const idefics::Json& at(const std::string& name) {
    if (const idefics::Json* value = find(name)) return *value;
    refuse(place(name), "is missing");
  }
  bool boolean(const std::string& name, bool otherwise = false) {
    const idefics::Json* value = find(name);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) refuse(place(name), "must be true or false");
    return value->get<bool>();
  }
  std::string text(const std::string& name, const std::string& otherwise = "") {
    const idefics::Json* value = find(name);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) refuse(place(name), "must be a string");
    return value->get<std::string>();
  }
  /// A string, or an array of strings.
  std::vector<std::string> texts(const std::string& name) {
    const idefics::Json* value = find(name);
    if (value == nullptr) return {};
    if (value->is_string()) return {value->get<std::string>()};
    if (!value->is_array()) refuse(place(name), "must be a string or an array of strings");
    std::vector<std::string> list;
    for (const idefics::Json& entry : *value) {
      if (!entry.is_string()) refuse(indexed(place(name), list.size()), "must be a string");
      list.push_back(entry.get<std::string>());
    }
    return list;
  }
  /// Takes a member whose value changes nothing here.
  void skip(const std::string& name) { known_.insert(name); }
  /// Refuses members that were not read.
  void finish() const {
    for (const auto& [key, value] : object_.items())
      if (!known_.contains(key)) refuse(place(key.substr(0, 200)), "unknown field");
  }

  const idefics::Json& object() const { return object_; }
  std::string place(const std::string& name) const {
    return where_.empty() ? name : where_ + "." + name;
  }

 private:
  const idefics::Json& object_;
  std::string where_;
  std::set<std::string> known_;
};

}  // namespace cli::serve
