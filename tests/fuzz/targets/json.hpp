// The JSON reader: an accepted value must survive being written and read again, in JSON and in
// Python's dialect of it, and JSON must have the same value in both.
#pragma once

#include <cmath>

#include <idefics/io/json.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

/// A string in quotes: surrogates, which have three bytes that are not valid UTF-8, as escapes.
inline std::string quoted_python(const std::string& text) {
  std::string valid, result = "\"";
  const auto flush = [&] {
    const std::string part = idefics::Json(std::exchange(valid, {})).dump();
    result.append(part, 1, part.size() - 2);
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    if (byte(i) == 0xed && i + 2 < text.size() && byte(i + 1) >= 0xa0) {
      char escape[8];
      const unsigned unit = 0xd000u | (byte(i + 1) & 0x3fu) << 6 | (byte(i + 2) & 0x3fu);
      flush();
      result.append(
          escape, static_cast<std::size_t>(std::snprintf(escape, sizeof escape, "\\u%04x", unit)));
      i += 2;
    } else {
      valid.push_back(text[i]);
    }
  }
  flush();
  return result + "\"";
}

/// A value as Python's json.dumps writes it.
inline std::string python_dump(const idefics::Json& value) {
  std::string text;
  if (value.is_string()) return quoted_python(value.get<std::string>());
  if (value.is_number_float() && !std::isfinite(value.get<double>()))
    return std::isnan(value.get<double>()) ? "NaN"
           : value.get<double>() > 0       ? "Infinity"
                                           : "-Infinity";
  if (!value.is_structured()) return value.dump();
  for (const auto& [name, part] : value.items()) {
    text += text.empty() ? "" : ",";
    if (value.is_object()) text += quoted_python(name) + ":";
    text += python_dump(part);
  }
  return value.is_object() ? "{" + text + "}" : "[" + text + "]";
}

inline void json(Bytes input) {
  using idefics::parse_json;
  const idefics::Json value = parse_json(text_of(input), "input");
  const std::string text = python_dump(value);
  const idefics::JsonOptions any_size{.bytes = ~std::uint64_t{0}};
  expect(python_dump(parse_json(text, "again", any_size)) == text,
         "a value changes when it is written and read");
  const idefics::Json strict = parse_json(text_of(input), "input", {.strict = true});
  expect(strict.dump() == text, "a value differs between JSON and Python's dialect");
}

}  // namespace fuzz
