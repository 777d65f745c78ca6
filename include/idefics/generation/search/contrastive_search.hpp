// Contrastive search: chooses among the most likely next tokens one whose hidden state is not too
// similar to that of any token read before. Source: transformers 4.55's
// GenerationMixin._contrastive_search (Su et al. 2022); docs/contrasts.md has a worked example.
// Letters: B sequences (the prompts), T columns, D width, V vocabulary, A added tokens, G new
// tokens, k candidates of each sequence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <numeric>
#include <span>
#include <vector>

#include <idefics/generation/search/beams.hpp>
#include <idefics/generation/search/token_search.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// k, the number of candidates of each step. top_k defaults to 50.
inline std::int64_t contrastive_candidates(const GenerationConfig& config) {
  return config.top_k.value_or(50);
}

/// The tokens of a sequence so far: the direction of the last hidden state of each.
class ContrastiveContext {
 public:
  ContrastiveContext(Backend& backend, std::int64_t longest, std::int64_t width)
      : backend_(backend),
        directions_(backend.empty(DType::f32, {longest, width})),
        similarities_(backend.empty(DType::f32, {longest})),
        unit_(Tensor::empty(DType::f32, {1, width})) {}

  /// Adds a token to the context.
  void append(std::span<const float> hidden /*[D]*/) {
    set_unit(hidden);
    const auto row = static_cast<std::int32_t>(size_++);
    backend_.scatter_rows(directions_, std::span(&row, 1), backend_.upload(unit_));
  }

  /// The degeneration penalty: the largest cosine between a hidden state and those of the context.
  float penalty(std::span<const float> hidden /*[D]*/) {
    set_unit(hidden);
    const Tensor cosines = similarities_.slice(0, size_).reshape({1, size_});
    backend_.linear(cosines, backend_.upload(unit_), {.values = directions_.slice(0, size_)}, {},
                    Compute::f32);
    const Tensor host = backend_.download(cosines);
    return std::ranges::max(host.as<float>());
  }

 private:
  void set_unit(std::span<const float> hidden) {
    double square = 0;  // a product of two floats is exact in double
    for (const float h : hidden) square += static_cast<double>(h) * static_cast<double>(h);
    const double norm = std::sqrt(square);
    std::ranges::transform(hidden, unit_.as_mutable<float>().begin(), [norm](float h) {
      return static_cast<float>(static_cast<double>(h) / norm);
    });
  }

  Backend& backend_;
  Tensor directions_;    // [T+G,D], of unit length
  Tensor similarities_;  // [T+G]
  Tensor unit_;          // [1,D]
  std::int64_t size_ = 0;
};

/// One prompt, the tokens chosen after it, and the best candidate of this step so far.
struct ContrastiveItem {
  ContrastiveContext context;
  std::vector<float> logits, next_logits;  // [V+A] after the last token, after the best candidate
  std::vector<float> next_hidden;          // [D] of the best candidate
  std::vector<detail::Candidate> candidates;  // [k], most likely first
  std::vector<double> probabilities;          // [k]
  std::size_t best = 0;  // candidate; after the step, also the copy that has the past
  double best_score = 0;
};

class ContrastiveSearch {
 public:
  ContrastiveSearch(const GenerationConfig& config, const detail::LogitsContext& context,
                    Backend& backend, std::int64_t width)
      : config_(config),
        k_(static_cast<std::size_t>(contrastive_candidates(config))),
        alpha_(*config.penalty_alpha),
        limits_(context.limits),
        accept_invalid_(config.remove_invalid_values.value_or(false)),
        pipeline_(config, context),
        stopping_(config, context.limits, context.clock),
        records_(config, context, std::ssize(context.prompts)),
        scores_(context.vocabulary),
        probabilities_(context.vocabulary) {
    for (const auto& prompt : context.prompts) {
      auto& ids = sequences_.emplace_back();
      ids.reserve(static_cast<std::size_t>(limits_.longest));
      ids.assign(prompt.begin(), prompt.end());
      auto& item = items_.emplace_back(
          ContrastiveItem{.context = {backend, limits_.longest, width},
                          .logits = std::vector<float>(context.vocabulary),
                          .next_logits = std::vector<float>(context.vocabulary),
                          .next_hidden = std::vector<float>(static_cast<std::size_t>(width)),
                          .candidates = {},
                          .probabilities = {}});
      item.candidates.reserve(k_ + 1), item.probabilities.reserve(k_);
      active_.push_back(items_.size() - 1);
      auto& readers = readers_.emplace_back();
      readers.reserve(static_cast<std::size_t>(limits_.new_tokens()) + 1);
      readers.push_back((items_.size() - 1) * k_);
    }
    chosen_.reserve(items_.size());
    for (auto* list : {&rows_, &parents_, &next_}) list->reserve(items_.size() * k_);
  }

  /// Takes a token of a prompt; the logits of the last one remain.
  void take_prompt(std::size_t row, std::span<const float> base, std::span<const float> additional,
                   std::span<const float> hidden) {
    ContrastiveItem& item = items_[row / k_];
    item.context.append(hidden);
    join_logits(item.logits, base, additional);
  }

  /// Finds the candidates of every sequence that continues; each is read by a row of its own.
  void recall() {
    rows_.clear(), parents_.clear(), next_.clear();
    for (const std::size_t i : active_) {
      ContrastiveItem& item = items_[i];
      recall(i);
      for (std::size_t c = 0; c < item.candidates.size(); ++c) {
        rows_.push_back(static_cast<std::int32_t>(i * k_ + c));
        parents_.push_back(static_cast<std::int32_t>(i * k_ + item.best));
        next_.push_back(item.candidates[c].id);
      }
    }
    for (const std::size_t i : active_) items_[i].best = k_;  // none yet
  }

