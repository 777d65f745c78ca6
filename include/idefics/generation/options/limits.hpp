// What a caller may ask of a generation: a server sets these for requests of strangers.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include <idefics/generation/options/config.hpp>

namespace idefics { inline namespace v0 {

/// Limits on generation options, in addition to their ranges (ModelOptions::limits). Options above
/// them are `invalid_option`, apart from max_time, which is capped.
struct GenerationLimits {
  std::int64_t new_tokens = 1 << 24;      // of each answer
  std::int64_t prompt_tokens = 1 << 24;   // columns of the padded prompts
  std::int64_t rows = 1 << 20;            // prompts times beams, answers or candidates of each
  std::int64_t listed_ids = 1 << 24;      // in all options that are lists of ids, combined
  std::int64_t listed_entries = 1 << 22;  // of all those lists, combined
  double max_time = std::numeric_limits<double>::infinity();  // seconds
};

namespace detail {

/// The ids and entries of options that are lists.
struct ListedIds {
  std::int64_t ids = 0, entries = 0;

  void add(const std::vector<std::int32_t>& list) {
    ids += std::ssize(list);
    entries += list.empty() ? 0 : 1;
  }
  template <class T>
  void add(const std::vector<std::vector<T>>& lists) {
    for (const auto& list : lists) add(list);
  }
};

inline void check_limit(const char* option, std::int64_t value, std::int64_t limit) {
  if (value <= limit) return;
  fail(ErrorCode::invalid_option,
       std::to_string(value) + " is above the limit of " + std::to_string(limit) +
           " (GenerationLimits)",
       {.field = option,
        .actual = static_cast<std::uint64_t>(value),
        .limit = static_cast<std::uint64_t>(limit)});
}

/// Throws `invalid_option` for options above the limits, and caps max_time. `prompts` is the number
/// of prompts, `copies` that of the rows of each.
inline void apply_limits(const GenerationLimits& limits, GenerationConfig& config,
                         const LengthLimits& lengths, std::int64_t prompts, std::int64_t copies) {
  check_limit("input_ids", lengths.prompt, limits.prompt_tokens);
  check_limit(config.max_new_tokens ? "max_new_tokens" : "max_length", lengths.new_tokens(),
              limits.new_tokens);
  const char* multiplier = config.num_beams.value_or(1) > 1 ? "num_beams"
                           : config.best_of                 ? "best_of"
                           : config.num_return_sequences    ? "num_return_sequences"
                                                            : "top_k";
  check_limit("input_ids", prompts, limits.rows);
  if (copies > limits.rows / prompts) check_limit(multiplier, copies, limits.rows / prompts);
  ListedIds all;
  const auto count = [&](const char* option, const auto& list) {
    all.add(list);
    check_limit(option, all.ids, limits.listed_ids);
    check_limit(option, all.entries, limits.listed_entries);
  };
  count("bad_words_ids", config.bad_words_ids);
  count("force_words_ids", config.force_words_ids);
  count("negative_prompt_ids", config.negative_prompt_ids);
  count("suppress_tokens", config.suppress_tokens);
  count("begin_suppress_tokens", config.begin_suppress_tokens);
  count("eos_token_id", config.eos_token_id.value_or(GenerationConfig::Ids{}));
  for (const SequenceBias& entry : config.sequence_bias) count("sequence_bias", entry.ids);
  config.max_time = std::min(config.max_time.value_or(limits.max_time), limits.max_time);
  if (*config.max_time == std::numeric_limits<double>::infinity()) config.max_time.reset();
}

}  // namespace detail

}}  // namespace idefics::v0
