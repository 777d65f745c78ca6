// Reads the options in generation_config.json or, without one, those in config.json, as the
// reference merges them.
#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/generation/options/fields.hpp>
#include <idefics/io/json.hpp>
#include <idefics/model/config.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

// from_json(json, value) parses a value and returns whether it has the right form.

inline bool from_json(const Json& json, bool& value) {
  return json.is_boolean() && (value = json.get<bool>(), true);
}
inline bool from_json(const Json& json, std::int64_t& value) {
  if (!json.is_number_integer()) return false;
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX) return false;
  value = json.get<std::int64_t>();
  return true;
}
inline bool from_json(const Json& json, std::uint64_t& value) {
  return json.is_number_unsigned() && (value = json.get<std::uint64_t>(), true);
}
inline bool from_json(const Json& json, std::int32_t& value) {
  std::int64_t wide = 0;
  if (!from_json(json, wide) || wide < INT32_MIN || wide > INT32_MAX) return false;
  value = static_cast<std::int32_t>(wide);
  return true;
}
inline bool from_json(const Json& json, double& value) {
  return json.is_number() && (value = json.get<double>(), true);
}
inline bool from_json(const Json& json, std::string& value) {
  return json.is_string() && (value = json.get<std::string>(), true);
}
inline bool from_json(const Json& json, EarlyStopping& value) {
  if (json.is_boolean()) return value = EarlyStopping(json.get<bool>()), true;
  return is_text(json, "never") && (value = EarlyStopping::never, true);
}

inline bool from_json(const Json& json, SequenceBias& value);

template <class T>
bool from_json(const Json& json, std::vector<T>& list) {
  constexpr bool accepts_scalar = std::is_arithmetic_v<T> || std::is_same_v<T, std::string>;
  if (accepts_scalar && !json.is_array()) return from_json(json, list.emplace_back());
  if (!json.is_array()) return false;
  return std::ranges::all_of(
      json, [&](const Json& entry) { return from_json(entry, list.emplace_back()); });
}

template <class A, class B>
bool pair_from_json(const Json& json, A& first, B& second) {
  return json.is_array() && json.size() == 2 && from_json(json[0], first) &&
         from_json(json[1], second);
}
inline bool from_json(const Json& json, SequenceBias& value) {
  return json.is_array() && !json.empty() && json[0].is_array() &&
         pair_from_json(json, value.ids, value.bias);
}
inline bool from_json(const Json& json, ExponentialDecay& value) {
  return pair_from_json(json, value.start, value.factor);
}
inline bool from_json(const Json& json, DolaLayers& value) {
  return json.is_string() ? from_json(json, value.bucket) : from_json(json, value.layers);
}
inline bool from_json(const Json& json, WatermarkingConfig& value) {
  if (!json.is_object()) return false;
  for (const auto& [key, entry] : json.items()) {
    const bool known = key == "greenlist_ratio"  ? from_json(entry, value.greenlist_ratio)
                       : key == "bias"           ? from_json(entry, value.bias)
                       : key == "hashing_key"    ? from_json(entry, value.hashing_key)
                       : key == "seeding_scheme" ? from_json(entry, value.seeding_scheme)
                       : key == "context_width"  ? from_json(entry, value.context_width)
                                                 : false;
    if (!known) return false;
  }
  return true;
}

/// bad_words_ids and similar options: a list of lists, not a flat list of ids.
inline bool from_json(const Json& json, std::vector<std::vector<std::int32_t>>& lists) {
  return json.is_array() && !json.empty() && std::ranges::all_of(json, [&](const Json& entry) {
           return entry.is_array() && from_json(entry, lists.emplace_back());
         });
}
/// force_words_ids: an entry is a phrase, or a list of alternative phrases.
inline bool from_json(const Json& json,
                      std::vector<std::vector<std::vector<std::int32_t>>>& entries) {
  return json.is_array() && std::ranges::all_of(json, [&](const Json& entry) {
           if (!entry.is_array() || entry.empty()) return false;
           auto& alternatives = entries.emplace_back();
           return entry[0].is_array() ? from_json(entry, alternatives)
                                      : from_json(entry, alternatives.emplace_back());
         });
}
template <class T>
bool from_json(const Json& json, std::optional<T>& value) {
  return from_json(json, value.emplace());
}

