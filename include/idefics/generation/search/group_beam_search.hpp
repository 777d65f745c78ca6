// Diverse beam search: groups of beams, processed one after another, each of which is penalized for
// tokens that earlier groups chose; and constrained beam search: one group, steered through phrases
// that must appear. Source: _group_beam_search and _constrained_beam_search of transformers 4.56.2,
// the last release with them (Vijayakumar et al. 2018; Hokamp and Liu 2017; Post and Vilar 2018).
// Letters: B sequences (the prompts), n beams of each prompt, g groups of each prompt.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include <idefics/generation/search/beam_search.hpp>
#include <idefics/generation/search/constrained_beams.hpp>
#include <idefics/generation/search/finished_beams.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct GroupRules : BeamRules {
  std::size_t group_size;
  float diversity_penalty;
  std::int32_t pad;
  std::vector<detail::Constraint> constraints;

  GroupRules(const GenerationConfig& config, const detail::LogitsContext& context)
      : BeamRules(config, context),
        group_size(beams / static_cast<std::size_t>(config.num_beam_groups.value_or(1))),
        diversity_penalty(static_cast<float>(config.diversity_penalty.value_or(0.0))),
        pad(config.pad_token_id.value_or(eos.empty() ? 0 : eos.front())) {
    candidates = std::min(candidates, beams * vocabulary) / beams * group_size;
    for (const auto& phrases : config.force_words_ids) constraints.emplace_back(phrases);
  }
  bool is_eos(std::int32_t id) const { return std::ranges::find(eos, id) != eos.end(); }
};

/// One group of beams of one prompt.
class BeamGroup : public detail::RunningBeams {
 public:
  BeamGroup(const GroupRules& rules, const GenerationConfig& config,
            std::span<const std::int32_t> prompt, std::int32_t first_row)
      : detail::RunningBeams(prompt, static_cast<std::size_t>(rules.limits.longest),
                             rules.group_size, rules.vocabulary, first_row),
        finished(rules.group_size, config, rules.limits),
        rules_(rules),
        constrained_(rules.constraints, rules.group_size) {
    best_.reserve(rules.candidates + 1), chosen_.reserve(rules.group_size);
  }

  detail::FinishedBeams finished;

  bool done() const { return done_; }

  /// Computes the beams of the next step from the processed log-probabilities of the group.
  void advance() {
    best_candidates(add_sums(), rules_.vocabulary, rules_.candidates, best_);
    choose();
    if (!rules_.constraints.empty()) constrained_.push(*this, chosen_);
    continue_with(chosen_);
    done_ =
        finished.is_done(static_cast<double>(best_.front().score), std::ssize(running()[0].trace));
  }

  /// A step of a group that is done: all beams continue its first one with padding.
  void pad() {
    chosen_.assign(rules_.group_size, {.score = detail::no_beam, .beam = 0, .id = rules_.pad});
    continue_with(chosen_);
  }

  /// After the last step: the running beams compete with the finished ones.
  void finish_running(std::size_t returned) {
    if (done_) return;
    std::size_t fulfilled = 0;
    for (const detail::Hypothesis& beam : running()) {
      if (!constrained_.fulfilled(beam.ids)) continue;
      add(beam);
      ++fulfilled;
    }
    if (fulfilled >= returned || rules_.constraints.empty()) return;
    for (const detail::Hypothesis& beam : running())
      if (!constrained_.fulfilled(beam.ids)) add(beam);
  }

 private:
  void add(const detail::Hypothesis& beam) {
    finished.add(beam.ids, beam.trace, static_cast<double>(beam.score));
  }

  /// End tokens among the first group_size candidates finish their beams; the best others continue.
  void choose() {
    chosen_.clear();
    const std::size_t n = rules_.group_size;
    for (std::size_t rank = 0; rank < best_.size() && chosen_.size() < n; ++rank) {
      const detail::Candidate& c = best_[rank];
      if (!rules_.is_eos(c.id)) {
        chosen_.push_back(c);
      } else if (rank < n && constrained_.fulfilled(beam_of(c).ids)) {
        detail::Hypothesis& ended = continued(c);
        ended.ids.pop_back();
        add(ended);
      }
    }
  }

  const GroupRules& rules_;
  ConstrainedBeams constrained_;
  std::vector<detail::Candidate> best_, chosen_;
  bool done_ = false;
};

/// The groups of all prompts.
class GroupBeamSearch {
 public:
  GroupBeamSearch(const GenerationConfig& config, const detail::LogitsContext& context)
      : rules_(config, context),
        pipeline_(config, context),
        records_(config, context, beam_rows(config, context)),
        returned_(static_cast<std::size_t>(config.num_return_sequences.value_or(1))),
        groups_per_prompt_(rules_.beams / rules_.group_size),
        stopped_(context.prompts.size()),
        next_(static_cast<std::size_t>(beam_rows(config, context))) {
    taken_.reserve(rules_.beams);
    for (const auto& prompt : context.prompts)
      for (std::size_t g = 0; g < groups_per_prompt_; ++g)
        groups_.emplace_back(rules_, config, prompt,
                             static_cast<std::int32_t>(groups_.size() * rules_.group_size));
  }

