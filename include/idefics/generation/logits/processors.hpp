// Logits processors: each modifies the scores [V+A] of the token that follows `so_far`, the padded
// prompt and the tokens chosen since. Source: the classes of transformers'
// generation/logits_process.py that the functions name. generation/logits/pipeline.hpp composes
// them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <idefics/generation/options/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

using Scores = std::span<float>;  // [V+A]
using IdSpan = std::span<const std::int32_t>;

inline constexpr float forbidden = -std::numeric_limits<float>::infinity();

inline float& at(Scores scores, std::int32_t id) { return scores[static_cast<std::size_t>(id)]; }

inline bool ends_with(IdSpan row, IdSpan tail) {
  return row.size() >= tail.size() && std::ranges::equal(row.last(tail.size()), tail);
}
/// SuppressTokensLogitsProcessor: calls forbid(id) for all of `ids`.
template <class Forbid>
void suppress_tokens(IdSpan ids, const Forbid& forbid) {
  std::ranges::for_each(ids, forbid);
}

/// ForcedEOSTokenLogitsProcessor, ForcedBOSTokenLogitsProcessor: sets the scores of `ids` to 0 and
/// all others to minus infinity.
inline void force_tokens(Scores scores, IdSpan ids) {
  std::ranges::fill(scores, forbidden);
  for (const std::int32_t id : ids) at(scores, id) = 0.0f;
}

/// NoBadWordsLogitsProcessor: calls forbid(id) for the last id of a sequence where the row ends in
/// its other ids. Entries that consist of a single end token, and entries longer than the row, have
/// no effect.
template <class Forbid>
void forbid_words(IdSpan so_far, const std::vector<std::vector<std::int32_t>>& words, IdSpan eos,
                  const Forbid& forbid) {
  for (const auto& word : words) {
    if (word.size() == 1 && std::ranges::find(eos, word[0]) != eos.end()) continue;
    if (word.size() > 1 && word.size() > so_far.size()) continue;
    if (ends_with(so_far, IdSpan(word).first(word.size() - 1))) forbid(word.back());
  }
}

/// SequenceBiasLogitsProcessor: the bias of a single token is always added, that of a longer
/// sequence is added to its last token where the row ends in its other tokens. Biases of the same
/// token are summed first.
class SequenceBiases {
 public:
  explicit SequenceBiases(std::vector<SequenceBias> entries) {
    // the reference keeps them in a dictionary: the first place and the last bias count
    std::vector<std::size_t> order(entries.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(
        order, [&](std::size_t a, std::size_t b) { return entries[a].ids < entries[b].ids; });
    std::vector<std::uint8_t> repeated(entries.size(), 0);
    for (std::size_t i = 0, first = 0; i < order.size(); ++i) {
      if (entries[order[i]].ids != entries[order[first]].ids) first = i;
      repeated[order[i]] = i != first;
      entries[order[first]].bias = entries[order[i]].bias;
    }
    for (std::size_t i = 0; i < entries.size(); ++i)
      if (repeated[i] == 0) entries_.push_back(std::move(entries[i]));
    std::ranges::stable_sort(entries_, [](const SequenceBias& a, const SequenceBias& b) {
      const bool single = a.ids.size() == 1, other = b.ids.size() == 1;
      return a.ids.back() != b.ids.back() ? a.ids.back() < b.ids.back() : single && !other;
    });
  }

  void operator()(Scores scores, IdSpan so_far) const {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      const std::int32_t last = entry->ids.back();
      float bias = 0;
      for (; entry != entries_.end() && entry->ids.back() == last; ++entry)
        if (applies(entry->ids, so_far)) bias += static_cast<float>(entry->bias);
      at(scores, last) += bias;
    }
  }

 private:
  static bool applies(IdSpan ids, IdSpan so_far) {
    return ids.size() == 1 ||
           (ids.size() <= so_far.size() && ends_with(so_far, ids.first(ids.size() - 1)));
  }
  std::vector<SequenceBias> entries_;  // grouped by last token
};

/// A set of tokens with a constant-time clear(), which saves a pass over the vocabulary per step.
class TokenMarks {
 public:
  explicit TokenMarks(std::size_t vocabulary) : marks_(vocabulary, 0) {}
  void clear() { ++now_; }
  /// Returns true the first time that `id` is marked after clear().
  bool mark(std::int32_t id) {
    auto& mark = marks_[static_cast<std::size_t>(id)];
    return mark != now_ && (mark = now_, true);
  }
  bool marked(std::int32_t id) const { return marks_[static_cast<std::size_t>(id)] == now_; }

 private:
  std::vector<std::uint64_t> marks_;
  std::uint64_t now_ = 0;
};

