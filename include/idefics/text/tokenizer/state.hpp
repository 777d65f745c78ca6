// What a tokenizer consists of.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <idefics/core/warning.hpp>
#include <idefics/text/tokenizer/added_vocabulary.hpp>
#include <idefics/text/tokenizer/arguments.hpp>
#include <idefics/text/tokenizer/chat_templates.hpp>
#include <idefics/text/tokenizer/decoder.hpp>
#include <idefics/text/tokenizer_types.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// What tokenizer_config.json sets for calls of the processor.
struct CallArguments {
  std::optional<bool> add_end_of_utterance_token{};
  std::int64_t pad_to_multiple_of = 1;
  std::string refused{}, why{};  // a key that cannot be followed
};

/// Everything that a tokenizer consists of; never changes after loading.
struct TokenizerState {
  std::string file;  // the directory, for errors
  std::optional<Bpe> model;
  Normalizer normalizer;
  std::vector<MetaspaceStep> pre_tokenizer;
  Decoder decoder;
  AddedVocabulary added;
  std::map<std::string, std::string> special;  // contents by name: bos_token, image_token, ...
  std::vector<std::string> additional_special_tokens;
  bool add_bos_token = true, add_eos_token = false;
  bool split_special_tokens = false, clean_up_tokenization_spaces = false;
  PaddingSide padding_side = PaddingSide::left;
  TruncationSide truncation_side = TruncationSide::right;
  std::optional<std::int64_t> model_max_length;
  ChatTemplates chat_templates;
  CallArguments call;
  Warnings warnings;
};

/// What counts as true in Python.
inline bool counts_as_true(const Json& value) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.empty();
}

/// A number, as which true and false count in Python.
inline std::optional<double> python_number(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

inline bool is_empty_container(const Json& value) { return value.is_structured() && value.empty(); }

/// A boolean argument, which may be given as any value.
inline bool argument_is_true(const TokenizerArguments& arguments, const char* key, bool fallback) {
  return arguments.values.contains(key) ? counts_as_true(value_or_null(arguments, key)) : fallback;
}

}}}  // namespace idefics::v0::detail
