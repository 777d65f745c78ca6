// One JSON object of a configuration, read with types, ranges and defaults. Errors name the key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <idefics/core/error.hpp>
#include <idefics/io/json.hpp>

namespace idefics { inline namespace v0 {

class ConfigFields {
 public:
  /// `prefix` is the key path of the object itself, "" at the top. A null object has no keys.
  ConfigFields(const Json& object, std::string file, std::string prefix)
      : object_(&object), file_(std::move(file)), prefix_(std::move(prefix)) {
    if (!object.is_object() && !object.is_null())
      fail(ErrorCode::invalid_config, "must be an object", {.file = file_, .field = prefix_});
  }

  const std::string& file() const { return file_; }

  bool has(const char* key) const { return find(key) != nullptr; }

  /// The object under `key`, or an empty one if it is absent.
  ConfigFields object(const char* key) const {
    static const Json none;
    const Json* value = find(key);
    return {value ? *value : none, file_, prefix_ + key + "."};
  }

  std::int64_t integer(const char* key, std::int64_t fallback, std::int64_t min,
                       std::int64_t max) const {
    const Json* value = find(key);
    return value ? integer_of(*value, key, min, max) : fallback;
  }

  float number(const char* key, float fallback, float min, float max) const {
    const Json* value = find(key);
    if (!value) return fallback;
    if (!value->is_number()) wrong_type(key, "a number");
    const auto number = static_cast<float>(value->get<double>());
    if (!(number >= min && number <= max)) wrong_type(key, "a number in range");
    return number;
  }

  bool flag(const char* key, bool fallback) const {
    const Json* value = find(key);
    if (!value) return fallback;
    if (!value->is_boolean()) wrong_type(key, "true or false");
    return value->get<bool>();
  }

  std::string text(const char* key, std::string fallback) const {
    const Json* value = find(key);
    if (!value) return fallback;
    if (!value->is_string()) wrong_type(key, "a string");
    return value->get<std::string>();
  }

  /// A token id; null and negative ids mean none, an absent key the default.
  std::optional<std::int32_t> id(const char* key, std::optional<std::int32_t> fallback,
                                 std::int64_t last) const {
    if (object_->is_object() && object_->contains(key) && object_->at(key).is_null())
      return std::nullopt;
    const Json* value = find(key);
    return value ? id_of(*value, key, last) : fallback;
  }

  /// One token id or a list of them; null and negative ids mean none.
  std::vector<std::int32_t> ids(const char* key, std::vector<std::int32_t> fallback,
                                std::int64_t last) const {
    const Json* value = find(key);
    if (value && value->is_array()) {
      std::vector<std::int32_t> list;
      for (const Json& element : *value) {
        if (!element.is_number_integer()) wrong_type(key, "an integer, or a list of them");
        if (const auto found = id_of(element, key, last)) list.push_back(*found);
      }
      return list;
    }
    if (!value)
      return object_->is_object() && object_->contains(key) ? std::vector<std::int32_t>{}
                                                            : fallback;
    const auto found = id(key, std::nullopt, last);
    return found ? std::vector{*found} : std::vector<std::int32_t>{};
  }

  [[noreturn]] void refuse(const char* key, const char* why, std::int64_t value) const {
    fail(ErrorCode::invalid_config, std::to_string(value) + " " + why,
         {.file = file_, .field = prefix_ + key});
  }

 private:
  std::int64_t integer_of(const Json& value, const char* key, std::int64_t min,
                          std::int64_t max) const {
    if (!value.is_number_integer()) wrong_type(key, "an integer");
    const auto number = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX
                            ? INT64_MAX
                            : value.get<std::int64_t>();
    if (number < min || number > max)
      fail(ErrorCode::invalid_config,
           std::to_string(number) + " is not between " + std::to_string(min) + " and " +
               std::to_string(max),
           {.file = file_, .field = prefix_ + key, .limit = static_cast<std::uint64_t>(max)});
    return number;
  }
  std::optional<std::int32_t> id_of(const Json& value, const char* key, std::int64_t last) const {
    const std::int64_t number = integer_of(value, key, INT64_MIN, last);
    return number < 0 ? std::nullopt : std::optional(static_cast<std::int32_t>(number));
  }
  /// Null counts as absent: transformers writes null for options that are not set.
  const Json* find(const char* key) const {
    if (!object_->is_object()) return nullptr;
    const auto it = object_->find(key);
    return it == object_->end() || it->is_null() ? nullptr : &*it;
  }
  [[noreturn]] void wrong_type(const char* key, const char* wanted) const {
    fail(ErrorCode::invalid_config, std::string("must be ") + wanted,
         {.file = file_, .field = prefix_ + key});
  }

  const Json* object_;
  std::string file_, prefix_;
};

}}  // namespace idefics::v0