/// Keys of transformers' files that do not affect results here: caches, speed, bookkeeping.
inline constexpr std::array keys_without_effect{"use_cache",
                                                "cache_implementation",
                                                "cache_config",
                                                "return_legacy_cache",
                                                "prefill_chunk_size",
                                                "compile_config",
                                                "disable_compile",
                                                "low_memory",
                                                "is_assistant",
                                                "assistant_lookbehind",
                                                "target_lookbehind",
                                                "return_dict_in_generate",
                                                "decoder_start_token_id",
                                                "transformers_version",
                                                "_from_model_config",
                                                "_commit_hash"};

/// Options of transformers that this engine does not support: accepted if they are null or false.
inline constexpr std::array keys_not_supported{"token_healing", "output_hidden_states",
                                               "constraints", "assistant_early_exit"};

inline bool has_key(const auto& keys, std::string_view key) {
  return std::ranges::any_of(keys, [key](std::string_view k) { return k == key; });
}

/// Throws `invalid_option` if an unsupported option is set.
inline void refuse_unsupported(const Json& json, const std::string& file) {
  for (const auto& [key, value] : json.items())
    if (has_key(keys_not_supported, key) && !value.is_null() && value != false)
      fail(ErrorCode::invalid_option, "this option is not supported", {.file = file, .field = key});
}

/// Whether a key is an option, or known to have no effect here.
inline bool is_known_option(std::string_view key) {
  bool known = has_key(keys_without_effect, key) || has_key(keys_not_supported, key);
  for_each_field([&](const FieldInfo& info, auto) { known = known || key == info.name; });
  return known;
}

/// Throws `invalid_option` for a key that is not known.
inline void refuse_unknown(const Json& json, const std::string& file) {
  for (const auto& [key, value] : json.items()) {
    if (!is_known_option(key))
      fail(ErrorCode::invalid_option, "unknown option",
           {.file = file, .field = key.substr(0, 200)});
  }
}

/// The options that `json` sets. Other keys are ignored, and null means unset.
inline GenerationConfig read_known_options(const Json& json, const std::string& file) {
  GenerationConfig config;
  for_each_field([&](const FieldInfo& info, auto member) {
    using T = std::remove_cvref_t<decltype(config.*member)>;
    const auto found = json.find(info.name);
    if (found == json.end() || found->is_null()) return;
    if constexpr (program_only<T>)
      fail(ErrorCode::invalid_option, "this option can only be set in a program",
           {.file = file, .field = info.name});
    else if (!from_json(*found, config.*member))
      fail(ErrorCode::invalid_option,
           "wrong form for this option: " +
               found->dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 200),
           {.file = file, .field = info.name});
  });
  return config;
}

}  // namespace detail

/// How unknown keys are handled. A misspelled option of a call should be reported; published files
/// contain keys of other versions and of the tools that wrote them.
enum class UnknownKeys { refuse, ignore };

/// Options from a parsed file or from flags; `file` is named in errors. Throws `invalid_option` for
/// unknown keys unless they are ignored, for unsupported options and for values of the wrong form;
/// ranges are checked when the options are used.
inline GenerationConfig generation_config_from_json(const Json& json, const std::string& file,
                                                    UnknownKeys unknown = UnknownKeys::refuse) {
  if (!json.is_object())
    fail(ErrorCode::invalid_option, "options must be a JSON object", {.file = file});
  if (unknown == UnknownKeys::refuse) detail::refuse_unknown(json, file);
  detail::refuse_unsupported(json, file);
  GenerationConfig config = detail::read_known_options(json, file);
  config.file = file;
  return config;
}

/// Options from a generation_config.json. A max_length of 20 is the default that transformers
/// writes, and counts as unset.
inline GenerationConfig generation_config_from_file(const std::filesystem::path& path,
                                                    UnknownKeys unknown = UnknownKeys::refuse) {
  GenerationConfig config =
      generation_config_from_json(*detail::read_document(path), path.string(), unknown);
  if (config.max_length == 20) config.max_length.reset();
  return config;
}

/// The options of a checkpoint: generation_config.json or, without one, the options in config.json.
/// As in transformers, unknown keys of either are ignored.
inline GenerationConfig read_generation_config(const std::filesystem::path& directory,
                                               const Config& model) {
  const auto path = directory / "generation_config.json";
  if (std::filesystem::exists(path)) return generation_config_from_file(path, UnknownKeys::ignore);
  const auto config_path = directory / "config.json";
  GenerationConfig config =
      detail::read_known_options(*detail::read_document(config_path), config_path.string());
  if (config.max_length == 20) config.max_length.reset();
  config.file = config_path.string();
  config.eos_token_id = model.eos_token_ids;
  config.bos_token_id = model.bos_token_id;
  config.pad_token_id = model.pad_token_id;
  return config;
}

}}  // namespace idefics::v0
