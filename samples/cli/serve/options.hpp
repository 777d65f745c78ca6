// The options of a request: OpenAI's fields, and GenerationConfig's under transformers' names.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/generation/options/read_config.hpp>

#include "cli/serve/fields.hpp"
#include "cli/serve/format.hpp"

namespace cli::serve {

enum class Route { chat, completions };

struct Options {
  std::string model;
  idefics::GenerationConfig config;
  std::vector<std::string> stop;  // ends an answer and is not part of it, unlike stop_strings
  bool stream = false, include_usage = false, logprobs = false;
  std::map<std::string, std::string> sent_as;  // names of the request, by transformers' names
  std::optional<idefics::ConstrainedText> format;
};

/// The most alternatives of each token, as OpenAI limits them.
inline constexpr std::int64_t most_top_logprobs = 20;

namespace options {

/// Fields that OpenAI defines and that change nothing here.
inline constexpr std::array without_effect{"user",
                                           "metadata",
                                           "store",
                                           "service_tier",
                                           "prompt_cache_key",
                                           "safety_identifier",
                                           "verbosity",
                                           "reasoning_effort",
                                           "parallel_tool_calls",
                                           "prompt_cache_retention"};

/// Fields that are accepted as long as they ask for nothing.
inline constexpr std::array not_supported{"tools",       "functions",    "audio",
                                          "tool_choice", "prediction",   "web_search_options",
                                          "suffix",      "function_call"};

/// Options whose tensors no answer has a place for.
inline constexpr std::array not_returned{"output_scores", "output_logits", "output_attentions"};

inline bool asks_for_nothing(const idefics::Json& value) {
  return value == "none" || value == "auto" || value == "" ||
         (value.is_structured() && value.empty());
}

/// Puts an option under transformers' name, unless it was given with another value.
inline void put(idefics::Json& given, const std::string& from, const std::string& name,
                const idefics::Json& value) {
  if (given.contains(name) && given[name] != value)
    refuse(from, "contradicts another field for " + name);
  given[name] = value;
}

/// {"id": bias, …} as sequence_bias.
inline void add_logit_bias(idefics::Json& given, const idefics::Json& bias) {
  if (!bias.is_object()) refuse("logit_bias", "must map token ids to numbers");
  idefics::Json list = given.value("sequence_bias", idefics::Json::array());
  if (!list.is_array()) refuse("sequence_bias", "must be an array");
  for (const auto& [key, value] : bias.items()) {
    const bool digits =
        !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || !value.is_number())
      refuse("logit_bias." + key.substr(0, 200), "must map token ids to numbers");
    list.push_back({{std::stoi(key)}, value});
  }
  if (!list.empty()) given["sequence_bias"] = std::move(list);
}

inline void read_logprobs(Fields& fields, Route route, idefics::Json& given, Options& result) {
  if (const idefics::Json* value = fields.find("logprobs")) {
    if (route == Route::chat) {
      result.logprobs = fields.boolean("logprobs");
    } else {
      if (!value->is_number_unsigned()) refuse("logprobs", "must be a number from 0 to 20");
      put(given, "logprobs", "top_logprobs", *value);
    }
  }
  if (result.logprobs && !given.contains("top_logprobs")) given["top_logprobs"] = 0;
  if (!given.contains("top_logprobs")) return;
  result.logprobs = true;
  if (!given["top_logprobs"].is_number_unsigned() || given["top_logprobs"] > most_top_logprobs)
    refuse("top_logprobs", "must be a number from 0 to 20");
}

inline void read_stream(Fields& fields, Options& result) {
  result.stream = fields.boolean("stream");
  const idefics::Json* given = fields.find("stream_options");
  if (given == nullptr) return;
  if (!result.stream) refuse("stream_options", "needs stream");
  Fields more(*given, "stream_options");
  result.include_usage = more.boolean("include_usage");
  more.skip("include_obfuscation");
  more.finish();
}

inline void refuse_unsupported_fields(Fields& fields) {
  for (const char* name : not_supported)
    if (const idefics::Json* value = fields.find(name); value && !asks_for_nothing(*value))
      refuse(name, "is not supported");
  for (const char* name : not_returned)
    if (fields.boolean(name)) refuse(name, "is not returned by a server: use top_logprobs");
  if (const idefics::Json* value = fields.find("modalities");
      value && *value != idefics::Json::array({"text"}))
    refuse("modalities", "only text is supported");
}

/// As OpenAI's clients mean it: who sets a temperature or top_p samples, and 0 is greedy search.
inline void imply_sampling(idefics::Json& given) {
  if (given.contains("temperature") && given["temperature"] == 0) {  // as on the command line
    given.erase("temperature");
    given["do_sample"] = false;
  }
  if (given.contains("do_sample")) return;
  const bool beams = given.contains("num_beams") && given["num_beams"] != 1;
  const bool several = given.contains("num_return_sequences") && given["num_return_sequences"] != 1;
  if (given.contains("temperature") || given.contains("top_p") || given.contains("best_of") ||
      (several && !beams))
    given["do_sample"] = true;
}

}  // namespace options

/// Reads all fields but those in `own`, which the route reads itself. Throws `invalid_option`.
inline Options read_options(Fields& fields, Route route, const std::vector<std::string>& own) {
  Options result;
  idefics::Json given = idefics::Json::object();
  for (const std::string& name : own) fields.skip(name);
  for (const char* name : options::without_effect) fields.skip(name);
  result.model = fields.text("model");
  options::refuse_unsupported_fields(fields);
  result.format = read_format(fields);
  for (const auto& [name, value] : fields.object().items())
    if (idefics::detail::is_known_option(name)) {
      fields.skip(name);
      if (!value.is_null()) given[name] = value;
    }
  for (const auto& [from, name] : {std::pair{"max_tokens", "max_new_tokens"},
                                   std::pair{"max_completion_tokens", "max_new_tokens"},
                                   std::pair{"n", "num_return_sequences"}})
    if (const idefics::Json* value = fields.find(from)) {
      options::put(given, from, name, *value);
      result.sent_as[name] = from;
    }
  result.stop = fields.texts("stop");
  if (std::ranges::any_of(result.stop, &std::string::empty)) refuse("stop", "a string is empty");
  if (!result.stop.empty()) result.sent_as["stop_strings"] = "stop";
  if (const idefics::Json* bias = fields.find("logit_bias")) {
    options::add_logit_bias(given, *bias);
    result.sent_as["sequence_bias"] = "logit_bias";
  }
  options::read_logprobs(fields, route, given, result);
  options::read_stream(fields, result);
  fields.finish();
  options::imply_sampling(given);
  result.config = idefics::generation_config_from_json(given, "");
  result.config.stop_strings.insert(result.config.stop_strings.end(), result.stop.begin(),
                                    result.stop.end());
  return result;
}

}  // namespace cli::serve
