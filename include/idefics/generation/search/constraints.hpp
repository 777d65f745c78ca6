// Phrases that must appear: the progress of a sequence through them, and the continuations that
// advance it. Source: PhrasalConstraint, DisjunctiveConstraint and ConstraintListState in
// transformers' (4.56.2) generation/beam_constraints.py. A constraint is a list of phrases, one of
// which must appear; a single phrase is a list of one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include <idefics/core/error.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class Constraint {
 public:
  using Phrase = std::vector<std::int32_t>;

  /// Throws `invalid_option` if a phrase begins with another one, since it could never be
  /// completed.
  explicit Constraint(std::vector<Phrase> phrases)
      : phrases_(std::move(phrases)), sorted_(phrases_.size()) {
    std::iota(sorted_.begin(), sorted_.end(), std::size_t{0});
    std::ranges::stable_sort(sorted_, {},
                             [this](std::size_t i) -> const Phrase& { return phrases_[i]; });
    // phrases that begin with the same one follow it directly
    for (std::size_t i = 1; i < sorted_.size(); ++i)
      if (begins_with(phrases_[sorted_[i]], phrases_[sorted_[i - 1]]))
        fail(ErrorCode::invalid_option, "a phrase begins with another phrase of the same entry",
             {.field = "force_words_ids"});
    for (const Phrase& phrase : phrases_) longest_ = std::max(longest_, std::ssize(phrase));
  }

  std::int64_t longest() const { return longest_; }
  /// Number of phrases; at most this many ids can continue the beginning of a phrase.
  std::size_t phrases() const { return phrases_.size(); }

  /// Appends to `ids` the distinct ids that continue a phrase after `begun`, in the order of the
  /// phrases.
  void append_next(std::span<const std::int32_t> begun, std::vector<std::int32_t>& ids) const {
    const auto known = std::ssize(ids);
    const std::size_t t = begun.size();
    const auto id_of = [&](std::size_t i) { return phrases_[i][t]; };
    // the number of the first phrase of each id, which give the order
    std::size_t first = 0;
    for (const std::size_t i : extending(begun)) {
      if (std::ssize(ids) == known || id_of(i) != id_of(first)) {
        if (std::ssize(ids) > known) ids.back() = static_cast<std::int32_t>(first);
        ids.push_back(0), first = i;
      }
      first = std::min(first, i);
    }
    if (std::ssize(ids) > known) ids.back() = static_cast<std::int32_t>(first);
    std::sort(ids.begin() + known, ids.end());
    for (auto id = ids.begin() + known; id != ids.end(); ++id)
      *id = id_of(static_cast<std::size_t>(*id));
  }
  bool continues(std::span<const std::int32_t> begun, std::int32_t id) const {
    const auto found = extending(begun);
    return std::ranges::binary_search(found, id, {},
                                      [&](std::size_t i) { return phrases_[i][begun.size()]; });
  }
  /// Whether `begun`, which some phrase begins with, is a complete phrase.
  bool ends_with(std::span<const std::int32_t> begun) const { return extending(begun).empty(); }

 private:
  static bool begins_with(std::span<const std::int32_t> phrase,
                          std::span<const std::int32_t> begun) {
    return phrase.size() >= begun.size() && std::ranges::equal(phrase.first(begun.size()), begun);
  }

  /// The phrases that begin with `begun` and are longer, sorted.
  std::span<const std::size_t> extending(std::span<const std::int32_t> begun) const {
    const auto beginning = [&](std::size_t i) {
      return std::span(phrases_[i]).first(std::min(phrases_[i].size(), begun.size()));
    };
    const auto less = [&](std::size_t i, std::span<const std::int32_t> wanted) {
      return std::ranges::lexicographical_compare(beginning(i), wanted);
    };
    const auto greater = [&](std::span<const std::int32_t> wanted, std::size_t i) {
      return std::ranges::lexicographical_compare(wanted, beginning(i));
    };
    auto first = std::lower_bound(sorted_.begin(), sorted_.end(), begun, less);
    const auto last = std::upper_bound(first, sorted_.end(), begun, greater);
    // a phrase that is `begun` itself comes first
    if (first != last && phrases_[*first].size() == begun.size()) ++first;
    return {first, last};
  }

  std::vector<Phrase> phrases_;
  std::vector<std::size_t> sorted_;  // their numbers
  std::int64_t longest_ = 0;
};

class ExtendedState;

