// Steers beams through phrases that must appear. Source: ConstrainedBeamSearchScorer's
// step_sentence_constraint in transformers' (4.56.2) generation/beam_search.py.
// Letters: n beams, p phrases of all constraints combined.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include <idefics/generation/search/beams.hpp>
#include <idefics/generation/search/constraints.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// std::stable_sort without its temporary memory, for the short lists of a step.
template <class T, class Key>
void sort_in_place(std::vector<T>& list, const Key& key) {
  for (auto it = list.begin(); it != list.end(); ++it)
    std::rotate(std::ranges::upper_bound(list.begin(), it, key(*it), {}, key), it, it + 1);
}

/// The constraints of one prompt and its beams. Allocates only in the constructor.
class ConstrainedBeams {
 public:
  ConstrainedBeams(const std::vector<detail::Constraint>& constraints, std::size_t beams)
      : replayed_(constraints) {
    std::size_t phrases = 0;
    for (const detail::Constraint& c : constraints) phrases += c.phrases();
    for (std::size_t i = 0; i < beams; ++i) states_.emplace_back(constraints);
    for (std::size_t i = 0; i < beams * phrases; ++i) extended_.emplace_back(constraints);
    all_.reserve(beams + beams * phrases), ids_.reserve(phrases);
  }

  /// Memory for each continuation, apart from its state (generation_bytes.hpp).
  static constexpr std::uint64_t bytes_of_push = 32;

  /// Whether a sequence, prompt and padding included, fulfils all constraints.
  bool fulfilled(std::span<const std::int32_t> ids) {
    replayed_.restart();
    replayed_.add(ids);
    return replayed_.completed();
  }

  /// Adds to the `chosen` continuations those that advance a beam in its constraints. They are
  /// sorted into banks by their progress, and the next beams are taken from the banks in turn, the
  /// most advanced bank first.
  void push(detail::RunningBeams& beams, std::vector<detail::Candidate>& chosen /*[n]*/) {
    all_.clear();
    for (const detail::Candidate& c : chosen) {
      (void)fulfilled(ids_of(beams, c));
      replayed_.add(c.id);
      all_.push_back({c, replayed_.bank()});
    }
    for (std::size_t i = 0; i < beams.running().size(); ++i) push_beam(beams, i, chosen.size());
    const std::size_t pushed = all_.size() - chosen.size();
    if (pushed == 0) return;
    // only now, because a token added to one of them also shows in the others of its beam
    for (std::size_t i = 0; i < pushed; ++i) all_[chosen.size() + i].bank = extended_[i].bank();
    deal(chosen);
  }

 private:
  /// A continuation and its progress through the constraints.
  struct Push {
    detail::Candidate candidate;
    std::int64_t bank = 0;
    std::size_t rank = 0;  // within the bank
    float key() const { return static_cast<float>(bank * 100) + candidate.score; }
  };
  static_assert(sizeof(Push) <= bytes_of_push);

  static std::span<const std::int32_t> ids_of(const detail::RunningBeams& beams,
                                              const detail::Candidate& c) {
    return beams.running()[static_cast<std::size_t>(c.beam)].ids;
  }

  /// Appends, after the `chosen`, the continuations of beam `i` that advance its constraints.
  void push_beam(detail::RunningBeams& beams, std::size_t i, std::size_t chosen) {
    detail::ConstraintState& state = states_[i];
    state.restart();
    state.add(beams.running()[i].ids);
    if (state.completed()) return;
    state.advance(ids_);
    for (const std::int32_t id : ids_) {
      const detail::Candidate c{.score = beams.scores(i)[static_cast<std::size_t>(id)],
                                .beam = static_cast<std::int32_t>(i),
                                .id = id};
      detail::ConstraintState& extended = extended_[all_.size() - chosen];
      extended.continue_from(state);
      extended.add(id);
      if (!is_known(beams, c)) all_.push_back({c});
    }
  }

  /// Whether the same sequence is already among the continuations.
  bool is_known(const detail::RunningBeams& beams, const detail::Candidate& c) const {
    return std::ranges::any_of(all_, [&](const Push& push) {
      return push.candidate.id == c.id &&
             std::ranges::equal(ids_of(beams, push.candidate), ids_of(beams, c));
    });
  }

  void deal(std::vector<detail::Candidate>& chosen) {
    sort_in_place(all_, [](const Push& push) { return -push.key(); });
    for (std::size_t i = 1; i < all_.size(); ++i)
      all_[i].rank = all_[i].bank == all_[i - 1].bank ? all_[i - 1].rank + 1 : 0;
    sort_in_place(all_, [](const Push& push) { return push.rank; });
    for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = all_[i].candidate;
  }

  detail::ConstraintState replayed_;                       // scratch: the state of one sequence
  std::deque<detail::ConstraintState> states_, extended_;  // [n], and [n*p] of their continuations
  std::vector<Push> all_;                                  // at most [n+n*p]
  std::vector<std::int32_t> ids_;                          // at most [p]
};

}}}  // namespace idefics::v0::detail
