// Beam search and beam sampling: several continuations of a prompt are kept; each step continues
// those with the highest sum of log-probabilities or, when sampling, draws them by that sum.
// Source: transformers' GenerationMixin._beam_search; docs/beams.md has a worked example.
// Letters: B sequences (the prompts), V vocabulary, A added tokens, n beams of each prompt, k
// candidates of a step.
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

/// The parameters shared by the beams of all prompts.
struct BeamRules {
  std::size_t beams, candidates, vocabulary;
  LengthLimits limits;
  float length_penalty;
  EarlyStopping early_stopping;
  bool sample;
  std::uint64_t seed;
  std::vector<std::int32_t> eos;
  detail::StoppingCriteria stopping;

  BeamRules(const GenerationConfig& config, const detail::LogitsContext& context)
      : beams(static_cast<std::size_t>(*config.num_beams)),
        vocabulary(context.vocabulary),
        limits(context.limits),
        length_penalty(static_cast<float>(config.length_penalty.value_or(1.0))),
        early_stopping(config.early_stopping.value_or(false)),
        sample(config.do_sample.value_or(false)),
        seed(config.seed.value_or(0)),
        eos(config.eos_token_id.value_or(GenerationConfig::Ids{})),
        stopping(config, context.limits, context.clock) {
    // enough that at least n remain when every end token is among them
    candidates = std::min(std::max<std::size_t>(2, 1 + eos.size()) * beams, beams * vocabulary);
  }

  /// The score of a hypothesis of `new_tokens` tokens with this sum of log-probabilities.
  float penalized(float sum, std::int64_t new_tokens) const {
    const auto length = static_cast<double>(new_tokens);
    return sum / static_cast<float>(std::pow(length, static_cast<double>(length_penalty)));
  }
  bool stops(std::span<const std::int32_t> ids) const {
    return stopping.ends(ids) || stopping.out_of_time();
  }
};

/// Computes the log-probabilities of a beam from its logits. Throws `non_finite_logits`.
inline void take_log_probs(std::span<float> scores /*[V+A]*/, std::span<const float> base /*[V]*/,
                           std::span<const float> additional /*[A]*/, std::size_t row,
                           std::int64_t new_tokens, detail::StepRecords& records) {
  join_logits(scores, base, additional);
  check_finite(scores, row, new_tokens);
  records.keep_logits(row, new_tokens, scores);
  log_softmax(scores);
}

/// The beams of one prompt.
class BeamItem : public detail::RunningBeams {
 public:
  BeamItem(const BeamRules& rules, std::span<const std::int32_t> prompt, std::int32_t first_row)
      : detail::RunningBeams(prompt, static_cast<std::size_t>(rules.limits.longest), rules.beams,
                             rules.vocabulary, first_row),
        rules_(rules) {
    if (rules.sample) probabilities_.resize(rules.beams * rules.vocabulary);
    for (std::size_t i = 0; i <= rules.beams; ++i)
      finished_.emplace_back(prompt, static_cast<std::size_t>(rules.limits.longest));
    ranking_.resize(finished_.size());
    std::iota(ranking_.begin(), ranking_.end(), std::size_t{0});
    candidates_.reserve(rules.candidates + 1), order_.reserve(rules.beams + 1);
  }

  bool open() const { return open_; }
  /// The finished hypothesis of rank i, from 0 to n - 1.
  const detail::Hypothesis& finished(std::size_t i) const { return finished_[ranking_[i]]; }

  /// Computes the beams of the next step from the processed log-probabilities of all beams.
  template <class Ask>
  void advance(const Ask& ask) {
    choose_candidates(add_sums(), ask);
    for (detail::Candidate& c : candidates_) {
      ask();
      c.stopped = stops(c);
    }
    finish_stopped();
    select_running();
    close_if_done();
  }

  /// After the last step: the running beams count as finished.
  void finish_running() {
    if (!open_) return;
    for (const detail::Hypothesis& beam : running())
      if (!beam.trace.empty() && beam.score > detail::no_beam)
        insert(beam, rules_.penalized(beam.score, std::ssize(beam.trace)));
  }

