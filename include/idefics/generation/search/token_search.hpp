// Greedy search and sampling: every row chooses its next token independently. Source: transformers'
// GenerationMixin._sample.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include <idefics/core/stopwatch.hpp>
#include <idefics/generation/logits/pipeline.hpp>
#include <idefics/generation/logits/sampler.hpp>
#include <idefics/generation/options/config.hpp>
#include <idefics/generation/options/validate.hpp>
#include <idefics/generation/run/output.hpp>
#include <idefics/generation/run/step_records.hpp>
#include <idefics/generation/run/stopping.hpp>
#include <idefics/generation/run/text_run.hpp>
#include <idefics/generation/search/dola.hpp>
#include <idefics/generation/search/guidance.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Number of answers generated for each prompt; num_return_sequences of them are returned.
inline std::int64_t answers_per_prompt(const GenerationConfig& config) {
  return config.best_of.value_or(config.num_return_sequences.value_or(1));
}

/// The rows of a search. With n answers per prompt, row b n + i is answer i to prompt b.
class TokenSearch {
 public:
  TokenSearch(const GenerationConfig& config, const detail::LogitsContext& context,
              detail::Guidance* guidance, detail::LayerContrast* contrast)
      : config_(config),
        answers_(static_cast<std::size_t>(answers_per_prompt(config))),
        returned_(static_cast<std::size_t>(config.num_return_sequences.value_or(1))),
        limits_(context.limits),
        samples_(config.do_sample.value_or(false)),
        accept_invalid_(config.remove_invalid_values.value_or(false)),
        guidance_(guidance),
        contrast_(contrast),
        pipeline_(config, context),
        sampler_(config, context.vocabulary),
        stopping_(config, context.limits, context.clock),
        records_(config, context,
                 std::ssize(context.prompts) * static_cast<std::int64_t>(answers_)),
        scores_(context.vocabulary) {
    for (const auto& prompt : context.prompts)
      for (std::size_t i = 0; i < answers_; ++i) {
        auto& row = sequences_.emplace_back();
        row.reserve(static_cast<std::size_t>(limits_.longest));
        row.assign(prompt.begin(), prompt.end());
      }
    for (auto* list : {&active_, &next_, &parents_}) list->reserve(sequences_.size());
    chosen_.reserve(sequences_.size());
    for (std::size_t row = 0; row < sequences_.size(); ++row) {
      active_.push_back(static_cast<std::int32_t>(row));
      parents_.push_back(static_cast<std::int32_t>(row - row % answers_));
    }
  }

  /// Takes the logits after a prompt, which serve all of its answers.
  void take_prompt(std::size_t first_row, std::span<const float> base,
                   std::span<const float> additional) {
    for (std::size_t i = 0; i < answers_; ++i) take(first_row + i, base, additional);
  }

  /// Takes the logits of a row and chooses its next token.
  void take(std::size_t row, std::span<const float> base, std::span<const float> additional) {
    auto& sequence = sequences_[row];
    const std::int64_t step = std::ssize(sequence) - limits_.prompt;
    join_logits(scores_, base, additional);
    if (!accept_invalid_) check_finite(scores_, row, step);
    records_.keep_logits(row, step, scores_);
    if (guidance_) guidance_->apply(scores_, row);
    if (contrast_) contrast_->apply(scores_);
    pipeline_.process(scores_, sequence, static_cast<std::int64_t>(row / answers_));
    records_.keep_scores(row, step, scores_);
    const std::int32_t id =
        sampler_.choose(scores_, static_cast<std::int64_t>(row % answers_), step);
    const auto index = static_cast<std::size_t>(id);
    records_.keep_choice(row, step, id,
                         index < base.size() ? base[index] : additional[index - base.size()]);
    sequence.push_back(id);
    chosen_.emplace_back(static_cast<std::int32_t>(row), id);
  }

  /// Whether tokens are chosen by nothing but their logits and what the options forbid. Then the
  /// device that computes the logits can choose.
  bool is_plain() const {
    return !samples_ && !accept_invalid_ && !guidance_ && !contrast_ && records_.empty() &&
           pipeline_.only_forbids();
  }
  std::size_t most_forbidden() const { return pipeline_.most_forbidden(); }
  /// Adds the tokens that a row must not choose next to `ids`.
  void forbid(std::size_t row, std::vector<std::int32_t>& ids) const {
    pipeline_.forbidden_tokens(sequences_[row], static_cast<std::int64_t>(row / answers_), ids);
  }
  /// Takes the choice of Backend::greedy_choice for a row.
  void take_choice(std::size_t row, std::int32_t choice) {
    auto& sequence = sequences_[row];
    if (choice == no_finite_logits) fail_non_finite(row, std::ssize(sequence) - limits_.prompt);
    if (choice == no_allowed_token) fail_all_forbidden();
    sequence.push_back(choice);
    chosen_.emplace_back(static_cast<std::int32_t>(row), choice);
  }

