// Diverse beam search: groups of beams, one after the other, each of which pays for tokens that the
// groups before it chose; and constrained beam search, one group whose beams are pushed through
// phrases that must appear. Source: _group_beam_search and _constrained_beam_search of transformers
// 4.56.2, the last release with them (Vijayakumar et al. 2018; Hokamp and Liu 2017; Post and Vilar
// 2018). Letters: B prompts, n beams of each in G groups, V+A the whole vocabulary.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include <idefics/generation/beam_search.hpp>
#include <idefics/generation/constraints.hpp>
#include <idefics/generation/finished_beams.hpp>

namespace idefics::inline v0 {

namespace detail {

struct GroupRules : BeamRules {
  std::size_t group_size;
  float diversity_penalty;
  std::int32_t pad;
  std::vector<Constraint> constraints;

  GroupRules(const GenerationConfig& config, const LogitsContext& context)
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
class BeamGroup {
 public:
  BeamGroup(const GroupRules& rules, const GenerationConfig& config,
            std::span<const std::int32_t> prompt, std::int32_t first_row)
      : finished(rules.group_size, config, rules.limits),
        rules_(rules),
        first_row_(first_row),
        scores_(rules.group_size * rules.vocabulary) {
    for (std::size_t i = 0; i < rules.group_size; ++i) {
      running_.emplace_back(prompt, static_cast<std::size_t>(rules.limits.longest));
      next_.emplace_back(prompt, static_cast<std::size_t>(rules.limits.longest));
    }
    running_.front().score = 0;
    best_.reserve(rules.candidates + 1), chosen_.reserve(rules.group_size);
  }

  FinishedBeams finished;

  bool done() const { return done_; }
  std::int32_t first_row() const { return first_row_; }
  std::span<const Hypothesis> running() const { return running_; }
  std::span<float> scores(std::size_t beam) {
    return std::span(scores_).subspan(beam * rules_.vocabulary, rules_.vocabulary);
  }

  /// From the processed log-probabilities of its beams to the beams of the next step.
  void advance() {
    for (std::size_t i = 0; i < running_.size(); ++i)
      for (float& score : scores(i)) score += running_[i].score;
    best_candidates(scores_, rules_.vocabulary, rules_.candidates, best_);
    choose();
    if (!rules_.constraints.empty()) push_constraints();
    const std::int64_t new_tokens = std::ssize(running_[0].trace) + 1;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const Candidate& c = chosen_[i];
      next_[i].continue_from(parent(c), first_row_ + c.beam, c.id, c.score);
    }
    running_.swap(next_);
    done_ = finished.is_done(static_cast<double>(best_.front().score), new_tokens);
  }

  /// No further step will come: what runs competes with what is finished.
  void finish_running(std::size_t returned) {
    if (done_) return;
    std::size_t fulfilled = 0;
    for (const Hypothesis& beam : running_) {
      if (!fulfils(rules_.constraints, beam.ids)) continue;
      add(beam);
      ++fulfilled;
    }
    if (fulfilled >= returned || rules_.constraints.empty()) return;
    for (const Hypothesis& beam : running_)
      if (!fulfils(rules_.constraints, beam.ids)) add(beam);
  }

 private:
  const Hypothesis& parent(const Candidate& c) const {
    return running_[static_cast<std::size_t>(c.beam)];
  }
  void add(const Hypothesis& beam) {
    finished.add(beam.ids, beam.trace, static_cast<double>(beam.score));
  }

  /// End tokens among the first candidates finish their beams; the best others run on.
  void choose() {
    chosen_.clear();
    for (std::size_t rank = 0; rank < best_.size() && chosen_.size() < running_.size(); ++rank) {
      const Candidate& c = best_[rank];
      if (!rules_.is_eos(c.id)) {
        chosen_.push_back(c);
      } else if (rank < running_.size() && fulfils(rules_.constraints, parent(c).ids)) {
        Hypothesis& ended = next_.front();
        ended.continue_from(parent(c), first_row_ + c.beam, c.id, c.score);
        ended.ids.pop_back();
        finished.add(ended.ids, ended.trace, static_cast<double>(c.score));
      }
    }
  }

  /// A continuation and how far it has come with the constraints.
  struct Push {
    Candidate candidate;
    std::int64_t bank = 0;
    float key() const { return static_cast<float>(bank * 100) + candidate.score; }
  };

