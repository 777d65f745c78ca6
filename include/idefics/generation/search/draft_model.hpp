// Candidate tokens from a smaller model, which reads the same pictures and prompt and continues
// them token by token, with the options of the answer. Source: transformers'
// AssistedCandidateGenerator.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <idefics/generation/logits/sampler.hpp>
#include <idefics/generation/run/session_pool.hpp>
#include <idefics/generation/run/text_run.hpp>
#include <idefics/generation/search/candidates.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// How many tokens are drafted at a time: set by the call, else by the draft model's own
/// generation_config.json, else by transformers' defaults.
struct DraftSettings {
  std::int64_t tokens = 20;  // num_assistant_tokens
  bool adapts = false;       // two more after a draft that was accepted in full, else one less
  double threshold = 0.4;    // assistant_confidence_threshold
  /// Where the adapted number is stored for the next generation ("heuristic"), or null.
  std::optional<std::int64_t>* kept = nullptr;

  /// `own` are the options of the draft model; `kept` must outlive the settings.
  static DraftSettings of(const GenerationConfig& requested, GenerationConfig own,
                          std::optional<std::int64_t>& kept) {
    if (kept) own.num_assistant_tokens = kept;
    const GenerationConfig config = requested.merged_over(own);
    const auto& schedule = config.num_assistant_tokens_schedule;
    DraftSettings s;
    s.tokens = config.num_assistant_tokens.value_or(s.tokens);
    s.adapts = schedule == "heuristic" || schedule == "heuristic_transient";
    s.threshold = config.assistant_confidence_threshold.value_or(s.threshold);
    if (schedule == "heuristic") s.kept = &kept;
    return s;
  }

  /// The longest draft in an answer of `new_tokens`, which is reached if every draft is accepted.
  std::int64_t longest(std::int64_t new_tokens) const {
    std::int64_t most = 0, next = tokens;
    for (std::int64_t left = new_tokens - 2; left > 0; left -= next + 1, next += adapts ? 2 : 0)
      most = std::max(most, std::min(next, left));
    return most;
  }
};

/// Drafts with the same draws as the answer, which are keyed by their step, so that a draft model
/// equal to the model predicts every token.
class DraftModel final : public CandidateGenerator {
 public:
  // the last candidate, and the token chosen after it
  static constexpr std::int64_t tokens_per_step = 2;

  /// Reads the prompt. `run` is over the single prompt of `context`, not read yet, with
  /// `tokens_per_step`, in `session`; `padding` is the number of columns of the padded prompt that the run lacks.
  DraftModel(SessionPool::Lease session, TextRun run, const GenerationConfig& config,
             const LogitsContext& context, DraftSettings settings, std::int64_t padding)
      : session_(std::move(session)),
        run_(std::move(run)),
        settings_(settings),
        longest_(settings.longest(context.limits.new_tokens())),
        padding_(padding),
        prompt_(context.limits.prompt),
        pipeline_(guessing_options(config), context),
        sampler_(config, context.vocabulary),
        scores_(context.vocabulary) {
    guess_.reserve(static_cast<std::size_t>(longest_));
    row_.reserve(static_cast<std::size_t>(context.limits.longest));
    if (longest_ > 0) run_.prefill([](auto...) {});
  }

  IdSpan guess(IdSpan so_far, std::int64_t limit) override {
    guess_.clear();
    known_ = std::ssize(so_far) - padding_;
    const std::int64_t most = std::min({settings_.tokens, limit, longest_});
    if (most <= 0) return guess_;
    row_.assign(so_far.begin(), so_far.end());
    while (std::ssize(guess_) < most && draft_token()) {
    }
    return guess_;
  }

  /// Drops the tokens that were not accepted, and adapts the number of tokens to draft.
  void learn(const AssistedRound& round) override {
    run_.truncate(0, std::min(run_.length(0), known_ + round.accepted));
    if (!settings_.adapts) return;
    settings_.tokens = round.accepted == round.guesses
                           ? settings_.tokens + 2
                           : std::max<std::int64_t>(1, settings_.tokens - 1);
    if (settings_.kept) *settings_.kept = settings_.tokens;
  }
  std::int64_t longest() const override { return longest_; }

 private:
  /// Adds a token to the draft. Returns false if no token can be chosen, or if it must be the last: an end
  /// token, or one below the confidence threshold (ConfidenceCriteria).
  bool draft_token() {
    run_.add(0, IdSpan(row_).subspan(static_cast<std::size_t>(run_.length(0) + padding_)));
    run_.pass([this](std::size_t, std::int64_t, auto base, auto additional) {
      join_logits(scores_, base, additional);  // those of the last token remain
    });
    if (!all_finite(scores_)) return false;
    pipeline_.process(scores_, row_, 0);
    if (!has_choice()) return false;
    const std::int32_t id = sampler_.choose(scores_, 0, std::ssize(row_) - prompt_);
    guess_.push_back(id), row_.push_back(id);
    if (std::ranges::find(pipeline_.eos(), id) != pipeline_.eos().end()) return false;
    const auto score = static_cast<double>(at(scores_, id));
    return portable_exp(score - log_sum_exp(scores_)) >= settings_.threshold;
  }
  /// Scores that would be an error in an answer only end a draft.
  bool has_choice() const {
    return std::ranges::none_of(scores_, [](float s) { return std::isnan(s); }) &&
           *std::ranges::max_element(scores_) != forbidden;
  }

  SessionPool::Lease session_;
  TextRun run_;
  DraftSettings settings_;
  std::int64_t longest_, padding_, prompt_;
  LogitsPipeline pipeline_;
  Sampler sampler_;
  std::vector<float> scores_;  // [V+A]
  std::vector<std::int32_t> guess_, row_;
  std::int64_t known_ = 0;  // tokens of the row before the draft
};

}}}  // namespace idefics::v0::detail