/// The progress of a sequence through all constraints, which can be fulfilled in any order, one
/// after another. Allocates only in the constructor.
class ConstraintState {
 public:
  explicit ConstraintState(const std::vector<Constraint>& constraints)
      : constraints_(&constraints) {
    for (const Constraint& c : constraints) longest_ = std::max(longest_, c.longest());
    own_.reserve(static_cast<std::size_t>(longest_));
    pending_.reserve(constraints.size());
    restart();
  }
  ConstraintState(const ConstraintState&) = delete;
  ConstraintState& operator=(const ConstraintState&) = delete;

  /// Resets to the state of an empty sequence.
  void restart() {
    pending_.resize(constraints_->size());
    std::iota(pending_.begin(), pending_.end(), std::size_t{0});
    begun_ = nullptr;
    fulfilled_ = 0;
  }
  bool completed() const { return pending_.empty() && !begun_; }

  /// Advances by one token.
  void add(std::int32_t id) {
    if (completed()) return;
    if (!begun_) {
      const auto found = std::ranges::find_if(
          pending_, [&](std::size_t i) { return (*constraints_)[i].continues({}, id); });
      if (found == pending_.end()) return;
      current_ = *found;
      pending_.erase(found);
      own_.clear();
      begun_ = &own_;
    }
    if (!constraint().continues(*begun_, id)) {  // interrupted: it starts over
      pending_.push_back(current_);
      begun_ = nullptr;
      return;
    }
    begun_->push_back(id);
    if (constraint().ends_with(*begun_)) {
      begun_ = nullptr;
      ++fulfilled_;
    }
  }
  void add(std::span<const std::int32_t> ids) {
    for (const std::int32_t id : ids) add(id);
  }

  /// Replaces the contents of `ids` by the ids that advance this state.
  void advance(std::vector<std::int32_t>& ids) const {
    ids.clear();
    if (begun_) return constraint().append_next(*begun_, ids);
    for (const std::size_t i : pending_) (*constraints_)[i].append_next({}, ids);
  }

  /// Number of steps made; a fulfilled constraint counts as the length of the longest phrase.
  std::int64_t bank() const { return bank(begun_ ? &constraint() : nullptr, begun_, fulfilled_); }

 private:
  friend class ExtendedState;

  std::int64_t bank(const Constraint* current, const std::vector<std::int32_t>* begun,
                    std::int64_t fulfilled) const {
    const std::int64_t remaining = begun ? current->longest() - std::ssize(*begun) : longest_;
    return fulfilled * longest_ + longest_ - remaining;
  }
  const Constraint& constraint() const { return (*constraints_)[current_]; }

  const std::vector<Constraint>* constraints_;
  std::vector<std::size_t> pending_;
  std::size_t current_ = 0;                           // the constraint in progress
  std::vector<std::int32_t> own_, *begun_ = nullptr;  // its tokens so far
  std::int64_t fulfilled_ = 0, longest_ = 0;
};

/// A state that is not complete, extended by one token: enough of it to compare beams. If a phrase
/// was in progress, its tokens are shared: as in the reference, the token also shows in the
/// original and in its other extensions, and which continuations win depends on it.
class ExtendedState {
 public:
  ExtendedState() { own_.reserve(1); }

  /// `state` must stay in place while this is used.
  void extend(ConstraintState& state, std::int32_t id) {
    state_ = &state, begun_ = state.begun_, fulfilled_ = state.fulfilled_;
    std::size_t current = state.current_;
    const auto continues = [&](std::size_t i) {
      return (*state.constraints_)[i].continues({}, id);
    };
    if (!begun_) {
      const auto found = std::ranges::find_if(state.pending_, continues);
      if (found == state.pending_.end()) return;
      current = *found;
      own_.clear();
      begun_ = &own_;
    }
    current_ = &(*state.constraints_)[current];
    if (!current_->continues(*begun_, id)) {  // interrupted
      begun_ = nullptr;
      return;
    }
    begun_->push_back(id);
    if (current_->ends_with(*begun_)) {
      begun_ = nullptr;
      ++fulfilled_;
    }
  }
  std::int64_t bank() const { return state_->bank(current_, begun_, fulfilled_); }

 private:
  const ConstraintState* state_ = nullptr;
  const Constraint* current_ = nullptr;
  std::vector<std::int32_t> own_, *begun_ = nullptr;
  std::int64_t fulfilled_ = 0;
};

}}}  // namespace idefics::v0::detail