/// RepetitionPenaltyLogitsProcessor: divides the score of each distinct token of `ids` by `penalty`
/// if it is positive, else multiplies it. EncoderRepetitionPenaltyLogitsProcessor does the same
/// with the prompt and 1 / penalty.
inline void penalize_repetition(Scores scores, IdSpan ids, float penalty, TokenMarks& marks) {
  marks.clear();
  for (const std::int32_t id : ids) {
    if (!marks.mark(id)) continue;
    float& score = at(scores, id);
    score = score < 0 ? score * penalty : score / penalty;
  }
}

/// OpenAI's definition: score -= count * frequency + (count > 0) * presence, where count is the
/// number of occurrences of the token in `answer`, the new tokens.
class CountPenalty {
 public:
  CountPenalty(std::size_t vocabulary, double frequency, double presence)
      : counts_(vocabulary, 0), frequency_(frequency), presence_(presence) {}

  void operator()(Scores scores, IdSpan answer) {
    for (const std::int32_t id : answer) ++counts_[static_cast<std::size_t>(id)];
    for (const std::int32_t id : answer) {
      auto& count = counts_[static_cast<std::size_t>(id)];
      if (count == 0) continue;
      at(scores, id) -= static_cast<float>(static_cast<double>(count) * frequency_ + presence_);
      count = 0;
    }
  }

 private:
  std::vector<std::int32_t> counts_;  // all zero between calls
  double frequency_, presence_;
};

/// NoRepeatNGramLogitsProcessor with text = so_far, EncoderNoRepeatNGramLogitsProcessor with text =
/// the prompt: forbids every token that follows the last n - 1 tokens of `so_far` anywhere in
/// `text`.
inline void forbid_repeated_ngrams(Scores scores, IdSpan text, IdSpan so_far, std::size_t n) {
  if (text.size() < n || so_far.size() + 1 < n) return;
  const IdSpan current = so_far.last(n - 1);
  for (std::size_t i = 0; i + n <= text.size(); ++i)
    if (std::ranges::equal(text.subspan(i, n - 1), current))
      at(scores, text[i + n - 1]) = forbidden;
}

/// PrefixConstrainedLogitsProcessor: forbids all tokens but `allowed`. Throws `invalid_option` if
/// `allowed` is empty or has an id outside the vocabulary. `marks` is scratch.
inline void allow_only(Scores scores, IdSpan allowed, TokenMarks& marks) {
  const char* option = "prefix_allowed_tokens_fn";
  if (allowed.empty()) fail(ErrorCode::invalid_option, "returned no tokens", {.field = option});
  marks.clear();
  for (const std::int32_t id : allowed) {
    if (id < 0 || static_cast<std::size_t>(id) >= scores.size())
      fail(ErrorCode::invalid_option,
           "returned id " + std::to_string(id) + ", which is not in the vocabulary",
           {.field = option, .limit = scores.size()});
    marks.mark(id);
  }
  for (std::size_t id = 0; id < scores.size(); ++id)
    if (marks.mark(static_cast<std::int32_t>(id))) scores[id] = forbidden;
}

/// InfNanRemoveLogitsProcessor: NaN becomes 0, infinities become the largest finite numbers.
inline void remove_invalid_values(Scores scores) {
  constexpr float largest = std::numeric_limits<float>::max();
  for (float& score : scores)
    score = std::isnan(score) ? 0.0f : std::clamp(score, -largest, largest);
}

/// ExponentialDecayLengthPenalty: once more than `start` new tokens are `generated`, adds |score| *
/// (factor^(generated - start) - 1) to the scores of end tokens, which are distinct. Forbidden ones
/// stay forbidden (the reference turns them into NaN).
inline void favour_ends(Scores scores, std::int64_t generated, const ExponentialDecay& decay,
                        IdSpan eos) {
  if (generated <= decay.start) return;
  double power = 1;
  for (std::int64_t i = decay.start; i < generated; ++i) power *= decay.factor;
  for (const std::int32_t id : eos) {
    float& score = at(scores, id);
    if (std::isfinite(score)) score += std::abs(score) * static_cast<float>(power - 1);
  }
}

/// UnbatchedClassifierFreeGuidanceLogitsProcessor, on log-probabilities: moves scores away from
/// what the negative prompt predicts, towards what the prompt adds to it.
inline void guide(Scores scores, std::span<const float> unconditional, double scale) {
  const auto factor = static_cast<float>(scale);
  for (std::size_t i = 0; i < scores.size(); ++i)
    scores[i] = factor * (scores[i] - unconditional[i]) + unconditional[i];
}

}}}  // namespace idefics::v0::detail