  /// Beside the best continuations stand those that bring a beam further in its constraints. They
  /// are sorted into banks by how far they are, and the beams are dealt out to the banks in turn,
  /// the farthest first.
  void push_constraints() {
    std::vector<Push> all;
    std::set<std::vector<std::int32_t>> known;
    for (const Candidate& c : chosen_) {
      auto ids = parent(c).ids;
      ids.push_back(c.id);
      ConstraintState state(rules_.constraints);
      state.add(ids);
      all.push_back({c, state.bank()});
      known.insert(std::move(ids));
    }
    std::deque<ConstraintState> states;  // kept to the end: they share what they have begun
    for (std::size_t i = 0; i < running_.size(); ++i) push_beam(i, known, states, all);
    for (std::size_t i = 0; i < states.size(); ++i) all[chosen_.size() + i].bank = states[i].bank();
    if (!states.empty()) deal(all);
  }

  /// The continuations of beam `i` that fulfil more of its constraints.
  void push_beam(std::size_t i, std::set<std::vector<std::int32_t>>& known,
                 std::deque<ConstraintState>& states, std::vector<Push>& all) {
    ConstraintState state(rules_.constraints);
    state.add(running_[i].ids);
    for (const std::int32_t id : state.completed() ? GenerationConfig::Ids{} : state.advance()) {
      ConstraintState further = state;
      further.add(id);
      auto ids = running_[i].ids;
      ids.push_back(id);
      if (!known.insert(std::move(ids)).second) continue;
      states.push_back(std::move(further));
      all.push_back({{.score = scores(i)[static_cast<std::size_t>(id)],
                      .beam = static_cast<std::int32_t>(i),
                      .id = id}});
    }
  }

  void deal(std::vector<Push>& all) {
    std::ranges::stable_sort(all, std::greater<>(), &Push::key);
    std::vector<std::pair<std::size_t, Candidate>> dealt;  // rank within the bank
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool same_bank = i > 0 && all[i].bank == all[i - 1].bank;
      dealt.emplace_back(same_bank ? dealt.back().first + 1 : 0, all[i].candidate);
    }
    std::ranges::stable_sort(dealt, {}, &std::pair<std::size_t, Candidate>::first);
    for (std::size_t i = 0; i < chosen_.size(); ++i) chosen_[i] = dealt[i].second;
  }

  const GroupRules& rules_;
  std::int32_t first_row_;
  std::vector<float> scores_;               // [n / G,V+A]
  std::vector<Hypothesis> running_, next_;  // [n / G]
  std::vector<Candidate> best_, chosen_;
  bool done_ = false;
};

/// The groups of all prompts.
class GroupBeamSearch {
 public:
  GroupBeamSearch(const GenerationConfig& config, const LogitsContext& context)
      : rules_(config, context),
        pipeline_(config, context),
        records_(config, context, beam_rows(config, context)),
        returned_(static_cast<std::size_t>(config.num_return_sequences.value_or(1))),
        groups_per_prompt_(rules_.beams / rules_.group_size),
        stopped_(context.prompts.size()) {
    for (const auto& prompt : context.prompts)
      for (std::size_t g = 0; g < groups_per_prompt_; ++g)
        groups_.emplace_back(rules_, config, prompt,
                             static_cast<std::int32_t>(groups_.size() * rules_.group_size));
  }

  /// The logits behind a prompt serve all of its beams.
  void take_prompt(std::size_t first_row, std::span<const float> base,
                   std::span<const float> additional) {
    for (std::size_t i = 0; i < rules_.beams; ++i) take(first_row + i, base, additional);
  }
  void take(std::size_t row, std::span<const float> base, std::span<const float> additional) {
    BeamGroup& group = groups_[row / rules_.group_size];
    const std::size_t beam = row % rules_.group_size;
    take_log_probs(group.scores(beam), base, additional, row,
                   std::ssize(group.running()[beam].trace), records_);
  }

  /// After all beams of a step: which rows go on, behind which, and with which ids.
  void advance() {
    rows_.clear(), parents_.clear(), next_.clear();
    for (std::size_t prompt = 0; prompt < stopped_.size(); ++prompt) {
      if (stopped_[prompt]) continue;
      const std::size_t first = prompt * groups_per_prompt_;
      advance_prompt(first);
      stopped_[prompt] = stops(first);
      for (std::size_t g = first; !stopped_[prompt] && g < first + groups_per_prompt_; ++g)
        go_on(groups_[g]);
    }
  }
  std::span<const std::int32_t> rows() const { return rows_; }
  std::span<const std::int32_t> parents() const { return parents_; }
  std::span<const std::int32_t> next() const { return next_; }