 private:
  /// Draws are numbered within each step of a prompt, so that other prompts of the batch do not
  /// affect them.
  template <class Ask>
  void choose_candidates(std::span<const float> sums, const Ask& ask) {
    const auto step = static_cast<std::uint32_t>(running()[0].trace.size());
    const auto number = [&](std::size_t draw) {
      ask();
      return uniform(rules_.seed, 0, step, static_cast<std::uint32_t>(draw));
    };
    if (rules_.sample)
      draw_candidates(sums, rules_.vocabulary, rules_.candidates, number, probabilities_,
                      candidates_);
    else
      best_candidates(sums, rules_.vocabulary, rules_.candidates, candidates_);
  }

  bool stops(const detail::Candidate& candidate) {
    auto& ids = beam_of(candidate).ids;
    ids.push_back(candidate.id);
    const bool stop = rules_.stops(ids);
    ids.pop_back();
    return stop;
  }

  /// Finishes the stopped candidates that are among the first n; the others are dropped.
  void finish_stopped() {
    for (std::size_t i = 0; i < std::min(rules_.beams, candidates_.size()); ++i) {
      const detail::Candidate& c = candidates_[i];
      if (!c.stopped) continue;
      const detail::Hypothesis& ended = continued(c);
      insert(ended, rules_.penalized(c.score, std::ssize(ended.trace)));
    }
  }

  /// Inserts a hypothesis, after equal ones, into the sorted list of the n best finished ones.
  void insert(const detail::Hypothesis& hypothesis, float score) {
    if (!(score > finished(rules_.beams - 1).score)) return;
    detail::Hypothesis& slot = finished_[ranking_.back()];  // the spare one
    slot.ids.assign(hypothesis.ids.begin(), hypothesis.ids.end());
    slot.trace.assign(hypothesis.trace.begin(), hypothesis.trace.end());
    slot.score = score;
    const auto position =
        std::ranges::upper_bound(ranking_.begin(), ranking_.end() - 1, score, std::greater<>(),
                                 [this](std::size_t i) { return finished_[i].score; });
    std::rotate(position, ranking_.end() - 1, ranking_.end());
  }

  /// Continues the best n candidates that did not stop and, if there are fewer, stopped ones after
  /// them.
  void select_running() {
    all_stopped_ = std::ranges::all_of(candidates_, &detail::Candidate::stopped);
    order_.clear();
    for (detail::Candidate c : candidates_) {
      if (c.stopped) c.score += detail::no_beam;
      insert_candidate(order_, rules_.beams, c);
    }
    continue_with(order_);
  }

  /// Closes the item when n hypotheses are finished and either early_stopping is true or the best
  /// running beam is not expected to beat the worst of them; also when every candidate stopped.
  void close_if_done() {
    const detail::Hypothesis& first = running()[0];
    const float last = finished(rules_.beams - 1).score;
    const bool full = last > detail::no_beam;
    const bool longest = rules_.early_stopping == EarlyStopping::never && rules_.length_penalty > 0;
    const float best = rules_.penalized(
        first.score, longest ? rules_.limits.new_tokens() : std::ssize(first.trace));
    const float worst = full ? last : detail::no_beam;
    if (!(best > worst) || (full && rules_.early_stopping == EarlyStopping::yes) || all_stopped_)
      open_ = false;
  }

  const BeamRules& rules_;
  std::vector<double> probabilities_;          // [n,V+A] scratch for sampling
  std::vector<detail::Hypothesis> finished_;   // [n+1]
  std::vector<std::size_t> ranking_;           // [n+1], best first; the last is scratch
  std::vector<detail::Candidate> candidates_;  // [k]
  std::vector<detail::Candidate> order_;       // [n]
  bool open_ = true, all_stopped_ = false;
};

/// Number of beams of a batch.
inline std::int64_t beam_rows(const GenerationConfig& config,
                              const detail::LogitsContext& context) {
  return std::ssize(context.prompts) * *config.num_beams;
}

/// The beams of a batch.
class BeamSearch {
 public:
  BeamSearch(const GenerationConfig& config, const detail::LogitsContext& context)
      : rules_(config, context),
        pipeline_(config, context),
        records_(config, context, beam_rows(config, context)),
        returned_(static_cast<std::size_t>(config.num_return_sequences.value_or(1))),
        pad_(config.pad_token_id.value_or(0)),
        next_(static_cast<std::size_t>(beam_rows(config, context))) {
    // the reference treats a pad id of 0 as unset
    if (pad_ == 0 && !rules_.eos.empty()) pad_ = rules_.eos.front();
    const auto n = static_cast<std::int32_t>(rules_.beams);
    for (const auto& prompt : context.prompts)
      items_.emplace_back(rules_, prompt, static_cast<std::int32_t>(items_.size()) * n);
  }

