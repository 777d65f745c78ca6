// generation_config.json, or, where there is none, what config.json says; as the reference merges
// them.
#pragma once

#include <filesystem>
#include <string>

#include <idefics/generation/config.hpp>
#include <idefics/model/config.hpp>

namespace idefics::inline v0 {

namespace detail {

/// Options that would change the result and that this version does not have are refused, not
/// ignored.
inline void refuse_unsupported(const ConfigFields& fields) {
  auto refuse = [&fields](const char* key) {
    fail(ErrorCode::invalid_option, "this option is not supported by greedy search",
         {.file = fields.file(), .field = key});
  };
  if (fields.flag("do_sample", false)) refuse("do_sample");
  if (fields.integer("num_beams", 1, 1, 1 << 16) != 1) refuse("num_beams");
  if (fields.number("repetition_penalty", 1.0f, 0.0f, 1e6f) != 1.0f) refuse("repetition_penalty");
  if (fields.integer("no_repeat_ngram_size", 0, 0, 1 << 20) != 0) refuse("no_repeat_ngram_size");
  for (const char* key :
       {"suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id", "sequence_bias",
        "exponential_decay_length_penalty", "stop_strings", "penalty_alpha"})
    if (fields.has(key)) refuse(key);
}

inline std::vector<std::vector<std::int32_t>> read_id_lists(const Json& json,
                                                            const std::string& file,
                                                            const char* key, std::int64_t last) {
  std::vector<std::vector<std::int32_t>> lists;
  if (!json.contains(key) || json.at(key).is_null()) return lists;
  if (!json.at(key).is_array())
    fail(ErrorCode::invalid_option, "must be a list of lists of ids", {.file = file, .field = key});
  for (const Json& entry : json.at(key)) {
    const Json wrapped{{key, entry}};
    lists.push_back(ConfigFields(wrapped, file, "").ids(key, {}, last));
  }
  return lists;
}

}  // namespace detail

/// Options of generation from a parsed file; ids are checked against the vocabulary of `model`.
inline GenerationConfig generation_config_from_json(const Json& json, const std::string& file,
                                                    const Config& model) {
  const ConfigFields fields(json, file, "");
  const std::int64_t last = model.total_vocab_size() - 1;
  auto length = [&fields](const char* key) -> std::optional<std::int64_t> {
    if (!fields.has(key)) return std::nullopt;
    return fields.integer(key, 0, 0, 1 << 30);
  };
  detail::refuse_unsupported(fields);
  GenerationConfig c;
  c.max_new_tokens = length("max_new_tokens");
  c.max_length = length("max_length");
  if (c.max_length == 20) c.max_length.reset();  // the default of transformers counts as not set
  c.min_new_tokens = length("min_new_tokens");
  c.min_length = length("min_length").value_or(0);
  if (fields.has("eos_token_id")) c.eos_token_id = fields.ids("eos_token_id", {}, last);
  c.pad_token_id = fields.id("pad_token_id", std::nullopt, last);
  c.bos_token_id = fields.id("bos_token_id", std::nullopt, last);
  c.bad_words_ids = detail::read_id_lists(json, file, "bad_words_ids", last);
  return c;
}

inline GenerationConfig read_generation_config(const std::filesystem::path& directory,
                                               const Config& model) {
  const auto path = directory / "generation_config.json";
  if (std::filesystem::exists(path))
    return generation_config_from_json(read_json_file(path), path.string(), model);
  GenerationConfig c;
  c.eos_token_id = model.eos_token_ids;
  c.bos_token_id = model.bos_token_id;
  c.pad_token_id = model.pad_token_id;
  return c;
}

}  // namespace idefics::inline v0
