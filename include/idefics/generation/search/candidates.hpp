// Guesses at the next tokens, which cost little and are then checked by one pass of the model:
// where they come from, and those that are looked up in the text so far. Source: transformers'
// CandidateGenerator and PromptLookupCandidateGenerator.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include <idefics/generation/logits/pipeline.hpp>
#include <idefics/generation/run/output.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Guesses how one row goes on. A guess can cost time and never changes an answer.
class CandidateGenerator {
 public:
  virtual ~CandidateGenerator() = default;
  /// At most `room` tokens that may follow `so_far`, the padded prompt and what was chosen since;
  /// valid until the next call.
  virtual IdSpan guess(IdSpan so_far, std::int64_t room) = 0;
  /// What became of the last guess.
  virtual void learn(const AssistedRound& round) = 0;
  /// Tokens of the longest guess.
  virtual std::int64_t longest() const = 0;
};

/// The options by which guesses are made: those of the answer without the caller's own callables,
/// which are called for the tokens of the answer and for no others, as in the plain modes.
inline GenerationConfig guessing_options(GenerationConfig config) {
  config.logits_processor.clear();
  config.prefix_allowed_tokens_fn = {};
  return config;
}

/// Whether processing could leave a token forbidden is all that a lookup asks of the processors.
inline GenerationConfig lookup_options(GenerationConfig config) {
  config.do_sample = false;
  config.watermarking_config.reset();
  return guessing_options(std::move(config));
}

/// PromptLookupCandidateGenerator: what followed the last n tokens where they stand in the text for
/// the first time. Long runs are looked for before short ones; a guess ends before a token that the
/// processors forbid and before an end token.
class PromptLookup final : public CandidateGenerator {
 public:
  PromptLookup(const GenerationConfig& config, const LogitsContext& context)
      : most_(static_cast<std::size_t>(
            std::min(config.prompt_lookup_num_tokens.value_or(10), context.limits.longest))),
        longest_ngram_(static_cast<std::size_t>(config.max_matching_ngram_size.value_or(2))),
        pipeline_(lookup_options(config), context),
        scores_(context.vocabulary) {
    guess_.reserve(most_);
    row_.reserve(static_cast<std::size_t>(context.limits.longest) + most_);
  }

  IdSpan guess(IdSpan so_far, std::int64_t room) override {
    guess_.clear();
    const std::size_t size = so_far.size();
    for (std::size_t n = std::min(longest_ngram_, size - 1); n > 0; --n)
      for (std::size_t at = 0; at + n < size; ++at) {
        if (!std::ranges::equal(so_far.subspan(at, n), so_far.last(n))) continue;
        const IdSpan followed = so_far.subspan(at + n, std::min(most_, size - at - n));
        keep_allowed(so_far, followed);
        if (guess_.empty()) continue;  // look for another place
        guess_.resize(std::min(before_end(), static_cast<std::size_t>(room)));
        return guess_;
      }
    return guess_;
  }
  void learn(const AssistedRound&) override {}
  std::int64_t longest() const override { return static_cast<std::int64_t>(most_); }

 private:
  /// The first of `ids` that may follow `so_far`, one after the other.
  void keep_allowed(IdSpan so_far, IdSpan ids) {
    if (pipeline_.empty()) {
      guess_.assign(ids.begin(), ids.end());
      return;
    }
    row_.assign(so_far.begin(), so_far.end());
    for (const std::int32_t id : ids) {
      std::ranges::fill(scores_, 1.0f);  // only whether a score becomes the least there is matters
      pipeline_.process(scores_, row_, 0);
      if (at(scores_, id) <= std::numeric_limits<float>::lowest()) return;
      guess_.push_back(id), row_.push_back(id);
    }
  }
  std::size_t before_end() const {
    const IdSpan eos = pipeline_.eos();
    return static_cast<std::size_t>(std::ranges::find_first_of(guess_, eos) - guess_.begin());
  }

  std::size_t most_, longest_ngram_;
  LogitsPipeline pipeline_;
  std::vector<float> scores_;  // [V+A]
  std::vector<std::int32_t> guess_, row_;
};

}}}  // namespace idefics::v0::detail