  /// Takes the logits of a beam: log-probabilities, then processors, without renormalization.
  void take(std::size_t row, std::span<const float> base, std::span<const float> additional) {
    BeamItem& item = items_[row / rules_.beams];
    const detail::Hypothesis& beam = item.running()[row % rules_.beams];
    const std::span<float> scores = item.scores(row % rules_.beams);
    const std::int64_t step = std::ssize(beam.trace);
    take_log_probs(scores, base, additional, row, step, records_);
    pipeline_.process(scores, beam.ids, static_cast<std::int64_t>(row / rules_.beams));
    records_.keep_scores(row, step, scores);
  }

  /// After `take` for all beams of a step: the rows that continue.
  /// Calls `ask`, which may throw, again and again.
  template <class Ask>
  const detail::NextRows& advance(const Ask& ask) {
    next_.clear();
    for (BeamItem& item : items_) {
      if (!item.open()) continue;
      item.advance(ask);
      if (item.open()) next_.add(item, item.first_row());
    }
    return next_;
  }

  /// Adds the best hypotheses of each prompt to `output`, padded to the longest.
  void finish(GenerationOutput& output) {
    std::size_t longest = 0;
    for (BeamItem& item : items_) {
      item.finish_running();
      for (std::size_t i = 0; i < returned_; ++i)
        longest = std::max(longest, item.finished(i).ids.size());
    }
    for (const BeamItem& item : items_) {
      for (std::size_t i = 0; i < returned_; ++i) {
        const detail::Hypothesis& h = item.finished(i);
        output.lengths.push_back(std::ssize(h.trace));
        output.sequences.push_back(h.ids);
        output.sequences.back().resize(longest, pad_);
        output.beam_indices.push_back(h.trace);
        output.beam_indices.back().resize(longest - static_cast<std::size_t>(rules_.limits.prompt),
                                          -1);
        output.sequences_scores.push_back(h.score);
      }
    }
  }
  std::size_t beams() const { return rules_.beams; }
  detail::StepRecords& records() { return records_; }

 private:
  BeamRules rules_;
  detail::LogitsPipeline pipeline_;
  detail::StepRecords records_;
  std::size_t returned_;
  std::int32_t pad_;
  std::deque<BeamItem> items_;  // [B]
  detail::NextRows next_;
};

/// The loop of every search with beams: `search` takes logits, decides which rows continue which,
/// and finally returns its results. The logits after a prompt serve all of its beams.
template <class Search>
GenerationOutput search_with_beams(detail::TextRun& run, Search& search,
                                   const detail::LogitsContext& context,
                                   const StepCallback& on_step) {
  Stopwatch watch;
  GenerationOutput output;
  try {
    run.prefill([&](std::size_t row, std::int64_t, auto base, auto additional) {
      for (std::size_t i = 0; i < search.beams(); ++i) {
        run.ask();
        search.take(row + i, base, additional);
      }
    });
    output.timings.prefill_s = watch.lap();
    for (;;) {
      const detail::NextRows& next = search.advance([&run] { run.ask(); });
      if ((on_step && !on_step({})) || next.rows().empty()) break;
      run.reorder(next.rows(), next.parents());
      run.step(next.rows(), next.ids(),
               [&search](std::size_t row, std::int64_t, auto base, auto additional) {
                 search.take(row, base, additional);
               });
      ++output.timings.decode_tokens;
    }
  } catch (const detail::RunStopped&) {  // within a step, which is dropped
  }
  output.timings.decode_s = watch.lap();
  search.finish(output);
  for (const auto& row : output.sequences)
    output.new_tokens.emplace_back(row.begin() + context.limits.prompt, row.end());
  // a token's scores are those of the beam that it continued
  const auto source = [&output](std::size_t row, std::size_t step) {
    return static_cast<std::size_t>(output.beam_indices[row][step]);
  };
  search.records().finish(output, source);
  run.finish_attentions(output, source);
  return output;
}

/// Beam search, or beam sampling with do_sample, over a run with num_beams copies of each prompt.
/// `on_step` is called without tokens, because none is final before the end.
inline GenerationOutput beam_search(detail::TextRun& run, const GenerationConfig& config,
                                    const detail::LogitsContext& context,
                                    const StepCallback& on_step) {
  BeamSearch search(config, context);
  return search_with_beams(run, search, context, on_step);
}

}}}  // namespace idefics::v0::detail
