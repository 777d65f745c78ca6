// Logits processors: each takes the scores of the next token and the tokens so far, and changes
// scores. Source: transformers' generation/logits_process.py; one function per class there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace idefics::inline v0 {

inline constexpr float forbidden = -std::numeric_limits<float>::infinity();

/// NoBadWordsLogitsProcessor: a sequence of ids that is complete but for its last one loses that
/// one. Entries that are just one eos id have no effect.
inline void apply_bad_words(std::span<float> scores /*[V+A]*/, std::span<const std::int32_t> so_far,
                            const std::vector<std::vector<std::int32_t>>& bad_words,
                            std::span<const std::int32_t> eos) {
  for (const auto& word : bad_words) {
    if (word.size() == 1 && std::ranges::find(eos, word[0]) != eos.end()) continue;
    const std::size_t prefix = word.size() - 1;
    if (prefix > so_far.size()) continue;
    if (std::equal(word.begin(), word.end() - 1,
                   so_far.end() - static_cast<std::ptrdiff_t>(prefix)))
      scores[static_cast<std::size_t>(word.back())] = forbidden;
  }
}

/// MinLengthLogitsProcessor and MinNewTokensLengthLogitsProcessor: no end before `shortest`
/// columns.
inline void apply_min_length(std::span<float> scores /*[V+A]*/, std::int64_t length,
                             std::int64_t shortest, std::span<const std::int32_t> eos) {
  if (length >= shortest) return;
  for (const std::int32_t id : eos) scores[static_cast<std::size_t>(id)] = forbidden;
}

/// The id of the highest score; among equals the lowest id.
inline std::int32_t argmax(std::span<const float> scores /*[V+A]*/) {
  return static_cast<std::int32_t>(std::ranges::max_element(scores) - scores.begin());
}

inline bool all_finite(std::span<const float> scores) {
  return std::ranges::all_of(scores, [](float s) { return std::isfinite(s); });
}

}  // namespace idefics::inline v0
