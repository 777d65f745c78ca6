// Candidates for the next tokens, which cost little and are verified by one pass of the model: the
// interface of their generators, and prompt lookup, which takes them from the text so far. Source:
// transformers' CandidateGenerator and PromptLookupCandidateGenerator.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include <idefics/generation/logits/pipeline.hpp>
#include <idefics/generation/run/output.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Proposes a draft of the next tokens of one row. A draft can cost time but never changes an
/// answer.
class CandidateGenerator {
 public:
  virtual ~CandidateGenerator() = default;
  /// A draft of at most `limit` tokens to follow `so_far`, the padded prompt and the tokens chosen
  /// since; valid until the next call.
  virtual IdSpan guess(IdSpan so_far, std::int64_t limit) = 0;
  /// Receives the outcome of the last draft.
  virtual void learn(const AssistedRound& round) = 0;
  /// Number of tokens of the longest possible draft.
  virtual std::int64_t longest() const = 0;
};

/// The options for drafting: those of the answer without the caller's callables, which are called
/// only for the tokens of the answer, as in the plain modes.
inline GenerationConfig guessing_options(GenerationConfig config) {
  config.logits_processor.clear();
  config.prefix_allowed_tokens_fn = {};
  return config;
}

/// The options for a lookup, which only needs to know which tokens the processors forbid.
inline GenerationConfig lookup_options(GenerationConfig config) {
  config.do_sample = false;
  config.watermarking_config.reset();
  return guessing_options(std::move(config));
}

/// PromptLookupCandidateGenerator: drafts the tokens that follow the first occurrence of the last n
/// tokens in the text. Longer n-grams are tried before shorter ones; a draft ends before a token
/// that the processors forbid and before an end token.
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

  IdSpan guess(IdSpan so_far, std::int64_t limit) override {
    guess_.clear();
    const std::size_t size = so_far.size();
    for (std::size_t n = std::min(longest_ngram_, size - 1); n > 0; --n)
      for (std::size_t begin = 0; begin + n < size; ++begin) {
        if (!std::ranges::equal(so_far.subspan(begin, n), so_far.last(n))) continue;
        const IdSpan followed = so_far.subspan(begin + n, std::min(most_, size - begin - n));
        keep_allowed(so_far, followed);
        if (guess_.empty()) continue;  // look for another occurrence
        guess_.resize(std::min(before_end(), static_cast<std::size_t>(limit)));
        return guess_;
      }
    return guess_;
  }
  void learn(const AssistedRound&) override {}
  std::int64_t longest() const override { return static_cast<std::int64_t>(most_); }

 private:
  /// Keeps the first of `ids` that may follow `so_far`, one after another.
  void keep_allowed(IdSpan so_far, IdSpan ids) {
    if (pipeline_.empty()) {
      guess_.assign(ids.begin(), ids.end());
      return;
    }
    row_.assign(so_far.begin(), so_far.end());
    for (const std::int32_t id : ids) {
      std::ranges::fill(scores_, 1.0f);  // it only matters whether a score drops to lowest()
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
