// JSON texts as patterns: of a schema, or any. Objects of a schema have their properties in alphabetical
// order; between tokens there is at most one space, after a comma or a colon.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/text/pattern/regex.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The parts that JSON texts consist of.
class JsonPatterns {
 public:
  explicit JsonPatterns(Patterns& patterns) : p_(patterns) {}

  /// The characters of a string, from `min` to `max` of them.
  int string(int min, int max) { return quoted(p_.repeat(character(), min, max)); }
  int quoted(int content) { return p_.sequence({p_.text("\""), content, p_.text("\"")}); }
  int integer() {
    const int digit = p_.bytes(Patterns::range('0', '9'));
    return p_.sequence({p_.optional(p_.text("-")),
                        p_.either({p_.text("0"), p_.sequence({p_.bytes(Patterns::range('1', '9')),
                                                              p_.repeat(digit, 0, 14)})})});
  }
  int number() {
    const int digit = p_.bytes(Patterns::range('0', '9'));
    const int fraction = p_.sequence({p_.text("."), p_.repeat(digit, 1, 15)});
    const int exponent = p_.sequence(
        {p_.bytes(Patterns::one('e') | Patterns::one('E')),
         p_.optional(p_.bytes(Patterns::one('+') | Patterns::one('-'))), p_.repeat(digit, 1, 2)});
    return p_.sequence({integer(), p_.optional(fraction), p_.optional(exponent)});
  }
  int boolean() { return p_.either({p_.text("true"), p_.text("false")}); }
  int comma() { return p_.sequence({p_.text(","), p_.optional(p_.text(" "))}); }
  int colon() { return p_.sequence({p_.text(":"), p_.optional(p_.text(" "))}); }

  /// `item` between brackets, from `min` to `max` times (max < 0: without a limit).
  int list(std::string_view open, int item, int min, int max, std::string_view close) {
    if (max == 0) return p_.text(std::string(open) + std::string(close));
    int items = 0;
    if (max < 0 && min <= 1)
      items = p_.joined(item, comma());
    else
      items = p_.sequence({item, p_.repeat(p_.sequence({comma(), item}), std::max(0, min - 1),
                                           max < 0 ? -1 : max - 1)});
    return p_.sequence({p_.text(open), min == 0 ? p_.optional(items) : items, p_.text(close)});
  }
  /// Any value that contains lists and objects up to `depth` deep.
  int any(int depth) {
    std::vector<int> kinds{string(0, -1), number(), boolean(), p_.text("null")};
    if (depth > 0) kinds.push_back(list("[", any(depth - 1), 0, -1, "]"));
    if (depth > 0) kinds.push_back(object(depth));
    return p_.either(std::move(kinds));
  }
  int object(int depth) {
    return list("{", p_.sequence({string(0, -1), colon(), any(depth - 1)}), 0, -1, "}");
  }

 private:
  int character() {
    const ByteSet plain = Patterns::range(0x20, 0x7f) & ~Patterns::one('"') & ~Patterns::one('\\');
    const ByteSet hex =
        Patterns::range('0', '9') | Patterns::range('a', 'f') | Patterns::range('A', 'F');
    ByteSet escaped;
    for (const char c : std::string_view("\"\\/bfnrt")) escaped |= Patterns::one(c);
    // \u of what is not half of a pair
    const int four =
        p_.sequence({p_.text("u"), p_.bytes(hex & ~Patterns::one('d') & ~Patterns::one('D')),
                     p_.repeat(p_.bytes(hex), 3, 3)});
    return p_.either({p_.bytes(plain), p_.beyond_ascii(),
                      p_.sequence({p_.text("\\"), p_.either({p_.bytes(escaped), four})})});
  }

  Patterns& p_;
};

/// A JSON schema as a pattern. Keywords that describe are ignored, and those that it cannot keep are
/// refused, so that every text that matches is valid.
class SchemaPattern {
 public:
  SchemaPattern(Patterns& patterns, const Json& root, std::string field)
      : p_(patterns), json_(patterns), root_(root), field_(std::move(field)) {}

  /// Throws `invalid_option` naming the place in the schema.
  int parse() { return value(root_, field_, 0); }

 private:
  static constexpr int most_depth = 16, most_recursions = 5, most_items = 1000, any_depth = 4;

  [[noreturn]] static void refuse(const std::string& why, const std::string& at) {
    refuse_pattern(why, at);
  }
  static void check_keys(const Json& schema, const std::string& at) {
    static constexpr std::array known{
        "type",      "properties",  "required",    "additionalProperties",
        "items",     "minItems",    "maxItems",    "minLength",
        "maxLength", "pattern",     "enum",        "const",
        "anyOf",     "oneOf",       "$ref",        "$defs",
        "title",     "description", "definitions", "$schema",
        "$id",       "$comment",    "default",     "examples",
        "readOnly",  "writeOnly",   "deprecated"};
    for (const auto& [key, member] : schema.items())
      if (std::ranges::find(known, key) == known.end()) refuse("is not supported", at + "." + key);
  }

  int value(const Json& schema, const std::string& at, int depth) {
    if (depth > most_depth) refuse("is too deep", at);
    if (schema.is_boolean() && schema.get<bool>()) return json_.any(any_depth);
    if (!schema.is_object()) refuse("must be an object", at);
    check_keys(schema, at);
    if (schema.contains("$ref")) return reference(target(schema["$ref"], at), at, depth + 1);
    if (schema.contains("const")) return p_.text(schema["const"].dump());
    if (schema.contains("enum")) {
      if (!schema["enum"].is_array()) refuse("must be an array", at + ".enum");
      std::vector<int> values;
      for (const Json& one : schema["enum"]) values.push_back(p_.text(one.dump()));
      return p_.either(std::move(values));
    }
    for (const char* key : {"anyOf", "oneOf"})
      if (schema.contains(key)) {
        if (!schema[key].is_array()) refuse("must be an array", at + "." + key);
        std::vector<int> values;
        for (const Json& one : schema[key]) values.push_back(value(one, at + "." + key, depth + 1));
        return p_.either(std::move(values));
      }
    return typed(schema, at, depth);
  }

