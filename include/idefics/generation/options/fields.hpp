// The single list of generation options. Merging, JSON parsing, validation and the command-line
// flags all iterate over it with `for_each_field`.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <idefics/generation/options/config.hpp>

namespace idefics { inline namespace v0 {

/// The values that an option may take: any, a range of numbers with an inclusive or exclusive lower
/// bound, or ids of the vocabulary.
struct FieldRange {
  enum Kind { any, numbers, ids } kind = any;
  double least = 0, most = 0;
  bool least_excluded = false;
};

/// Metadata of an option.
struct FieldInfo {
  const char* name;  // as in transformers
  FieldRange range;
  const char* help;
  const char* default_value = "";  // if neither a call nor a file sets it; empty if it depends
};

namespace detail {

using G = GenerationConfig;

inline constexpr double no_limit = std::numeric_limits<double>::infinity();
inline constexpr FieldRange any_value{};
inline constexpr FieldRange vocabulary_ids{.kind = FieldRange::ids};
constexpr FieldRange at_least(double least) { return {FieldRange::numbers, least, no_limit}; }
constexpr FieldRange above(double least) { return {FieldRange::numbers, least, no_limit, true}; }
constexpr FieldRange between(double least, double most) {
  return {FieldRange::numbers, least, most};
}
constexpr FieldRange above_up_to(double least, double most) {
  return {FieldRange::numbers, least, most, true};
}
// positions are exact in f32
inline constexpr FieldRange some_tokens = above_up_to(0, 1 << 24);
// products of sizes fit in 64 bits
inline constexpr FieldRange some_rows = above_up_to(0, 1 << 16);

template <class F>
void for_each_ending(const F& f) {
  f({"max_new_tokens", some_tokens, "maximum number of new tokens; overrides max-length", "20"},
    &G::max_new_tokens);
  f({"max_length", some_tokens, "maximum length of prompt and new tokens"}, &G::max_length);
  f({"min_new_tokens", at_least(0), "minimum number of new tokens before an end token"},
    &G::min_new_tokens);
  f({"min_length", at_least(0), "minimum length of prompt and new tokens before an end token"},
    &G::min_length);
  f({"max_time", at_least(0), "seconds after which no further token is started"}, &G::max_time);
  f({"stop_strings", any_value, "strings that end a row, as a JSON list"}, &G::stop_strings);
  f({"token_texts", any_value, ""}, &G::token_texts);
  f({"stopping_criteria", any_value, ""}, &G::stopping_criteria);
  f({"eos_token_id", vocabulary_ids, "end token, or a JSON list of end tokens"}, &G::eos_token_id);
  f({"pad_token_id", vocabulary_ids, "pads rows that ended early"}, &G::pad_token_id);
  f({"bos_token_id", vocabulary_ids, "begins a text"}, &G::bos_token_id);
}

template <class F>
void for_each_mode_option(const F& f) {
  f({"do_sample", any_value, "sample tokens instead of taking the most likely"}, &G::do_sample);
  f({"seed", any_value, "random seed for sampling"}, &G::seed);
  f({"num_return_sequences", some_rows, "answers per prompt", "1"}, &G::num_return_sequences);
  f({"best_of", some_rows, "samples drawn per prompt; the most likely are returned"}, &G::best_of);
  f({"num_beams", some_rows, "number of beams for beam search", "1"}, &G::num_beams);
  f({"num_beam_groups", above(0), "number of groups for diverse beam search", "1"},
    &G::num_beam_groups);
  f({"diversity_penalty", at_least(0),
     "penalty for tokens that an earlier group chose in the same step", "0"},
    &G::diversity_penalty);
  f({"length_penalty", any_value, "exponent of the length by which a beam's score is divided", "1"},
    &G::length_penalty);
  f({"early_stopping", any_value, "true, false or never", "false"}, &G::early_stopping);
  f({"force_words_ids", vocabulary_ids, "phrases that must appear, as JSON"}, &G::force_words_ids);
  f({"penalty_alpha", between(0, 1), "weight of the penalty in contrastive search, with top-k"},
    &G::penalty_alpha);
  f({"dola_layers", any_value, "low, high or a JSON list of layers"}, &G::dola_layers);
  f({"assistant_model", any_value, ""}, &G::assistant_model);
  f({"num_assistant_tokens", above(0), "number of tokens to draft at a time", "20"},
    &G::num_assistant_tokens);
  f({"num_assistant_tokens_schedule", any_value, "constant, heuristic or heuristic_transient",
     "constant"},
    &G::num_assistant_tokens_schedule);
  f({"assistant_confidence_threshold", between(0, 1), "drafting stops below this probability",
     "0.4"},
    &G::assistant_confidence_threshold);
  f({"prompt_lookup_num_tokens", above(0), "number of tokens to draft by prompt lookup"},
    &G::prompt_lookup_num_tokens);
  f({"max_matching_ngram_size", above(0), "longest n-gram matched by prompt lookup", "2"},
    &G::max_matching_ngram_size);
}

template <class F>
void for_each_processor_option(const F& f) {
  f({"sequence_bias", vocabulary_ids, "[[[ids], bias], ...]"}, &G::sequence_bias);
  f({"encoder_repetition_penalty", above(0), "above 1 favours tokens of the prompt", "1"},
    &G::encoder_repetition_penalty);
  f({"repetition_penalty", above(0), "above 1 penalizes tokens that have appeared", "1"},
    &G::repetition_penalty);
  f({"frequency_penalty", any_value, "subtracted per occurrence in the answer", "0"},
    &G::frequency_penalty);
  f({"presence_penalty", any_value, "subtracted once for tokens in the answer", "0"},
    &G::presence_penalty);
  f({"no_repeat_ngram_size", at_least(0), "n-grams of this size occur only once", "0"},
    &G::no_repeat_ngram_size);
  f({"encoder_no_repeat_ngram_size", at_least(0),
     "n-grams of this size in the prompt are not repeated", "0"},
    &G::encoder_no_repeat_ngram_size);
  f({"bad_words_ids", vocabulary_ids, "JSON list of lists of ids that must not appear"},
    &G::bad_words_ids);
  f({"prefix_allowed_tokens_fn", any_value, ""}, &G::prefix_allowed_tokens_fn);
  f({"forced_bos_token_id", vocabulary_ids, "first new token after a prompt of one token"},
    &G::forced_bos_token_id);
  f({"forced_eos_token_id", vocabulary_ids, "last token when the length limit is reached"},
    &G::forced_eos_token_id);
  f({"remove_invalid_values", any_value, "replace NaN and infinite scores by finite numbers"},
    &G::remove_invalid_values);
  f({"exponential_decay_length_penalty", any_value, "[start, factor]"},
    &G::exponential_decay_length_penalty);
  f({"suppress_tokens", at_least(0), "JSON list of ids that are never chosen"},
    &G::suppress_tokens);
  f({"begin_suppress_tokens", at_least(0), "JSON list of ids that are not chosen first"},
    &G::begin_suppress_tokens);
  f({"guidance_scale", any_value, "scale of classifier-free guidance; 1 disables it", "1"},
    &G::guidance_scale);
  f({"negative_prompt_ids", vocabulary_ids, "JSON list of rows of ids to steer away from"},
    &G::negative_prompt_ids);
  f({"watermarking_config", any_value, "JSON object: greenlist_ratio, bias, hashing_key, ..."},
    &G::watermarking_config);
  f({"logits_processor", any_value, ""}, &G::logits_processor);
  f({"renormalize_logits", any_value, "normalize the final scores to log-probabilities"},
    &G::renormalize_logits);
}

template <class F>
void for_each_sampling_option(const F& f) {
  f({"temperature", above(0), "divides the scores", "1"}, &G::temperature);
  f({"top_k", at_least(0), "sample among the k most likely tokens; 0 means all", "50"}, &G::top_k);
  f({"top_p", between(0, 1), "sample among the most likely tokens that reach this probability",
     "1"},
    &G::top_p);
  f({"min_p", between(0, 1), "minimum probability relative to the most likely token"}, &G::min_p);
  f({"typical_p", above_up_to(0, 1),
     "sample among the most typical tokens that reach this probability", "1"},
    &G::typical_p);
  f({"epsilon_cutoff", between(0, 1), "minimum probability", "0"}, &G::epsilon_cutoff);
  f({"eta_cutoff", between(0, 1), "minimum probability, lower at high entropy", "0"},
    &G::eta_cutoff);
}

template <class F>
void for_each_output_option(const F& f) {
  f({"output_scores", any_value, "return the processed scores of every step"}, &G::output_scores);
  f({"output_logits", any_value, "return the logits of every step"}, &G::output_logits);
  f({"top_logprobs", at_least(0),
     "return log-probabilities of new tokens and of the N most likely"},
    &G::top_logprobs);
  f({"output_attentions", any_value, "return the attention weights of every new token"},
    &G::output_attentions);
}

}  // namespace detail

/// Calls f(FieldInfo, pointer to member) for every option of GenerationConfig.
template <class F>
void for_each_field(const F& f) {
  detail::for_each_ending(f);
  detail::for_each_mode_option(f);
  detail::for_each_processor_option(f);
  detail::for_each_sampling_option(f);
  detail::for_each_output_option(f);
}

namespace detail {

template <class T>
bool is_set(const std::vector<T>& list) {
  return !list.empty();
}
template <class T>
bool is_set(const T& optional_or_callable) {
  return static_cast<bool>(optional_or_callable);
}

/// Options that can only be set in a program: callables and pointers.
template <class T>
inline constexpr bool program_only = std::is_pointer_v<T>;
template <class R, class... A>
inline constexpr bool program_only<std::function<R(A...)>> = true;
template <class T>
inline constexpr bool program_only<std::shared_ptr<T>> = true;
template <class T>
inline constexpr bool program_only<std::vector<T>> = program_only<T>;

}  // namespace detail

inline GenerationConfig GenerationConfig::merged_over(const GenerationConfig& base) const {
  GenerationConfig result = base;
  for_each_field([&](const FieldInfo&, auto member) {
    if (detail::is_set(this->*member)) result.*member = this->*member;
  });
  return result;
}

}}  // namespace idefics::v0
