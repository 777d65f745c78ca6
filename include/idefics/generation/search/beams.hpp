// Shared by all beam searches: hypotheses, running beams, the rows of a run that a step continues,
// and the choice of continuations, the best or drawn ones. Source: transformers'
// GenerationMixin._get_top_k_continuations.
// Letters: V vocabulary, A added tokens, n beams.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include <idefics/generation/logits/sampler.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The score of beams that have not begun and of empty slots: lower than any real score.
inline constexpr float no_beam = -1e9f;

struct Hypothesis {
  std::vector<std::int32_t> ids;    // padded prompt, then new tokens
  std::vector<std::int32_t> trace;  // beam_indices: the beam that each new token continued
  float score = no_beam;            // a running sum, or a penalized one once it is finished

  /// Reserves memory for `longest` tokens, so that nothing allocates later.
  Hypothesis(std::span<const std::int32_t> prompt, std::size_t longest) {
    ids.reserve(longest), trace.reserve(longest - prompt.size());
    ids.assign(prompt.begin(), prompt.end());
  }

  /// Becomes `parent`, which is beam `beam` of the batch, extended by one token.
  void continue_from(const Hypothesis& parent, std::int32_t beam, std::int32_t id, float sum) {
    ids.assign(parent.ids.begin(), parent.ids.end());
    trace.assign(parent.trace.begin(), parent.trace.end());
    ids.push_back(id), trace.push_back(beam);
    score = sum;
  }
};

/// One continuation that a step considers.
struct Candidate {
  float score = 0;        // running sum with this token
  std::int32_t beam = 0;  // within the item, from 0
  std::int32_t id = 0;
  bool stopped = false;  // a stopping criterion holds
};

/// n beams that run in parallel, and the scores of the tokens that may follow each. Allocates only
/// in the constructor.
class RunningBeams {
 public:
  /// All beams begin with `prompt`, and only the first counts until they differ. Beam i is row
  /// `first_row` + i of the run.
  RunningBeams(std::span<const std::int32_t> prompt, std::size_t longest, std::size_t count,
               std::size_t vocabulary, std::int32_t first_row)
      : first_row_(first_row), vocabulary_(vocabulary), scores_(count * vocabulary) {
    for (std::size_t i = 0; i < count; ++i) {
      running_.emplace_back(prompt, longest);
      next_.emplace_back(prompt, longest);
    }
    running_.front().score = 0;
  }

  std::int32_t first_row() const { return first_row_; }
  std::span<const Hypothesis> running() const { return running_; }
  /// The log-probabilities of the tokens that may follow a beam; after `add_sums`, running sums.
  std::span<float> scores(std::size_t beam) /*[V+A]*/ {
    return std::span(scores_).subspan(beam * vocabulary_, vocabulary_);
  }

 protected:
  /// Adds the score of each beam to the scores of its tokens. Throws `non_finite_logits` for a NaN.
  std::span<const float> add_sums() /*[n,V+A]*/ {
    for (std::size_t i = 0; i < running_.size(); ++i)
      for (float& score : scores(i)) score += running_[i].score;
    if (std::ranges::any_of(scores_, [](float s) { return std::isnan(s); }))
      fail(ErrorCode::non_finite_logits, "a logits processor produced NaN", {.field = "scores"});
    return scores_;
  }
  Hypothesis& beam_of(const Candidate& c) { return running_[static_cast<std::size_t>(c.beam)]; }
  /// The beam that a candidate continues, extended by its token; valid until the next call.
  Hypothesis& continued(const Candidate& c, std::size_t place = 0) {
    next_[place].continue_from(beam_of(c), first_row_ + c.beam, c.id, c.score);
    return next_[place];
  }
  /// Makes the chosen candidates the beams of the next step.
  void continue_with(std::span<const Candidate> chosen /*[n]*/) {
    for (std::size_t i = 0; i < chosen.size(); ++i) continued(chosen[i], i);
    running_.swap(next_);
  }

 private:
  std::vector<Hypothesis> running_, next_;  // [n]; next_ is being prepared
  std::int32_t first_row_;
  std::size_t vocabulary_;
  std::vector<float> scores_;  // [n,V+A]
};

/// The rows of a run that a step continues, with the parent row and the next token of each.
class NextRows {
 public:
  explicit NextRows(std::size_t most) {
    for (auto* list : {&rows_, &parents_, &ids_}) list->reserve(most);
  }