  /// A definition, which may contain references to itself: they end after some levels.
  int reference(const Json& definition, const std::string& at, int depth) {
    int& levels = levels_[&definition];
    if (levels == most_recursions) return p_.either({});
    ++levels;
    const int all = value(definition, at, depth);
    --levels_[&definition];
    return all;
  }

  int typed(const Json& schema, const std::string& at, int depth) {
    if (!schema.contains("type")) {
      if (schema.contains("properties")) return object(schema, at, depth);
      return json_.any(any_depth);
    }
    const Json& type = schema["type"];
    if (type.is_string()) return of_type(type.get<std::string>(), schema, at, depth);
    if (!type.is_array()) refuse("must be a string or an array", at + ".type");
    std::vector<int> types;
    for (const Json& one : type) {
      if (!one.is_string()) refuse("must be a string", at + ".type");
      types.push_back(of_type(one.get<std::string>(), schema, at, depth));
    }
    return p_.either(std::move(types));
  }
  int of_type(const std::string& type, const Json& schema, const std::string& at, int depth) {
    if (type == "object") return object(schema, at, depth);
    if (type == "array") return array(schema, at, depth);
    if (type == "string") return string(schema, at);
    if (type == "integer") return json_.integer();
    if (type == "number") return json_.number();
    if (type == "boolean") return json_.boolean();
    if (type == "null") return p_.text("null");
    refuse("is not a type of JSON: " + type.substr(0, 50), at + ".type");
  }

  /// A number of items or characters; `missing` if the schema does not say.
  int count(const Json& schema, const char* key, int missing, const std::string& at) {
    if (!schema.contains(key)) return missing;
    const Json& n = schema[key];
    if (!n.is_number_integer() || n.get<std::int64_t>() < 0 || n.get<std::int64_t>() > most_items)
      refuse_pattern("must be a whole number up to 1000", at + "." + key, most_items);
    return n.get<int>();
  }
  int string(const Json& schema, const std::string& at) {
    const int min = count(schema, "minLength", 0, at), max = count(schema, "maxLength", -1, at);
    if (max >= 0 && max < min) refuse("is less than minLength", at + ".maxLength");
    if (!schema.contains("pattern")) return json_.string(min, max);
    if (!schema["pattern"].is_string()) refuse("must be a string", at + ".pattern");
    refuse("is not supported within JSON; use a regular expression for the whole answer",
           at + ".pattern");
  }
  int array(const Json& schema, const std::string& at, int depth) {
    const int min = count(schema, "minItems", 0, at), max = count(schema, "maxItems", -1, at);
    if (max >= 0 && max < min) refuse("is less than minItems", at + ".maxItems");
    const int item = schema.contains("items") ? value(schema["items"], at + ".items", depth + 1)
                                              : json_.any(any_depth);
    return json_.list("[", item, min, max, "]");
  }

  int object(const Json& schema, const std::string& at, int depth) {
    if (!schema.contains("properties")) {
      if (schema.contains("required")) refuse("needs properties", at + ".required");
      return json_.object(any_depth);
    }
    const Json& properties = schema["properties"];
    if (!properties.is_object()) refuse("must be an object", at + ".properties");
    std::vector<int> members;
    std::vector<bool> required;
    for (const auto& [name, member] : properties.items()) {
      members.push_back(p_.sequence({p_.text(Json(name).dump()), json_.colon(),
                                     value(member, at + ".properties." + name, depth + 1)}));
      required.push_back(is_required(schema, name, at));
    }
    // what may follow member i: with a comma first if there was a member before
    int after = p_.sequence({}), first = after;
    for (std::size_t i = members.size(); i-- > 0;) {
      const int with_comma = p_.sequence({json_.comma(), members[i], after});
      const int as_first = p_.sequence({members[i], after});
      first = required[i] ? as_first : p_.either({as_first, first});
      after = required[i] ? with_comma : p_.either({with_comma, after});
    }
    return p_.sequence({p_.text("{"), first, p_.text("}")});
  }
  static bool is_required(const Json& schema, const std::string& name, const std::string& at) {
    if (!schema.contains("required")) return false;
    const Json& list = schema["required"];
    if (!list.is_array()) refuse("must be an array", at + ".required");
    return std::ranges::find(list, Json(name)) != list.end();
  }

  const Json& target(const Json& reference, const std::string& at) const {
    const std::string path = reference.is_string() ? reference.get<std::string>() : "";
    for (const char* key : {"$defs", "definitions"}) {
      const std::string prefix = std::string("#/") + key + "/";
      if (path.starts_with(prefix) && root_.is_object() && root_.contains(key) &&
          root_[key].is_object() && root_[key].contains(path.substr(prefix.size())))
        return root_[key][path.substr(prefix.size())];
    }
    if (path == "#") return root_;
    refuse("does not name a definition of the schema", at + ".$ref");
  }

  Patterns& p_;
  JsonPatterns json_;
  const Json& root_;
  std::string field_;
  std::map<const Json*, int> levels_;  // of definitions that are being read
};

}}}  // namespace idefics::v0::detail
