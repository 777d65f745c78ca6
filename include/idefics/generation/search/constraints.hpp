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
  explicit Constraint(std::vector<Phrase> phrases) : phrases_(std::move(phrases)) {
    for (std::size_t i = 0; i < phrases_.size(); ++i)
      for (std::size_t j = 0; j < phrases_.size(); ++j)
        if (i != j && begins_with(phrases_[i], phrases_[j]))
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
    for (const Phrase& phrase : phrases_)
      if (extends(phrase, begun) &&
          std::find(ids.begin() + known, ids.end(), phrase[begun.size()]) == ids.end())
        ids.push_back(phrase[begun.size()]);
  }
  bool continues(std::span<const std::int32_t> begun, std::int32_t id) const {
    return std::ranges::any_of(phrases_, [&](const Phrase& phrase) {
      return extends(phrase, begun) && phrase[begun.size()] == id;
    });
  }
  /// Whether `begun`, which some phrase begins with, is a complete phrase.
  bool ends_with(std::span<const std::int32_t> begun) const {
    return std::ranges::none_of(phrases_,
                                [&](const Phrase& phrase) { return extends(phrase, begun); });
  }

 private:
  static bool begins_with(std::span<const std::int32_t> phrase,
                          std::span<const std::int32_t> begun) {
    return phrase.size() >= begun.size() && std::ranges::equal(phrase.first(begun.size()), begun);
  }

  static bool extends(std::span<const std::int32_t> phrase, std::span<const std::int32_t> begun) {
    return phrase.size() > begun.size() && begins_with(phrase, begun);
  }

  std::vector<Phrase> phrases_;
  std::int64_t longest_ = 0;
};

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
  /// Takes over the progress of `other`, which must stay in place while this state is used.
  void continue_from(const ConstraintState& other) {
    pending_.assign(other.pending_.begin(), other.pending_.end());
    current_ = other.current_, begun_ = other.begun_, fulfilled_ = other.fulfilled_;
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
  std::int64_t bank() const {
    const std::int64_t remaining = begun_ ? constraint().longest() - std::ssize(*begun_) : longest_;
    return fulfilled_ * longest_ + longest_ - remaining;
  }

 private:
  const Constraint& constraint() const { return (*constraints_)[current_]; }

  const std::vector<Constraint>* constraints_;
  std::vector<std::size_t> pending_;
  std::size_t current_ = 0;  // the constraint in progress
  // Its tokens so far: own, or shared with the state that this one continues. As in the reference,
  // a token added to a copy also shows in the original, and which continuations win depends on it.
  std::vector<std::int32_t> own_, *begun_ = nullptr;
  std::int64_t fulfilled_ = 0, longest_ = 0;
};

}}}  // namespace idefics::v0::detail