  /// Takes a candidate that was read; the highest (1 - alpha) * probability - alpha * penalty wins.
  void take(std::size_t row, std::span<const float> base, std::span<const float> additional,
            std::span<const float> hidden) {
    ContrastiveItem& item = items_[row / k_];
    const std::size_t candidate = row % k_;
    const double penalty = static_cast<double>(item.context.penalty(hidden));
    const double score = (1 - alpha_) * item.probabilities[candidate] - alpha_ * penalty;
    if (item.best < k_ && !(score > item.best_score)) return;
    item.best = candidate, item.best_score = score;
    join_logits(item.next_logits, base, additional);
    std::ranges::copy(hidden, item.next_hidden.begin());
  }

  /// After `take` for all candidates of a step: appends the best one to each sequence.
  void advance() {
    const bool out_of_time = stopping_.out_of_time();
    chosen_.clear();
    std::erase_if(active_, [&](std::size_t i) {
      ContrastiveItem& item = items_[i];
      auto& ids = sequences_[i];
      const std::int32_t id = item.candidates[item.best].id;
      const std::int64_t step = std::ssize(ids) - limits_.prompt;
      records_.keep_logits(i, step, item.logits);
      records_.keep_choice(i, step, id, item.logits[static_cast<std::size_t>(id)]);
      readers_[i].push_back(i * k_ + item.best);
      item.context.append(item.next_hidden);
      item.logits.swap(item.next_logits);
      ids.push_back(id);
      chosen_.emplace_back(static_cast<std::int32_t>(i), id);
      return stopping_.ends(ids) || out_of_time;
    });
  }

  bool done() const { return active_.empty(); }
  std::span<const std::int32_t> rows() const { return rows_; }
  std::span<const std::int32_t> parents() const { return parents_; }
  std::span<const std::int32_t> next() const { return next_; }
  std::span<const std::pair<std::int32_t, std::int32_t>> chosen() const { return chosen_; }

  void finish(GenerationOutput& output, detail::TextRun& run) {
    std::vector<std::size_t> rows(items_.size());
    std::iota(rows.begin(), rows.end(), std::size_t{0});
    return_rows(config_, limits_.prompt, sequences_, rows, output);
    records_.finish(output, [&rows](std::size_t i, std::size_t) { return rows[i]; });
    run.finish_attentions(output,
                          [this](std::size_t i, std::size_t step) { return readers_[i][step]; });
  }

 private:
  /// Finds the k most likely tokens that are allowed, and their probabilities.
  void recall(std::size_t i) {
    ContrastiveItem& item = items_[i];
    const std::int64_t step = std::ssize(sequences_[i]) - limits_.prompt;
    if (!accept_invalid_) check_finite(item.logits, i, step);
    std::ranges::copy(item.logits, scores_.begin());
    pipeline_.process(scores_, sequences_[i], static_cast<std::int64_t>(i));
    records_.keep_scores(i, step, scores_);
    (void)best_allowed(scores_);
    softmax(scores_, probabilities_);
    best_candidates(scores_, scores_.size(), k_, item.candidates);
    std::erase_if(item.candidates,
                  [](const detail::Candidate& c) { return c.score == detail::forbidden; });
    item.probabilities.clear();
    for (const detail::Candidate& c : item.candidates)
      item.probabilities.push_back(probabilities_[static_cast<std::size_t>(c.id)]);
  }

  const GenerationConfig& config_;
  std::size_t k_;
  double alpha_;
  LengthLimits limits_;
  bool accept_invalid_;  // NaN and infinities are left to remove_invalid_values
  detail::LogitsPipeline pipeline_;
  detail::StoppingCriteria stopping_;
  detail::StepRecords records_;
  std::vector<float> scores_;                         // [V+A]
  std::vector<double> probabilities_;                 // [V+A]
  std::vector<std::vector<std::int32_t>> sequences_;  // [B], padded prompt, then answer
  std::vector<ContrastiveItem> items_;                // [B]
  // [B], for each new token the row that read the token before it
  std::vector<std::vector<std::size_t>> readers_;
  std::vector<std::size_t> active_;                  // items that continue
  std::vector<std::int32_t> rows_, parents_, next_;  // at most [B*k], the candidates to read
  std::vector<std::pair<std::int32_t, std::int32_t>> chosen_;
};

/// Contrastive search over a run with contrastive_candidates copies of each prompt, hidden states,
/// and logits of all tokens. Candidates share the keys and values of the tokens read; only those of
/// the winner of each step are kept.
inline GenerationOutput contrastive_search(detail::TextRun& run, const GenerationConfig& config,
                                           const detail::LogitsContext& context,
                                           const StepCallback& on_step) {
  Stopwatch watch;
  GenerationOutput output;
  ContrastiveSearch search(config, context, run.backend(), run.width());
  const auto step = [&] {
    search.recall();
    run.reorder(search.rows(), search.parents());
    run.step(search.rows(), search.next(),
             [&](std::size_t row, std::int64_t, auto base, auto additional) {
               search.take(row, base, additional, run.hidden());
             });
    search.advance();
    return (!on_step || on_step(search.chosen())) && !search.done();
  };
  try {
    run.prefill([&](std::size_t row, std::int64_t, auto base, auto additional) {
      search.take_prompt(row, base, additional, run.hidden());
    });
    bool running = step();
    output.timings.prefill_s =
        watch.lap();  // the first token is chosen when its candidates are read
    for (; running; ++output.timings.decode_tokens) running = step();
  } catch (const detail::RunStopped&) {  // within a step, which is dropped
  }
  output.timings.decode_s = watch.lap();
  search.finish(output, run);
  return output;
}

}}}  // namespace idefics::v0::detail