  /// The best hypotheses of each prompt, with their end tokens where there is room for one.
  void finish(GenerationOutput& output) {
    std::size_t longest = 0;
    for (std::size_t first = 0; first < groups_.size(); first += groups_per_prompt_) {
      for (FinishedBeam& beam : best_of(first)) {
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
  StepRecords& records() { return records_; }

 private:
  std::int32_t first_row_of_prompt(const BeamGroup& group) const {
    const auto n = static_cast<std::int32_t>(rules_.beams);
    return group.first_row() / n * n;
  }

  void go_on(const BeamGroup& group) {
    if (group.done()) return;
    for (std::size_t i = 0; i < rules_.group_size; ++i) {
      const Hypothesis& beam = group.running()[i];
      rows_.push_back(group.first_row() + static_cast<std::int32_t>(i));
      parents_.push_back(beam.trace.size() == 1 ? first_row_of_prompt(group) : beam.trace.back());
      next_.push_back(beam.ids.back());
    }
  }

  /// A prompt stops when a criterion holds for all of its beams at once. A group that was done before
  /// chose padding in this step, which only an end token among it makes an end.
  bool stops(std::size_t first) const {
    bool over = rules_.stopping.out_of_time();
    for (std::size_t g = first; g < first + groups_per_prompt_; ++g)
      over = over || std::ssize(groups_[g].running()[0].ids) >= rules_.limits.longest;
    if (over) return true;
    std::size_t tokens = 0;
    for (std::size_t g = first; g < first + groups_per_prompt_; ++g)
      tokens = std::max(tokens, groups_[g].running()[0].ids.size());
    const auto ends = [&](const Hypothesis& beam) {
      return beam.ids.size() < tokens ? rules_.is_eos(rules_.pad) : rules_.stopping.ends(beam.ids);
    };
    for (std::size_t g = first; g < first + groups_per_prompt_; ++g)
      if (!std::ranges::all_of(groups_[g].running(), ends)) return false;
    return true;
  }

  void advance_prompt(std::size_t first) {
    std::vector<std::int32_t> taken;  // the tokens of the groups before
    for (std::size_t g = first; g < first + groups_per_prompt_; ++g) {
      BeamGroup& group = groups_[g];
      if (group.done()) {  // it goes on choosing padding
        taken.insert(taken.end(), rules_.group_size, rules_.pad);
        continue;
      }
      for (std::size_t i = 0; i < rules_.group_size; ++i) {
        const std::span<float> scores = group.scores(i);
        for (const std::int32_t id : taken)
          scores[static_cast<std::size_t>(id)] -= rules_.diversity_penalty;
        pipeline_.process(scores, group.running()[i].ids,
                          static_cast<std::int64_t>(first / groups_per_prompt_));
        records_.keep_scores(static_cast<std::size_t>(group.first_row()) + i,
                             std::ssize(group.running()[i].trace), scores);
      }
      group.advance();
      for (const Hypothesis& beam : group.running()) taken.push_back(beam.ids.back());
    }
  }

  /// The hypotheses to return, best first; among equals the one that came last.
  std::vector<FinishedBeam> best_of(std::size_t first) {
    std::vector<FinishedBeam> all;
    for (std::size_t g = first + groups_per_prompt_; g-- > first;) {
      groups_[g].finish_running(returned_);
      const auto& list = groups_[g].finished.list();
      all.insert(all.end(), list.rbegin(), list.rend());
    }
    std::ranges::stable_sort(all, std::greater<>(), &FinishedBeam::score);
    all.resize(std::min(all.size(), returned_));
    return all;
  }

  GroupRules rules_;
  LogitsPipeline pipeline_;
  StepRecords records_;
  std::size_t returned_, groups_per_prompt_;
  std::deque<BeamGroup> groups_;  // [B,G]
  std::vector<bool> stopped_;     // [B]
  std::vector<std::int32_t> rows_, parents_, next_;
};

}  // namespace detail

/// Diverse or constrained beam search over a run with num_beams copies of each prompt.
inline GenerationOutput group_beam_search(TextRun& run, const GenerationConfig& config,
                                          const LogitsContext& context,
                                          const StepCallback& on_step) {
  detail::GroupBeamSearch search(config, context);
  return detail::search_with_beams(run, search, context, on_step);
}

}  // namespace idefics::inline v0