  void take(std::size_t row, std::span<const float> base, std::span<const float> additional) {
    BeamGroup& group = groups_[row / rules_.group_size];
    const std::size_t beam = row % rules_.group_size;
    take_log_probs(group.scores(beam), base, additional, row,
                   std::ssize(group.running()[beam].trace), records_);
  }

  /// After `take` for all beams of a step: the rows that continue.
  /// Calls `ask`, which may throw, again and again.
  template <class Ask>
  const detail::NextRows& advance(const Ask& ask) {
    next_.clear();
    for (std::size_t prompt = 0; prompt < stopped_.size(); ++prompt) {
      if (stopped_[prompt]) continue;
      const std::size_t first = prompt * groups_per_prompt_;
      advance_prompt(first, ask);
      stopped_[prompt] = stops(first);
      for (std::size_t g = first; !stopped_[prompt] && g < first + groups_per_prompt_; ++g)
        if (!groups_[g].done()) next_.add(groups_[g], groups_[first].first_row());
    }
    return next_;
  }

  /// Adds the best hypotheses of each prompt to `output`, with an end token where the length
  /// permits.
  void finish(GenerationOutput& output) {
    std::size_t longest = 0;
    for (std::size_t first = 0; first < groups_.size(); first += groups_per_prompt_) {
      for (detail::FinishedBeam& beam : best_of(first)) {
        longest = std::max(longest, beam.ids.size() + !rules_.eos.empty());
        output.lengths.push_back(std::ssize(beam.trace));
        output.sequences.push_back(std::move(beam.ids));
        output.beam_indices.push_back(std::move(beam.trace));
        output.sequences_scores.push_back(static_cast<float>(beam.score));
      }
    }
    longest = std::min(longest, static_cast<std::size_t>(rules_.limits.longest));
    for (auto& row : output.sequences) {
      if (row.size() < longest && !rules_.eos.empty()) row.push_back(rules_.eos.front());
      row.resize(longest, rules_.pad);
    }
    for (auto& row : output.beam_indices)
      row.resize(longest - static_cast<std::size_t>(rules_.limits.prompt), -1);
  }
  std::size_t beams() const { return rules_.beams; }
  detail::StepRecords& records() { return records_; }

 private:
  /// A prompt stops when all of its beams, padding included, meet a criterion in the same step.
  bool stops(std::size_t first) const {
    const auto ends = [&](const detail::Hypothesis& beam) {
      return rules_.stopping.ends(beam.ids);
    };
    for (std::size_t g = first; g < first + groups_per_prompt_; ++g)
      if (!std::ranges::all_of(groups_[g].running(), ends)) return rules_.stopping.out_of_time();
    return true;
  }

  template <class Ask>
  void advance_prompt(std::size_t first, const Ask& ask) {
    taken_.clear();
    for (std::size_t g = first; g < first + groups_per_prompt_; ++g) {
      BeamGroup& group = groups_[g];
      if (group.done()) {
        group.pad();
      } else {
        process(group, first / groups_per_prompt_, ask);
        group.advance();
      }
      for (const detail::Hypothesis& beam : group.running()) taken_.push_back(beam.ids.back());
    }
  }

  template <class Ask>
  void process(BeamGroup& group, std::size_t prompt, const Ask& ask) {
    for (std::size_t i = 0; i < rules_.group_size; ++i) {
      ask();
      const detail::Hypothesis& beam = group.running()[i];
      const std::span<float> scores = group.scores(i);
      for (const std::int32_t id : taken_)
        scores[static_cast<std::size_t>(id)] -= rules_.diversity_penalty;
      pipeline_.process(scores, beam.ids, static_cast<std::int64_t>(prompt));
      records_.keep_scores(static_cast<std::size_t>(group.first_row()) + i, std::ssize(beam.trace),
                           scores);
    }
  }

  /// The hypotheses to return, best first; in a tie, the last one found.
  std::vector<detail::FinishedBeam> best_of(std::size_t first) {
    std::vector<detail::FinishedBeam> all;
    for (std::size_t g = first + groups_per_prompt_; g-- > first;) {
      groups_[g].finish_running(returned_);
      const auto list = groups_[g].finished.list();
      all.insert(all.end(), list.rbegin(), list.rend());
    }
    std::ranges::stable_sort(all, std::greater<>(), &detail::FinishedBeam::score);
    all.resize(std::min(all.size(), returned_));
    return all;
  }

  GroupRules rules_;
  detail::LogitsPipeline pipeline_;
  detail::StepRecords records_;
  std::size_t returned_, groups_per_prompt_;
  std::deque<BeamGroup> groups_;     // [B,g]
  std::vector<bool> stopped_;        // [B]
  std::vector<std::int32_t> taken_;  // at most [n], the tokens of earlier groups
  detail::NextRows next_;
};

/// Diverse or constrained beam search over a run with num_beams copies of each prompt.
inline GenerationOutput group_beam_search(detail::TextRun& run, const GenerationConfig& config,
                                          const detail::LogitsContext& context,
                                          const StepCallback& on_step) {
  GroupBeamSearch search(config, context);
  return search_with_beams(run, search, context, on_step);
}

}}}  // namespace idefics::v0::detail
