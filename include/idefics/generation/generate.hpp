// The generation loop. Source: transformers' GenerationMixin._sample without sampling: greedy
// search.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <idefics/generation/config.hpp>
#include <idefics/generation/pipeline.hpp>
#include <idefics/generation/text_run.hpp>
#include <idefics/generation/validate.hpp>

namespace idefics::inline v0 {

/// The id of the highest score; among equals the lowest id.
inline std::int32_t argmax(std::span<const float> scores /*[V+A]*/) {
  return static_cast<std::int32_t>(std::ranges::max_element(scores) - scores.begin());
}

inline bool all_finite(std::span<const float> scores) {
  return std::ranges::all_of(scores, [](float s) { return std::isfinite(s); });
}

/// Seconds spent, and tokens processed, by stage.
struct GenerationTimings {
  double vision_s = 0;   // from pictures to cross-attention keys and values
  double prefill_s = 0;  // from prompt to first logits, without vision_s
  double decode_s = 0;   // all steps after the first token
  std::int64_t prefill_tokens = 0;
  std::int64_t decode_tokens = 0;  // new tokens - 1, the longest row's
};

struct GenerationOutput {
  std::vector<std::vector<std::int32_t>> sequences;   // rectangular: padded prompt, then answer
  std::vector<std::vector<std::int32_t>> new_tokens;  // rectangular: the answer alone
  std::vector<float> sequences_scores;                // with beams: penalized, one per sequence
  std::vector<std::vector<std::int32_t>>
      beam_indices;  // with beams: the beam of the batch that each new token continued, or -1
  GenerationTimings timings;
};

/// Called after each step with the tokens just chosen (row, id); returning false stops generation.
using StepCallback = std::function<bool(std::span<const std::pair<std::int32_t, std::int32_t>>)>;

namespace detail {

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// Rows of a greedy search: chooses the next token of each row that goes on.
class GreedySearch {
 public:
  GreedySearch(const GenerationConfig& config, const LogitsContext& context)
      : limits_(context.limits),
        pipeline_(config, context),
        scores_(context.vocabulary),
        sequences_(context.prompts),
        eos_(pipeline_.eos().begin(), pipeline_.eos().end()) {
    pad_ = config.pad_token_id.value_or(eos_.empty() ? 0 : eos_.front());
    for (auto& row : sequences_) row.reserve(static_cast<std::size_t>(limits_.longest));
    for (auto* list : {&active_, &next_}) list->reserve(sequences_.size());
    chosen_.reserve(sequences_.size());
  }

  void take(std::size_t row, std::span<const float> base, std::span<const float> additional) {
    std::ranges::copy(base, scores_.begin());
    std::ranges::copy(additional, scores_.begin() + std::ssize(base));
    auto& sequence = sequences_[row];
    if (!all_finite(scores_))
      fail(ErrorCode::non_finite_logits,
           "row " + std::to_string(row) + " has NaN or infinite logits after " +
               std::to_string(std::ssize(sequence) - limits_.prompt) + " new tokens",
           {.field = "logits"});
    pipeline_.process(scores_, sequence, static_cast<std::int64_t>(row));
    const std::int32_t id = argmax(scores_);
    sequence.push_back(id);
    chosen_.emplace_back(static_cast<std::int32_t>(row), id);
  }

  /// After all rows of a step have been taken: which rows go on, and with which ids.
  void advance() {
    active_.clear(), next_.clear();
    for (const auto& [row, id] : chosen_) {
      const bool ended = std::ranges::find(eos_, id) != eos_.end();
      if (ended || std::ssize(sequences_[static_cast<std::size_t>(row)]) >= limits_.longest)
        continue;
      active_.push_back(row);
      next_.push_back(id);
    }
  }
  void clear_step() { chosen_.clear(); }

  std::span<const std::int32_t> active() const { return active_; }
  std::span<const std::int32_t> next() const { return next_; }
  std::span<const std::pair<std::int32_t, std::int32_t>> chosen() const { return chosen_; }

  /// All rows filled up with the pad id to the longest.
  std::vector<std::vector<std::int32_t>> finish() {
    std::size_t longest = 0;
    for (const auto& row : sequences_) longest = std::max(longest, row.size());
    for (auto& row : sequences_) row.resize(longest, pad_);
    return std::move(sequences_);
  }

 private:
  LengthLimits limits_;
  LogitsPipeline pipeline_;
  std::vector<float> scores_;  // [V+A]
  std::vector<std::vector<std::int32_t>> sequences_;
  std::vector<std::int32_t> eos_, active_, next_;
  std::vector<std::pair<std::int32_t, std::int32_t>> chosen_;
  std::int32_t pad_ = 0;
};

}  // namespace detail

/// Greedy search over a prepared run; `sequences` begin with the padded prompts of `context`.
inline GenerationOutput greedy_search(TextRun& run, const GenerationConfig& config,
                                      const LogitsContext& context, const StepCallback& on_step) {
  detail::Stopwatch watch;
  GenerationOutput output;
  detail::GreedySearch search(config, context);
  auto take = [&search](std::size_t row, std::int64_t, std::span<const float> base,
                        std::span<const float> additional) { search.take(row, base, additional); };
  run.prefill(take);
  output.timings.prefill_s = watch.lap();
  for (;;) {
    search.advance();
    const bool go_on = !on_step || on_step(search.chosen());
    search.clear_step();
    if (!go_on || search.active().empty()) break;
    run.step(search.active(), search.next(), take);
    ++output.timings.decode_tokens;
  }
  output.timings.decode_s = watch.lap();
  output.sequences = search.finish();
  for (const auto& row : output.sequences)
    output.new_tokens.emplace_back(row.begin() + context.limits.prompt, row.end());
  return output;
}

}  // namespace idefics::inline v0
