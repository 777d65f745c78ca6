// Options of generation under their transformers names (GenerationConfig), read from
// generation_config.json and overridden by the call.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <idefics/core/error.hpp>

namespace idefics::inline v0 {

struct GenerationConfig {
  // length
  std::optional<std::int64_t> max_new_tokens{};  // wins over max_length
  std::optional<std::int64_t> max_length{};      // counts the prompt, padding included
  std::optional<std::int64_t> min_new_tokens{};  // wins over min_length
  std::int64_t min_length = 0;                   // counts the prompt, padding included

  // special tokens
  std::optional<std::vector<std::int32_t>> eos_token_id{};  // any of them ends a row
  std::optional<std::int32_t> pad_token_id{};               // fills rows that ended early
  std::optional<std::int32_t> bos_token_id{};

  // what may be chosen
  std::vector<std::vector<std::int32_t>> bad_words_ids{};  // sequences that must not appear

  /// What this call says wins over what `base` says.
  GenerationConfig merged_over(const GenerationConfig& base) const {
    GenerationConfig result = base;
    if (max_length) result.max_length = max_length, result.max_new_tokens.reset();
    if (max_new_tokens) result.max_new_tokens = max_new_tokens;
    if (min_new_tokens) result.min_new_tokens = min_new_tokens;
    if (min_length != 0) result.min_length = min_length;
    if (eos_token_id) result.eos_token_id = eos_token_id;
    if (pad_token_id) result.pad_token_id = pad_token_id;
    if (bos_token_id) result.bos_token_id = bos_token_id;
    if (!bad_words_ids.empty()) result.bad_words_ids = bad_words_ids;
    return result;
  }
};

/// Prompt and new tokens of a run, in columns of the padded batch.
struct LengthLimits {
  std::int64_t prompt = 0;    // columns of the padded prompt
  std::int64_t longest = 0;   // columns at which generation stops
  std::int64_t shortest = 0;  // columns before which no eos is chosen

  std::int64_t new_tokens() const { return longest - prompt; }
};

/// The reference's rules: max_new_tokens wins over max_length; with neither, 20 new tokens, and
/// this default alone is capped by max_position_embeddings. Throws `invalid_option` for a limit
/// that leaves no room for a token.
inline LengthLimits length_limits(const GenerationConfig& config, std::int64_t prompt,
                                  std::optional<std::int64_t> max_position_embeddings) {
  constexpr std::int64_t default_new_tokens = 20;
  LengthLimits limits{.prompt = prompt};
  if (config.max_new_tokens) {
    limits.longest = prompt + *config.max_new_tokens;
  } else if (config.max_length) {
    limits.longest = *config.max_length;
  } else {
    limits.longest = prompt + default_new_tokens;
    if (max_position_embeddings && *max_position_embeddings < limits.longest)
      limits.longest = *max_position_embeddings;
  }
  if (limits.longest <= prompt)
    fail(ErrorCode::invalid_option,
         "the prompt has " + std::to_string(prompt) + " tokens, and the limit is " +
             std::to_string(limits.longest) + ": no room for a new one",
         {.field = config.max_new_tokens ? "max_new_tokens" : "max_length",
          .actual = static_cast<std::uint64_t>(prompt)});
  limits.shortest = config.min_length;
  if (config.min_new_tokens) limits.shortest = prompt + *config.min_new_tokens;
  return limits;
}

}  // namespace idefics::inline v0
