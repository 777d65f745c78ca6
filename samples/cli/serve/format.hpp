// The form that an answer must have: OpenAI's response_format, and vLLM's guided_regex.
#pragma once

#include <optional>
#include <string>

#include <idefics/constrained_text.hpp>

#include "cli/serve/fields.hpp"

namespace cli::serve {

/// The schema of {"type": "json_schema", "json_schema": {"name", "schema", "strict"}}.
inline idefics::ConstrainedText read_schema(Fields& format) {
  Fields named(format.at("json_schema"), "response_format.json_schema");
  for (const char* name : {"name", "description", "strict"}) named.skip(name);
  const idefics::Json& schema = named.at("schema");
  named.finish();
  return idefics::ConstrainedText::json_schema(schema, "response_format.json_schema.schema");
}

/// Nothing if any text will do. Throws `invalid_option`.
inline std::optional<idefics::ConstrainedText> read_format(Fields& fields) {
  const std::string expression = fields.text("guided_regex");
  const idefics::Json* given = fields.find("response_format");
  if (!expression.empty()) {
    if (given != nullptr) refuse("guided_regex", "excludes response_format");
    return idefics::ConstrainedText::regex(expression, "guided_regex");
  }
  if (given == nullptr) return std::nullopt;
  Fields format(*given, "response_format");
  const std::string type = format.text("type");
  std::optional<idefics::ConstrainedText> text;
  if (type == "json_object")
    text = idefics::ConstrainedText::json_object();
  else if (type == "json_schema")
    text = read_schema(format);
  else if (type != "text")
    refuse("response_format.type", "must be text, json_object or json_schema");
  format.finish();
  return text;
}

}  // namespace cli::serve
