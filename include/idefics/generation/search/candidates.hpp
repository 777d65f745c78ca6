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
        scores_(context.vocabulary),
        refused_(context.vocabulary) {
    guess_.reserve(most_);
    suffix_.resize(static_cast<std::size_t>(context.limits.longest));
    row_.reserve(static_cast<std::size_t>(context.limits.longest) + most_);
  }

  IdSpan guess(IdSpan so_far, std::int64_t limit) override {
    guess_.clear();
    measure_suffixes(so_far);
    for (;;) {
      const std::size_t end = best_end(so_far);
      if (end == 0) return guess_;
      keep_allowed(so_far, so_far.subspan(end, std::min(most_, so_far.size() - end)));
      if (!guess_.empty()) break;
      (void)refused_.mark(so_far[end]);  // look for another occurrence
    }
    guess_.resize(std::min(before_end(), static_cast<std::size_t>(limit)));
    return guess_;
  }
  void learn(const AssistedRound&) override {}
  std::int64_t longest() const override { return static_cast<std::int64_t>(most_); }

 private:
  /// Finds, for every beginning of the text, how many of its last tokens are also the last of the
  /// text, in linear time: the Z-function of the reversed text.
  void measure_suffixes(IdSpan text) {
    refused_.clear();
    const std::size_t size = text.size();
    const auto back = [&](std::size_t i) { return text[size - 1 - i]; };
    std::size_t begin = 0, end = 0;  // the match that reaches furthest
    for (std::size_t i = 1; i < size; ++i) {
      std::size_t n = i < end ? std::min(end - i, suffix_[size - (i - begin)]) : 0;
      while (i + n < size && back(n) == back(i + n)) ++n;
      suffix_[size - i] = n;
      if (i + n > end) begin = i, end = i + n;
    }
  }
  /// Where the longest n-gram ends that a token follows which was not refused, the first of equally
  /// long ones; 0 if no n-gram matches.
  std::size_t best_end(IdSpan text) {
    std::size_t best = 0, longest = 0;
    for (std::size_t end = 1; end < text.size(); ++end) {
      const std::size_t n = std::min(suffix_[end], longest_ngram_);
      if (n > longest && !refused_.marked(text[end])) best = end, longest = n;
    }
    return best;
  }

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
  TokenMarks refused_;         // first tokens that may not follow
  std::vector<std::size_t>
      suffix_;  // by end: equal tokens before it and before the end of the text
  std::vector<std::int32_t> guess_, row_;
};

}}}  // namespace idefics::v0::detail
