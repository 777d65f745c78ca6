// Options of generation under their transformers names. Every option can be left unset: a call
// states what it wants, generation_config.json what the checkpoint wants, and what nobody states
// has transformers' default. generation/options/fields.hpp lists them once for everything that goes over
// all of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <idefics/core/error.hpp>

namespace idefics { inline namespace v0 {

/// When beam search stops: true as soon as enough hypotheses are finished, false when the rest is
/// unlikely to be better, never when it cannot be.
class EarlyStopping {
 public:
  enum Value { no, yes, never };
  constexpr EarlyStopping(bool yes_or_no = false) : value_(yes_or_no ? yes : no) {}
  constexpr EarlyStopping(Value value) : value_(value) {}
  constexpr operator Value() const { return value_; }

 private:
  Value value_;
};

/// A sequence of ids whose last one gets `bias` added when the others stand before it.
struct SequenceBias {
  std::vector<std::int32_t> ids;
  double bias = 0;
};

/// After `start` new tokens the scores of end tokens grow by |score| * (factor^(g - start) - 1).
struct ExponentialDecay {
  std::int64_t start = 0;
  double factor = 1;
};

/// WatermarkingConfig: a share of the vocabulary, drawn anew for each context, is preferred.
struct WatermarkingConfig {
  double greenlist_ratio = 0.25;
  double bias = 2.0;
  std::int64_t hashing_key = 15485863;
  std::string seeding_scheme = "lefthash";  // or "selfhash"
  std::int64_t context_width = 1;
};

/// Layers that DoLa contrasts with the last: "low", "high", or a list.
struct DolaLayers {
  std::string bucket{};
  std::vector<std::int32_t> layers{};
};

/// The ids that may follow `so_far` in row `prompt_row`; an empty answer is an error.
using PrefixAllowedTokens = std::function<std::vector<std::int32_t>(std::int64_t prompt_row,
                                                                    std::span<const std::int32_t>)>;

/// A caller's own processor: changes the scores [V+A] of the token that follows `so_far`.
using LogitsProcessor =
    std::function<void(std::span<float> scores, std::span<const std::int32_t> so_far)>;

/// A caller's own rule: true ends the row `so_far`.
using StoppingCriterion = std::function<bool(std::span<const std::int32_t> so_far)>;

/// Text of every token in the middle of a sentence, by id. Tokenizer::token_texts() makes it.
using TokenTexts = std::shared_ptr<const std::vector<std::string>>;

class Model;

/// A list without entries counts as unset.
struct GenerationConfig {
  using Ids = std::vector<std::int32_t>;

  // length
  std::optional<std::int64_t> max_new_tokens{};  // wins over max_length
  std::optional<std::int64_t> max_length{};      // counts the prompt, padding included
  std::optional<std::int64_t> min_new_tokens{};  // wins over min_length
  std::optional<std::int64_t> min_length{};      // counts the prompt, padding included

  // ends
  std::optional<double> max_time{};         // seconds
  std::vector<std::string> stop_strings{};  // needs token_texts
  TokenTexts token_texts{};                 // what stop_strings are looked for in
  std::vector<StoppingCriterion> stopping_criteria{};
  std::optional<Ids> eos_token_id{};           // any of them ends a row
  std::optional<std::int32_t> pad_token_id{};  // fills rows that ended early
  std::optional<std::int32_t> bos_token_id{};

  // mode
  std::optional<bool> do_sample{};
  std::optional<std::uint64_t> seed{};  // of sampling; unset is 0
  std::optional<std::int64_t> num_return_sequences{};
  std::optional<std::int64_t> best_of{};  // samples drawn, of which the likeliest are returned
  std::optional<std::int64_t> num_beams{};
  std::optional<std::int64_t> num_beam_groups{};
  std::optional<double> diversity_penalty{};
  std::optional<double> length_penalty{};
  std::optional<EarlyStopping> early_stopping{};
  std::vector<std::vector<Ids>> force_words_ids{};  // each entry: phrases of which one must appear
  std::optional<double> penalty_alpha{};            // contrastive search, with top_k
  std::optional<DolaLayers> dola_layers{};
  const Model* assistant_model = nullptr;  // drafts tokens
  std::optional<std::int64_t> num_assistant_tokens{};
  std::optional<std::string> num_assistant_tokens_schedule{};
  std::optional<double> assistant_confidence_threshold{};
  std::optional<std::int64_t> prompt_lookup_num_tokens{};
  std::optional<std::int64_t> max_matching_ngram_size{};