  /// After `take` for all rows of a step: finds the rows that continue, and their ids.
  void advance() {
    active_.clear(), next_.clear();
    const bool out_of_time = stopping_.out_of_time();
    for (const auto& [row, id] : chosen_) {
      if (stopping_.ends(sequences_[static_cast<std::size_t>(row)]) || out_of_time) continue;
      active_.push_back(row);
      next_.push_back(id);
    }
  }
  void clear_step() { chosen_.clear(); }
  /// Takes back the tokens of a step that was not finished.
  void drop_step() {
    for (const auto& [row, id] : chosen_) sequences_[static_cast<std::size_t>(row)].pop_back();
    chosen_.clear();
  }

  /// The padded prompt and the tokens that a row has chosen since.
  detail::IdSpan sequence(std::size_t row) const { return sequences_[row]; }
  std::span<const std::int32_t> active() const { return active_; }
  std::span<const std::int32_t> next() const { return next_; }
  std::span<const std::pair<std::int32_t, std::int32_t>> chosen() const { return chosen_; }
  /// Before the first step: the row of the run that each row branches from.
  std::span<const std::int32_t> parents() const { return parents_; }

  /// Moves the returned rows, padded to the longest, and the records of their steps to `output`.
  void finish(GenerationOutput& output, detail::TextRun& run) {
    const std::vector<std::size_t> rows = returned_rows();
    return_rows(config_, limits_.prompt, sequences_, rows, output);
    const auto source = [&rows](std::size_t i, std::size_t) { return rows[i]; };
    records_.finish(output, source);
    run.finish_attentions(output, source);
  }

 private:
  /// All rows or, if more answers are generated than returned, the most likely of each prompt by
  /// mean log-probability, best first.
  std::vector<std::size_t> returned_rows() const {
    std::vector<std::size_t> rows(sequences_.size());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    if (returned_ == answers_) return rows;
    std::vector<double> means;
    means.reserve(rows.size());
    for (const std::size_t row : rows)
      means.push_back(records_.mean_logprob(row, std::ssize(sequences_[row]) - limits_.prompt));
    std::vector<std::size_t> best;
    for (auto first = rows.begin(); first != rows.end();
         first += static_cast<std::ptrdiff_t>(answers_)) {
      std::stable_sort(first, first + static_cast<std::ptrdiff_t>(answers_),
                       [&](std::size_t a, std::size_t b) { return means[a] > means[b]; });
      best.insert(best.end(), first, first + static_cast<std::ptrdiff_t>(returned_));
    }
    return best;
  }

  const GenerationConfig& config_;
  std::size_t answers_, returned_;
  LengthLimits limits_;
  bool samples_;
  bool accept_invalid_;              // NaN and infinities are left to remove_invalid_values
  detail::Guidance* guidance_;       // or null
  detail::LayerContrast* contrast_;  // or null
  detail::LogitsPipeline pipeline_;
  detail::Sampler sampler_;
  detail::StoppingCriteria stopping_;
  detail::StepRecords records_;
  std::vector<float> scores_;  // [V+A]
  std::vector<std::vector<std::int32_t>> sequences_;
  std::vector<std::int32_t> active_, next_, parents_;
  std::vector<std::pair<std::int32_t, std::int32_t>> chosen_;
};

/// Ends a step, in which each row has chosen a token. Returns whether the search continues.
inline bool end_step(TokenSearch& search, const StepCallback& on_step) {
  search.advance();
  const bool proceed = !on_step || on_step(search.chosen());
  search.clear_step();
  return proceed && !search.active().empty();
}

/// Greedy search or sampling over a run with answers_per_prompt copies of each prompt. The returned
/// sequences begin with the padded prompts of `context`. `guidance` and `contrast` may be null.
inline GenerationOutput token_search(detail::TextRun& run, const GenerationConfig& config,
                                     const detail::LogitsContext& context,
                                     const StepCallback& on_step,
                                     detail::Guidance* guidance = nullptr,
                                     detail::LayerContrast* contrast = nullptr) {
  Stopwatch watch;
  GenerationOutput output;
  TokenSearch search(config, context, guidance, contrast);
  try {
    if (guidance) guidance->prefill();
    run.prefill([&search](std::size_t row, std::int64_t, auto base, auto additional) {
      search.take_prompt(row, base, additional);
    });
    if (answers_per_prompt(config) > 1) {
      run.reorder(search.active(), search.parents());
      if (guidance) guidance->reorder(search.active(), search.parents());
    }
    output.timings.prefill_s = watch.lap();
    const bool greedy = search.is_plain() && run.chooses();
    if (greedy) run.reserve_forbidden(search.most_forbidden());
    while (end_step(search, on_step)) {
      if (guidance) guidance->step(search.active(), search.next());
      if (greedy)
        run.step_greedily(
            search.active(), search.next(),
            [&search](std::size_t row, auto& ids) { search.forbid(row, ids); },
            [&search](std::size_t row, std::int32_t id) { search.take_choice(row, id); });
      else
        run.step(search.active(), search.next(),
                 [&search](std::size_t row, std::int64_t, auto base, auto additional) {
                   search.take(row, base, additional);
                 });
      ++output.timings.decode_tokens;
    }
  } catch (const detail::RunStopped&) {
    search.drop_step();
  }
  output.timings.decode_s = watch.lap();
  search.finish(output, run);
  return output;
}

}}}  // namespace idefics::v0::detail
