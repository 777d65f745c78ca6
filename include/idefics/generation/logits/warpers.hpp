// Warpers: logits processors for sampling, which narrow the distribution. Source: the *LogitsWarper
// classes of transformers' generation/logits_process.py. At least `keep` tokens are kept; tokens
// that are already forbidden stay forbidden and are left out of all computations.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <idefics/core/scalar_math.hpp>
#include <idefics/generation/logits/processors.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Scratch buffers of the warpers, sized once so that no warper allocates.
struct WarpScratch {
  explicit WarpScratch(std::size_t vocabulary) : values(vocabulary), probabilities(vocabulary) {
    order.reserve(vocabulary);
  }
  std::vector<float> values;          // [V+A]
  std::vector<double> probabilities;  // [V+A]
  std::vector<std::int32_t> order;    // ids
};

/// probabilities = softmax(scores), in double and in a fixed order. Returns the log of the sum of
/// e^score, or minus infinity if every token is forbidden.
inline double softmax(std::span<const float> scores, std::span<double> probabilities) {
  const double best = static_cast<double>(*std::ranges::max_element(scores));
  if (best == static_cast<double>(forbidden)) {
    std::ranges::fill(probabilities, 0.0);
    return best;
  }
  double sum = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const bool out = scores[i] == forbidden;
    probabilities[i] = out ? 0.0 : portable_exp(static_cast<double>(scores[i]) - best);
    sum += probabilities[i];
  }
  for (double& p : probabilities) p /= sum;
  return best + portable_log(sum);
}

/// The log of the sum of e^score over the tokens that are not forbidden; minus infinity if all are.
inline double log_sum_exp(std::span<const float> scores) {
  const double best = static_cast<double>(*std::ranges::max_element(scores));
  if (best == static_cast<double>(forbidden)) return best;
  double sum = 0;
  for (const float s : scores)
    if (s != forbidden) sum += portable_exp(static_cast<double>(s) - best);
  return best + portable_log(sum);
}

/// LogitNormalization: scores become log-probabilities.
inline void log_softmax(Scores scores) {
  const double shift = log_sum_exp(scores);
  if (shift == static_cast<double>(forbidden)) return;
  for (float& s : scores) s = static_cast<float>(static_cast<double>(s) - shift);
}

/// The k-th highest score (k from 1), or the lowest if there are fewer.
inline float kth_highest(std::span<const float> scores, std::size_t k, WarpScratch& scratch) {
  std::ranges::copy(scores, scratch.values.begin());
  const auto kth =
      scratch.values.begin() + static_cast<std::ptrdiff_t>(std::min(k, scores.size()) - 1);
  std::ranges::nth_element(scratch.values, kth, std::greater<>());
  return *kth;
}

/// Fills scratch.order with the ids that are not forbidden, by ascending key, then by id.
template <class Key>
void sort_allowed(std::span<const float> scores, WarpScratch& scratch, const Key& key) {
  scratch.order.clear();
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (scores[i] != forbidden) scratch.order.push_back(static_cast<std::int32_t>(i));
  std::ranges::sort(scratch.order, [&](std::int32_t a, std::int32_t b) {
    const auto x = key(a), y = key(b);
    return x != y ? x < y : a < b;
  });
}

/// Forbids tokens of probability below `least`, except for the `keep` best scores.
inline void forbid_below(Scores scores, double least, std::size_t keep, WarpScratch& scratch) {
  const float best = kth_highest(scores, keep, scratch);
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (scratch.probabilities[i] < least && scores[i] < best) scores[i] = forbidden;
}

inline double entropy_of(std::span<const float> scores, std::span<const double> probabilities,
                         double log_sum) {
  double sum = 0;
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (scores[i] != forbidden)
      sum -= probabilities[i] * (static_cast<double>(scores[i]) - log_sum);
  return sum;
}

/// TemperatureLogitsWarper.
inline void apply_temperature(Scores scores, double temperature) {
  for (float& score : scores) score /= static_cast<float>(temperature);
}

/// TopKLogitsWarper: forbids scores below the k-th highest; ties with it are kept.
inline void keep_top_k(Scores scores, std::size_t k, WarpScratch& scratch) {
  const float least = kth_highest(scores, k, scratch);
  for (float& score : scores)
    if (score < least) score = forbidden;
}

/// TopPLogitsWarper: forbids the least likely tokens as long as their total probability is at most
/// 1 - p.
inline void keep_top_p(Scores scores, double p, std::size_t keep, WarpScratch& scratch) {
  softmax(scores, scratch.probabilities);
  sort_allowed(scores, scratch, [&](std::int32_t id) { return at(scores, id); });
  double mass = 0;
  for (std::size_t i = 0; i + keep < scratch.order.size(); ++i) {
    const std::int32_t id = scratch.order[i];
    mass += scratch.probabilities[static_cast<std::size_t>(id)];
    if (mass > 1 - p) break;
    at(scores, id) = forbidden;
  }
}

/// MinPLogitsWarper: forbids tokens of less than `min_p` times the highest probability.
inline void keep_min_p(Scores scores, double min_p, std::size_t keep, WarpScratch& scratch) {
  softmax(scores, scratch.probabilities);
  forbid_below(scores, min_p * *std::ranges::max_element(scratch.probabilities), keep, scratch);
}

/// TypicalLogitsWarper: keeps the tokens with a surprise nearest to the entropy, up to the first
/// that brings their total probability to `mass`; ties with it are kept.
inline void keep_typical(Scores scores, double mass, std::size_t keep, WarpScratch& scratch) {
  const double log_sum = softmax(scores, scratch.probabilities);
  const double entropy = entropy_of(scores, scratch.probabilities, log_sum);
  const auto distance = [&](std::int32_t id) {
    return std::abs(log_sum - static_cast<double>(at(scores, id)) - entropy);
  };
  sort_allowed(scores, scratch, distance);
  double so_far = 0, farthest = std::numeric_limits<double>::infinity();
  for (const std::int32_t id : scratch.order) {
    so_far += scratch.probabilities[static_cast<std::size_t>(id)];
    if (so_far < mass) continue;
    farthest = distance(id);
    break;
  }
  for (std::size_t i = keep; i < scratch.order.size(); ++i)
    if (distance(scratch.order[i]) > farthest) at(scores, scratch.order[i]) = forbidden;
}

/// EpsilonLogitsWarper: forbids tokens of probability below `epsilon`.
inline void keep_above_epsilon(Scores scores, double epsilon, std::size_t keep,
                               WarpScratch& scratch) {
  softmax(scores, scratch.probabilities);
  forbid_below(scores, epsilon, keep, scratch);
}

/// EtaLogitsWarper: like EpsilonLogitsWarper, with a lower cutoff where the distribution is flat.
inline void keep_above_eta(Scores scores, double epsilon, std::size_t keep, WarpScratch& scratch) {
  const double log_sum = softmax(scores, scratch.probabilities);
  const double entropy = entropy_of(scores, scratch.probabilities, log_sum);
  const double eta = std::min(epsilon, std::sqrt(epsilon) * portable_exp(-entropy));
  forbid_below(scores, eta, keep, scratch);
}

}}}  // namespace idefics::v0::detail
