// What every kind of beam search shares: hypotheses, and the choice of continuations: the best, or
// drawn ones. Source: transformers' GenerationMixin._get_top_k_continuations.
// Letters: n beams, V+A the whole vocabulary, K candidates.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include <idefics/generation/sampler.hpp>

namespace idefics::inline v0 {

/// A score that counts as "not at all": beams that have not begun, places not yet taken.
inline constexpr float no_beam = -1e9f;

struct Hypothesis {
  std::vector<std::int32_t> ids;    // padded prompt, then new tokens
  std::vector<std::int32_t> trace;  // beam_indices: the beam that each new token continued
  float score = no_beam;            // a running sum, or a penalized one once it is finished

  /// Room for the longest, so that nothing later allocates.
  Hypothesis(std::span<const std::int32_t> prompt, std::size_t longest) {
    ids.reserve(longest), trace.reserve(longest - prompt.size());
    ids.assign(prompt.begin(), prompt.end());
  }

  /// Becomes `parent`, beam `beam` of the batch, and one token more.
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
  std::int32_t beam = 0;  // of the item, from 0
  std::int32_t id = 0;
  bool stopped = false;  // a stopping criterion holds
};

/// Puts a candidate into `best`, which is in order and keeps `count`; behind equals. `best` has room
/// for one more.
inline void insert_candidate(std::vector<Candidate>& best, std::size_t count, Candidate c) {
  if (best.size() == count && !(c.score > best.back().score)) return;
  best.insert(std::ranges::upper_bound(best, c.score, std::greater<>(), &Candidate::score), c);
  if (best.size() > count) best.pop_back();
}

inline Candidate candidate_at(std::span<const float> sums /*[n,V+A]*/, std::size_t vocabulary,
                              std::size_t at) {
  return {.score = sums[at],
          .beam = static_cast<std::int32_t>(at / vocabulary),
          .id = static_cast<std::int32_t>(at % vocabulary)};
}

/// The best `count` of all continuations, best first; among equals the first.
inline void best_candidates(std::span<const float> sums /*[n,V+A]*/, std::size_t vocabulary,
                            std::size_t count, std::vector<Candidate>& best) {
  best.clear();
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (best.size() == count && !(sums[i] > best.back().score)) continue;  // nearly always
    insert_candidate(best, count, candidate_at(sums, vocabulary, i));
  }
}

/// `count` of all continuations, drawn one after the other from softmax(sums) without replacement
/// and kept in that order. `uniform(i)` is the number in [0, 1) of draw i. When nothing is left that
/// has a probability above 0, the best of the rest follow, among equals the first. Throws
/// `non_finite_logits` for a NaN.
template <class Uniform>
void draw_candidates(std::span<const float> sums /*[n,V+A]*/, std::size_t vocabulary,
                     std::size_t count, const Uniform& uniform,
                     std::span<double> probabilities /*[n,V+A], scratch*/,
                     std::vector<Candidate>& drawn) {
  if (std::ranges::any_of(sums, [](float s) { return std::isnan(s); }))
    fail(ErrorCode::non_finite_logits, "a logits processor made a NaN", {.field = "scores"});
  softmax(sums, probabilities);
  drawn.clear();
  while (drawn.size() < count) {
    const double left = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
    if (!(left > 0)) break;
    const auto at = static_cast<std::size_t>(draw(probabilities, left * uniform(drawn.size())));
    drawn.push_back(candidate_at(sums, vocabulary, at));
    probabilities[at] = 0;
  }
  while (drawn.size() < count) {
    std::size_t best = sums.size();
    for (std::size_t i = 0; i < sums.size(); ++i) {
      if (best < sums.size() && !(sums[i] > sums[best])) continue;
      const Candidate c = candidate_at(sums, vocabulary, i);
      const auto same = [&c](const Candidate& d) { return d.beam == c.beam && d.id == c.id; };
      if (std::ranges::none_of(drawn, same)) best = i;
    }
    drawn.push_back(candidate_at(sums, vocabulary, best));
  }
}

}  // namespace idefics::inline v0
