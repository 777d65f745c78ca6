// Chooses a token from scores: the best one, or a sample from their distribution.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <idefics/core/random.hpp>
#include <idefics/generation/logits/warpers.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The id of the highest score; in a tie, the lowest id.
inline std::int32_t argmax(std::span<const float> scores /*[V+A]*/) {
  return static_cast<std::int32_t>(std::ranges::max_element(scores) - scores.begin());
}

inline bool all_finite(std::span<const float> scores) {
  return std::ranges::all_of(scores, [](float s) { return std::isfinite(s); });
}

/// Concatenates the logits of a row.
inline void join_logits(Scores scores /*[V+A]*/, std::span<const float> base /*[V]*/,
                        std::span<const float> additional /*[A]*/) {
  std::ranges::copy(base, scores.begin());
  std::ranges::copy(additional, scores.begin() + std::ssize(base));
}

[[noreturn]] inline void fail_non_finite(std::size_t row, std::int64_t new_tokens) {
  fail(ErrorCode::non_finite_logits,
       "row " + std::to_string(row) + " has NaN or infinite logits after " +
           std::to_string(new_tokens) + " new tokens",
       {.field = "logits"});
}
[[noreturn]] inline void fail_all_forbidden() {
  fail(ErrorCode::invalid_option, "the options forbid every token", {.field = "scores"});
}

/// Throws `non_finite_logits` if the logits of a row contain NaN or infinity.
inline void check_finite(std::span<const float> logits, std::size_t row, std::int64_t new_tokens) {
  if (!all_finite(logits)) fail_non_finite(row, new_tokens);
}

/// The id at which the running sum of `probabilities` exceeds `u` in [0, 1). Never one of
/// probability 0.
inline std::int32_t draw(std::span<const double> probabilities /*[V+A]*/, double u) {
  double sum = 0;
  std::int32_t last = 0;  // rounding may leave the sum slightly below 1
  for (std::size_t id = 0; id < probabilities.size(); ++id) {
    if (probabilities[id] <= 0) continue;
    last = static_cast<std::int32_t>(id);
    sum += probabilities[id];
    if (u < sum) break;
  }
  return last;
}

/// The id of the highest processed score. Throws `non_finite_logits` if a processor produced NaN,
/// and `invalid_option` if every token is forbidden.
inline std::int32_t best_allowed(std::span<const float> scores /*[V+A]*/) {
  if (std::ranges::any_of(scores, [](float s) { return std::isnan(s); }))
    fail(ErrorCode::non_finite_logits, "a logits processor produced NaN", {.field = "scores"});
  const std::int32_t best = argmax(scores);
  if (scores[static_cast<std::size_t>(best)] == forbidden) fail_all_forbidden();
  return best;
}

/// Chooses tokens by their processed scores. The answers to a prompt are numbered from 0, and draws
/// are keyed by (seed, number, step), so they depend neither on the rest of the batch nor on
/// threads.
class Sampler {
 public:
  Sampler(const GenerationConfig& config, std::size_t vocabulary)
      : sample_(config.do_sample.value_or(false)),
        seed_(config.seed.value_or(0)),
        probabilities_(sample_ ? vocabulary : 0) {}

  /// Throws like best_allowed.
  std::int32_t choose(std::span<const float> scores, std::int64_t answer, std::int64_t step) {
    const std::int32_t best = best_allowed(scores);
    if (!sample_) return best;
    softmax(scores, probabilities_);
    return draw(probabilities_, uniform(seed_, static_cast<std::uint64_t>(answer),
                                        static_cast<std::uint32_t>(step)));
  }

 private:
  bool sample_;
  std::uint64_t seed_;
  std::vector<double> probabilities_;  // [V+A]
};

}}}  // namespace idefics::v0::detail