  void clear() { rows_.clear(), parents_.clear(), ids_.clear(); }
  /// Adds all of `beams`, whose prompt was read by row `prompt_row`.
  void add(const RunningBeams& beams, std::int32_t prompt_row) {
    std::int32_t row = beams.first_row();
    for (const Hypothesis& beam : beams.running()) {
      rows_.push_back(row++);
      // after the prompt only the row that read it has a past
      parents_.push_back(beam.trace.size() == 1 ? prompt_row : beam.trace.back());
      ids_.push_back(beam.ids.back());
    }
  }

  std::span<const std::int32_t> rows() const { return rows_; }
  std::span<const std::int32_t> parents() const { return parents_; }
  std::span<const std::int32_t> ids() const { return ids_; }

 private:
  std::vector<std::int32_t> rows_, parents_, ids_;
};

/// Inserts a candidate, after equal ones, into the sorted list `best`, which keeps `count`
/// candidates and has capacity for one more.
inline void insert_candidate(std::vector<Candidate>& best, std::size_t count, Candidate c) {
  if (best.size() == count && !(c.score > best.back().score)) return;
  best.insert(std::ranges::upper_bound(best, c.score, std::greater<>(), &Candidate::score), c);
  if (best.size() > count) best.pop_back();
}

inline Candidate candidate_at(std::span<const float> sums /*[n,V+A]*/, std::size_t vocabulary,
                              std::size_t index) {
  return {.score = sums[index],
          .beam = static_cast<std::int32_t>(index / vocabulary),
          .id = static_cast<std::int32_t>(index % vocabulary)};
}

/// Appends the best `count` of all continuations for which `skip` is false, best first; in a tie,
/// the first.
template <class Skip>
void append_best(std::span<const float> sums /*[n,V+A]*/, std::size_t vocabulary, std::size_t count,
                 const Skip& skip, std::vector<Candidate>& list) {
  const auto better = [](const Candidate& a, const Candidate& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.beam != b.beam ? a.beam < b.beam : a.id < b.id;
  };
  const auto first = std::ssize(list);  // from there on a heap, the worst at its top
  const std::size_t full = list.size() + count;
  for (std::size_t i = 0; i < sums.size() && count > 0; ++i) {
    const bool is_full = list.size() == full;
    if (is_full && !(sums[i] > list[static_cast<std::size_t>(first)].score)) continue;  // mostly
    if (skip(i)) continue;
    if (is_full) {
      std::pop_heap(list.begin() + first, list.end(), better);
      list.pop_back();
    }
    list.push_back(candidate_at(sums, vocabulary, i));
    std::push_heap(list.begin() + first, list.end(), better);
  }
  std::sort_heap(list.begin() + first, list.end(), better);
}

/// The best `count` of all continuations, best first; in a tie, the first.
inline void best_candidates(std::span<const float> sums /*[n,V+A]*/, std::size_t vocabulary,
                            std::size_t count, std::vector<Candidate>& best) {
  best.clear();
  append_best(
      sums, vocabulary, count, [](std::size_t) { return false; }, best);
}

/// Draws `count` of all continuations, one after another, from softmax(sums) without replacement
/// and keeps them in that order. `uniform(i)` is the number in [0, 1) for draw i. When no
/// continuation of probability above 0 is left, the best of the rest follow; in a tie, the first.
template <class Uniform>
void draw_candidates(std::span<const float> sums /*[n,V+A]*/, std::size_t vocabulary,
                     std::size_t count, const Uniform& uniform,
                     std::span<double> probabilities /*[n,V+A], scratch*/,
                     std::vector<Candidate>& drawn) {
  softmax(sums, probabilities);
  drawn.clear();
  while (drawn.size() < count) {
    const double left = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
    if (!(left > 0)) break;
    const auto index = static_cast<std::size_t>(draw(probabilities, left * uniform(drawn.size())));
    drawn.push_back(candidate_at(sums, vocabulary, index));
    probabilities[index] = 0;
  }
  for (const Candidate& c : drawn)  // so that they are not taken again
    probabilities[static_cast<std::size_t>(c.beam) * vocabulary + static_cast<std::size_t>(c.id)] =
        -1;
  append_best(
      sums, vocabulary, count - drawn.size(), [&](std::size_t i) { return probabilities[i] < 0; },
      drawn);
}

}}}  // namespace idefics::v0::detail
