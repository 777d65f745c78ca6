// Phrases that must appear: how far a sequence has come, and which continuations bring it further.
// Source: PhrasalConstraint, DisjunctiveConstraint and ConstraintListState in transformers' (4.56.2)
// generation/beam_constraints.py. A constraint is a list of phrases of which one must appear; a
// single phrase is a list of one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <idefics/core/error.hpp>

namespace idefics::inline v0 {

class Constraint {
 public:
  using Phrase = std::vector<std::int32_t>;

  /// Throws `invalid_option` if a phrase begins with another one: it could never be completed.
  explicit Constraint(std::vector<Phrase> phrases) : phrases_(std::move(phrases)) {
    for (std::size_t i = 0; i < phrases_.size(); ++i)
      for (std::size_t j = 0; j < phrases_.size(); ++j)
        if (i != j && begins_with(phrases_[i], phrases_[j]))
          fail(ErrorCode::invalid_option, "a phrase begins with another one of its entry",
               {.field = "force_words_ids"});
    for (const Phrase& phrase : phrases_) longest_ = std::max(longest_, std::ssize(phrase));
  }

  std::int64_t longest() const { return longest_; }

  /// The ids that continue some phrase behind `begun`, in the order of the phrases.
  std::vector<std::int32_t> next(std::span<const std::int32_t> begun) const {
    std::vector<std::int32_t> ids;
    for (const Phrase& phrase : phrases_)
      if (phrase.size() > begun.size() && begins_with(phrase, begun) &&
          std::ranges::find(ids, phrase[begun.size()]) == ids.end())
        ids.push_back(phrase[begun.size()]);
    return ids;
  }
  bool continues(std::span<const std::int32_t> begun, std::int32_t id) const {
    const auto ids = next(begun);
    return std::ranges::find(ids, id) != ids.end();
  }

 private:
  static bool begins_with(std::span<const std::int32_t> phrase,
                          std::span<const std::int32_t> begun) {
    return phrase.size() >= begun.size() && std::ranges::equal(phrase.first(begun.size()), begun);
  }

  std::vector<Phrase> phrases_;
  std::int64_t longest_ = 0;
};

/// How far a sequence has come with all constraints. They may be fulfilled in any order, one after
/// the other.
class ConstraintState {
 public:
  explicit ConstraintState(const std::vector<Constraint>& constraints)
      : constraints_(&constraints) {
    for (std::size_t i = 0; i < constraints.size(); ++i) {
      pending_.push_back(i);
      longest_ = std::max(longest_, constraints[i].longest());
    }
  }

  bool completed() const { return pending_.empty() && !begun_; }

  /// Takes up a token.
  void add(std::int32_t id) {
    if (completed()) return;
    if (!begun_) {
      const auto found = std::ranges::find_if(
          pending_, [&](std::size_t i) { return (*constraints_)[i].continues({}, id); });
      if (found == pending_.end()) return;
      current_ = *found;
      pending_.erase(found);
      begun_ = std::make_shared<std::vector<std::int32_t>>();
    }
    if (!constraint().continues(*begun_, id)) {  // broken off: all of it is to do again
      pending_.push_back(current_);
      begun_.reset();
      return;
    }
    begun_->push_back(id);
    if (constraint().next(*begun_).empty()) {
      begun_.reset();
      ++fulfilled_;
    }
  }
  void add(std::span<const std::int32_t> ids) {
    for (const std::int32_t id : ids) add(id);
  }

  /// The ids that bring it further.
  std::vector<std::int32_t> advance() const {
    if (begun_) return constraint().next(*begun_);
    std::vector<std::int32_t> ids;
    for (const std::size_t i : pending_)
      for (const std::int32_t id : (*constraints_)[i].next({})) ids.push_back(id);
    return ids;
  }

  /// Steps made, each fulfilled constraint counting as many as the longest phrase.
  std::int64_t bank() const {
    const std::int64_t remaining = begun_ ? constraint().longest() - std::ssize(*begun_) : longest_;
    return fulfilled_ * longest_ + longest_ - remaining;
  }

 private:
  const Constraint& constraint() const { return (*constraints_)[current_]; }

  const std::vector<Constraint>* constraints_;
  std::vector<std::size_t> pending_;
  std::size_t current_ = 0;  // the constraint that has begun
  // Tokens of it so far. Copies share them: in the reference, too, a token added to a copy shows in
  // what it was copied from, and which continuations win depends on it.
  std::shared_ptr<std::vector<std::int32_t>> begun_;
  std::int64_t fulfilled_ = 0, longest_ = 0;
};

/// Whether a sequence, prompt and padding included, has all constraints fulfilled.
inline bool fulfils(const std::vector<Constraint>& constraints, std::span<const std::int32_t> ids) {
  ConstraintState state(constraints);
  state.add(ids);
  return state.completed();
}

}  // namespace idefics::inline v0
