// In the reference, the tokenizer's arguments are also the defaults of every call of its processor.
// Source: ProcessorMixin._merge_kwargs, IdeficsProcessorKwargs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer/state.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// What a key may be without a change of the processor's tensors.
struct HarmlessValues {
  const char* key;
  const char* values;  // as JSON, a list
  const char* instead;
};

inline constexpr HarmlessValues harmless_call_arguments[] = {
    {"padding", R"([true, "longest"])", "rows are padded to the longest"},
    {"truncation", R"([null, false, "do_not_truncate"])", "cut texts before the call"},
    {"is_split_into_words", "[false]", "texts are not split into words"},
    {"model_input_names", R"([["input_ids", "attention_mask"]])", "ids and masks are always made"},
    {"return_mm_token_type_ids", "[]", "the reference fails, too"},
    {"return_overflowing_tokens", R"([null, false, 0, "", [], {}])", "nothing overflows"},
    {"return_attention_mask", R"([null, true, 1, "x"])", "the mask is always made"},
    {"text_pair", "[null]", "a prompt is one text"},
    {"text_target", "[null]", "a prompt has no target"},
    {"text_pair_target", "[null]", "a prompt has no target"},
    {"return_tensors", R"(["pt"])", "tensors are always made"},
    {"transform", "[null]", "pictures are always prepared in the same way"},
    {"image_size", "[null]", "set it in preprocessor_config.json"},
    {"image_mean", "[null]", "set it in preprocessor_config.json"},
    {"image_std", "[null]", "set it in preprocessor_config.json"},
    {"rescale_factor", "[null]", "set it in preprocessor_config.json"}};

inline CallArguments read_call_arguments(const TokenizerArguments& arguments) {
  CallArguments call;
  for (const auto& [key, values, instead] : harmless_call_arguments) {
    const auto found = arguments.values.find(std::string_view(key));
    if (found == arguments.values.end()) continue;
    const JsonDocument allowed = parse_document(values, key);
    if (std::ranges::find(*allowed, *found->second) == allowed->end())
      return {.refused = key, .why = std::string("cannot be set here: ") + instead};
  }
  const Json& multiple = value_or_null(arguments, "pad_to_multiple_of");
  const auto number = python_number(multiple);
  if (number && *number >= 0 && *number <= 1 << 16 && *number == std::floor(*number))
    call.pad_to_multiple_of = std::max<std::int64_t>(static_cast<std::int64_t>(*number), 1);
  else if (!multiple.is_null())
    return {.refused = "pad_to_multiple_of", .why = "must be an integer from 0 to 65536"};
  const char* length_key =
      arguments.values.contains("model_max_length") ? "model_max_length" : "max_len";
  if (const Json& length = value_or_null(arguments, length_key);
      !length.is_null() && !python_number(length))
    return {.refused = length_key, .why = "must be a number"};
  const Json& turns = value_or_null(arguments, "add_end_of_utterance_token");
  if (!turns.is_null()) call.add_end_of_utterance_token = counts_as_true(turns);
  return call;
}

}}}  // namespace idefics::v0::detail
