// Generation options under their transformers names. Every option can be left unset: options set in
// a call override those of the checkpoint's generation_config.json, and options set in neither have
// transformers' defaults. generation/options/fields.hpp lists them once for all code that iterates
// over them.
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

/// When beam search stops: with true as soon as enough hypotheses are finished, with false when the
/// running beams are unlikely to beat them, with never only when they cannot.
class EarlyStopping {
 public:
  enum Value { no, yes, never };
  constexpr EarlyStopping(bool yes_or_no = false) : value_(yes_or_no ? yes : no) {}
  constexpr EarlyStopping(Value value) : value_(value) {}
  constexpr operator Value() const { return value_; }

 private:
  Value value_;
};

/// A sequence of ids: `bias` is added to the score of the last one where the others precede it.
struct SequenceBias {
  std::vector<std::int32_t> ids;
  double bias = 0;
};

/// After g > `start` new tokens, |score| * (factor^(g - start) - 1) is added to the scores of end
/// tokens.
struct ExponentialDecay {
  std::int64_t start = 0;
  double factor = 1;
};

/// transformers' WatermarkingConfig: a fraction of the vocabulary, redrawn for each context, is
/// preferred.
struct WatermarkingConfig {
  double greenlist_ratio = 0.25;
  double bias = 2.0;
  std::int64_t hashing_key = 15485863;
  std::string seeding_scheme = "lefthash";  // or "selfhash"
  std::int64_t context_width = 1;
};

/// Layers that DoLa contrasts with the last one: "low", "high", or a list.
struct DolaLayers {
  std::string bucket{};
  std::vector<std::int32_t> layers{};
};

/// Returns the ids that may follow the given tokens of row `prompt_row`; an empty list is an error.
using PrefixAllowedTokens = std::function<std::vector<std::int32_t>(std::int64_t prompt_row,
                                                                    std::span<const std::int32_t>)>;

/// A custom logits processor: modifies the scores [V+A] of the token that follows `so_far`.
using LogitsProcessor =
    std::function<void(std::span<float> scores, std::span<const std::int32_t> so_far)>;

/// A custom stopping criterion: returns true to end the row `so_far`.
using StoppingCriterion = std::function<bool(std::span<const std::int32_t> so_far)>;

/// The text of every token in the middle of a sentence, by id; see Tokenizer::token_texts().
using TokenTexts = std::shared_ptr<const std::vector<std::string>>;

class Model;

/// Generation options. An empty list counts as unset.
struct GenerationConfig {
  using Ids = std::vector<std::int32_t>;

  // length
  std::optional<std::int64_t> max_new_tokens{};  // overrides max_length
  std::optional<std::int64_t> max_length{};      // includes the prompt and its padding
  std::optional<std::int64_t> min_new_tokens{};  // overrides min_length
  std::optional<std::int64_t> min_length{};      // includes the prompt and its padding

  // stopping
  std::optional<double> max_time{};         // seconds
  std::vector<std::string> stop_strings{};  // requires token_texts
  TokenTexts token_texts{};                 // searched for stop_strings
  std::vector<StoppingCriterion> stopping_criteria{};
  std::optional<Ids> eos_token_id{};           // any of them ends a row
  std::optional<std::int32_t> pad_token_id{};  // pads rows that ended early
  std::optional<std::int32_t> bos_token_id{};

  // mode
  std::optional<bool> do_sample{};
  std::optional<std::uint64_t> seed{};  // for sampling; 0 if unset
  std::optional<std::int64_t> num_return_sequences{};
  std::optional<std::int64_t> best_of{};  // samples drawn; the most likely are returned
  std::optional<std::int64_t> num_beams{};
  std::optional<std::int64_t> num_beam_groups{};
  std::optional<double> diversity_penalty{};
  std::optional<double> length_penalty{};
  std::optional<EarlyStopping> early_stopping{};
  std::vector<std::vector<Ids>> force_words_ids{};  // one phrase of each entry must appear
  std::optional<double> penalty_alpha{};            // contrastive search, with top_k
  std::optional<DolaLayers> dola_layers{};
  const Model* assistant_model = nullptr;  // the draft model
  std::optional<std::int64_t> num_assistant_tokens{};
  std::optional<std::string> num_assistant_tokens_schedule{};
  std::optional<double> assistant_confidence_threshold{};
  std::optional<std::int64_t> prompt_lookup_num_tokens{};
  std::optional<std::int64_t> max_matching_ngram_size{};

  // logits processors
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
  std::vector<Ids> negative_prompt_ids{};  // one row for all prompts, or one per prompt
  std::optional<WatermarkingConfig> watermarking_config{};
  std::vector<LogitsProcessor> logits_processor{};
  std::optional<bool> renormalize_logits{};

  // sampling: ignored without do_sample, as in the reference
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
  // log-probabilities of new tokens and of the N most likely ones
  std::optional<std::int64_t> top_logprobs{};
  std::optional<bool> output_attentions{};

  /// These options where they are set, and those of `base` elsewhere.
  GenerationConfig merged_over(const GenerationConfig& base) const;

  /// The file that these options were read from, for messages.
  std::string file{};

  /// The fewest tokens that fulfil force_words_ids: constraints are fulfilled one after another.
  std::int64_t forced_tokens() const {
    std::int64_t tokens = 0;
    for (const std::vector<Ids>& phrases : force_words_ids)
      tokens += std::ssize(*std::ranges::min_element(phrases, {}, &Ids::size));
    return tokens;
  }
};

/// Length limits of a run, in columns of the padded batch.
struct LengthLimits {
  std::int64_t prompt = 0;    // columns of the padded prompt
  std::int64_t longest = 0;   // columns at which generation stops
  std::int64_t shortest = 0;  // columns below which no end token is chosen

  std::int64_t new_tokens() const { return longest - prompt; }
};

namespace detail {

/// The reference's rules: max_new_tokens overrides max_length; with neither, the limit is 20 new
/// tokens, and only this default is capped by max_position_embeddings. Throws `context_overflow`
/// for a limit that permits no token after the prompt, and `invalid_option` for one below the
/// minimum length or below the length of the phrases that must appear.
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
         "the prompt has " + std::to_string(prompt) + " tokens, and the limit of " +
             std::to_string(limits.longest) + " leaves no new token",
         {.field = config.max_length ? "max_length" : "max_position_embeddings",
          .actual = static_cast<std::uint64_t>(prompt),
          .limit = static_cast<std::uint64_t>(limits.longest)});
  limits.shortest = config.min_length.value_or(0);
  if (config.min_new_tokens)
    limits.shortest = prompt + std::min(*config.min_new_tokens, INT64_MAX - prompt);
  if (limits.shortest > limits.longest)
    fail(ErrorCode::invalid_option,
         "requires at least " + std::to_string(limits.shortest) +
             " tokens including the prompt, but the limit is " + std::to_string(limits.longest),
         {.field = config.min_new_tokens ? "min_new_tokens" : "min_length",
          .limit = static_cast<std::uint64_t>(limits.longest)});
  if (const std::int64_t forced = config.forced_tokens(); forced > limits.new_tokens())
    fail(ErrorCode::invalid_option, "the phrases that must appear exceed the limit on new tokens",
         {.field = "force_words_ids",
          .actual = static_cast<std::uint64_t>(forced),
          .limit = static_cast<std::uint64_t>(limits.new_tokens())});
  return limits;
}

}  // namespace detail

}}  // namespace idefics::v0