  // what may be chosen
  std::vector<SequenceBias> sequence_bias{};
  std::optional<double> encoder_repetition_penalty{};
  std::optional<double> repetition_penalty{};
  std::optional<double> frequency_penalty{};  // as OpenAI defines it, over new tokens
  std::optional<double> presence_penalty{};   // as OpenAI defines it, over new tokens
  std::optional<std::int64_t> no_repeat_ngram_size{};
  std::optional<std::int64_t> encoder_no_repeat_ngram_size{};
  std::vector<Ids> bad_words_ids{};  // sequences that must not appear
  PrefixAllowedTokens prefix_allowed_tokens_fn{};
  std::optional<std::int32_t> forced_bos_token_id{};
  std::optional<Ids> forced_eos_token_id{};
  std::optional<bool> remove_invalid_values{};
  std::optional<ExponentialDecay> exponential_decay_length_penalty{};
  Ids suppress_tokens{};
  Ids begin_suppress_tokens{};
  std::optional<double> guidance_scale{};
  std::vector<Ids> negative_prompt_ids{};  // one row for all, or one per prompt
  std::optional<WatermarkingConfig> watermarking_config{};
  std::vector<LogitsProcessor> logits_processor{};
  std::optional<bool> renormalize_logits{};

  // sampling: without do_sample these are ignored, as in the reference
  std::optional<double> temperature{};
  std::optional<std::int64_t> top_k{};
  std::optional<double> top_p{};
  std::optional<double> min_p{};
  std::optional<double> typical_p{};
  std::optional<double> epsilon_cutoff{};
  std::optional<double> eta_cutoff{};

  // output
  std::optional<bool> output_scores{};
  std::optional<bool> output_logits{};
  std::optional<std::int64_t>
      top_logprobs{};  // log-probabilities of new tokens and of so many others
  std::optional<bool> output_attentions{};

  /// What this call says wins over what `base` says, option by option.
  GenerationConfig merged_over(const GenerationConfig& base) const;

  /// Tokens that force_words_ids take at least: constraints are fulfilled one after the other.
  std::int64_t forced_tokens() const {
    std::int64_t tokens = 0;
    for (const std::vector<Ids>& phrases : force_words_ids)
      tokens += std::ssize(*std::ranges::min_element(phrases, {}, &Ids::size));
    return tokens;
  }
};

/// Prompt and new tokens of a run, in columns of the padded batch.
struct LengthLimits {
  std::int64_t prompt = 0;    // columns of the padded prompt
  std::int64_t longest = 0;   // columns at which generation stops
  std::int64_t shortest = 0;  // columns before which no eos is chosen

  std::int64_t new_tokens() const { return longest - prompt; }
};

namespace detail {

/// The reference's rules: max_new_tokens wins over max_length; with neither, 20 new tokens, and
/// this default alone is capped by max_position_embeddings. Throws `context_overflow` for a limit that
/// leaves the prompt no room for a token, and `invalid_option` for one that lies below the least length
/// asked for, or below the phrases that must appear.
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
    fail(ErrorCode::context_overflow,
         "the prompt has " + std::to_string(prompt) + " tokens, and the limit is " +
             std::to_string(limits.longest) + ": no room for a new one",
         {.field = config.max_length ? "max_length" : "max_position_embeddings",
          .actual = static_cast<std::uint64_t>(prompt),
          .limit = static_cast<std::uint64_t>(limits.longest)});
  limits.shortest = config.min_length.value_or(0);
  if (config.min_new_tokens) limits.shortest = prompt + *config.min_new_tokens;
  if (limits.shortest > limits.longest)
    fail(ErrorCode::invalid_option,
         "asks for at least " + std::to_string(limits.shortest) +
             " tokens, prompt included, and the limit is " + std::to_string(limits.longest),
         {.field = config.min_new_tokens ? "min_new_tokens" : "min_length",
          .limit = static_cast<std::uint64_t>(limits.longest)});
  if (const std::int64_t forced = config.forced_tokens(); forced > limits.new_tokens())
    fail(ErrorCode::invalid_option,
         "the phrases that must appear are longer than the answer may be",
         {.field = "force_words_ids",
          .actual = static_cast<std::uint64_t>(forced),
          .limit = static_cast<std::uint64_t>(limits.new_tokens())});
  return limits;
}

}  // namespace detail

}}  // namespace idefics::v0
