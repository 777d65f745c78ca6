// Steers beams through phrases that must appear. Source: ConstrainedBeamSearchScorer's
// step_sentence_constraint in transformers' (4.56.2) generation/beam_search.py.
// Letters: n beams, p phrases of all constraints combined.
#pragma once

#include <algorithm>
#include <bit>
#include <compare>
#include <cstdint>
#include <deque>
#include <numeric>
#include <vector>

#include <idefics/core/checked.hpp>
#include <idefics/generation/search/beams.hpp>
#include <idefics/generation/search/constraints.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Pairs of numbers, for finding those that were seen before in constant time. Allocates only in the
/// constructor.
class PairSet {
 public:
  explicit PairSet(std::size_t most) : slots_(std::bit_ceil(2 * most + 1)) {}
  void clear() { ++now_; }
  static constexpr std::uint64_t bytes_of_slot = 16;
  /// Returns true the first time after clear().
  bool insert(std::uint32_t a, std::uint32_t b) {
    const std::uint64_t key = std::uint64_t{a} << 32 | b;
    for (std::size_t i = key * 0x9e3779b97f4a7c15u >> 20;; ++i) {
      Slot& slot = slots_[i & (slots_.size() - 1)];
      if (slot.stamp != now_) return slot = {key, now_}, true;
      if (slot.key == key) return false;
    }
  }

 private:
  struct Slot {
    std::uint64_t key = 0, stamp = 0;
  };
  static_assert(sizeof(Slot) == bytes_of_slot);
  std::vector<Slot> slots_;
  std::uint64_t now_ = 1;
};

/// The constraints of one prompt and its beams. Allocates only in the constructor.
class ConstrainedBeams {
 public:
  ConstrainedBeams(const std::vector<detail::Constraint>& constraints, std::size_t beams)
      : replayed_(constraints),
        extended_(beams * phrases_of(constraints)),
        known_(beams + extended_.size()),
        first_of_(beams),
        sorted_(beams) {
    for (std::size_t i = 0; i < beams; ++i) states_.emplace_back(constraints);
    all_.reserve(beams + extended_.size()), ids_.reserve(phrases_of(constraints));
  }

  /// Memory for each continuation, apart from its state (generation_bytes.hpp).
  static constexpr std::uint64_t bytes_of_push = 40;
  /// Memory for finding equal ones among `most` continuations.
  static constexpr std::uint64_t bytes_of_pairs(std::uint64_t most) {
    return std::bit_ceil(2 * most + 1) * PairSet::bytes_of_slot;
  }

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
    all_.clear(), known_.clear();
    find_equal_beams(beams);
    for (const detail::Candidate& c : chosen) {
      (void)is_new(c);
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
    std::size_t rank = 0;   // within the bank
    std::size_t order = 0;  // before sorting, which decides ties
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
      extended_[all_.size() - chosen].extend(state, id);
      if (is_new(c)) all_.push_back({c});
    }
  }

  /// Finds, for every beam, the first one with the same tokens.
  void find_equal_beams(const detail::RunningBeams& beams) {
    const auto ids = [&](std::size_t i) -> const std::vector<std::int32_t>& {
      return beams.running()[i].ids;
    };
    std::iota(sorted_.begin(), sorted_.end(), std::size_t{0});
    std::ranges::sort(sorted_, [&](std::size_t a, std::size_t b) {
      const auto order = ids(a) <=> ids(b);
      return order != 0 ? order < 0 : a < b;
    });
    for (std::size_t i = 0; i < sorted_.size(); ++i) {
      const bool again = i > 0 && ids(sorted_[i]) == ids(sorted_[i - 1]);
      first_of_[sorted_[i]] = again ? first_of_[sorted_[i - 1]] : sorted_[i];
    }
  }
  /// Whether the same sequence is not among the continuations yet.
  bool is_new(const detail::Candidate& c) {
    return known_.insert(static_cast<std::uint32_t>(first_of_[static_cast<std::size_t>(c.beam)]),
                         static_cast<std::uint32_t>(c.id));
  }

  static std::size_t phrases_of(const std::vector<detail::Constraint>& constraints) {
    std::size_t phrases = 0;
    for (const detail::Constraint& c : constraints) phrases += c.phrases();
    return phrases;
  }

  void deal(std::vector<detail::Candidate>& chosen) {
    number();
    std::ranges::sort(all_, [](const Push& a, const Push& b) {
      return a.key() != b.key() ? a.key() > b.key() : a.order < b.order;
    });
    for (std::size_t i = 1; i < all_.size(); ++i)
      all_[i].rank = all_[i].bank == all_[i - 1].bank ? all_[i - 1].rank + 1 : 0;
    number();
    std::ranges::sort(all_, [](const Push& a, const Push& b) {
      return a.rank != b.rank ? a.rank < b.rank : a.order < b.order;
    });
    for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = all_[i].candidate;
  }
  void number() {
    for (std::size_t i = 0; i < all_.size(); ++i) all_[i].order = i;
  }

  detail::ConstraintState replayed_;             // scratch: the state of one sequence
  std::deque<detail::ConstraintState> states_;   // [n]
  std::vector<detail::ExtendedState> extended_;  // [n*p]
  std::vector<Push> all_;                        // at most [n+n*p]
  std::vector<std::int32_t> ids_;                // at most [p]
  PairSet known_;                                // beams and tokens of `all_`
  std::vector<std::size_t> first_of_, sorted_;   // [n]
};

}}}  // namespace idefics::v0::detail
