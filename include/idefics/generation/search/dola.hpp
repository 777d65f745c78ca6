// DoLa, decoding by contrasting layers: the model's distribution is divided by that of the earlier
// layer that differs most from it, so that what late layers know counts for more. Source:
// transformers 4.55's GenerationMixin._dola_decoding (Chuang et al. 2023); docs/contrasts.md.
// Letters: V vocabulary, A added tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <idefics/generation/logits/sampler.hpp>
#include <idefics/generation/options/config.hpp>
#include <idefics/generation/run/text_run.hpp>
#include <idefics/model/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The early layers that dola_layers selects, ascending: every second layer of the lower or the
/// upper half, of at most twenty layers, or those of a list. The head reads the input of a layer;
/// with tied embeddings, that of the first one would only predict the input token itself. As in the
/// reference, layers of a list that the model does not have are left out. Throws `invalid_option`
/// if none remain.
inline std::vector<std::int32_t> early_layers(const DolaLayers& requested, std::int64_t layers,
                                              bool tied) {
  std::vector<std::int32_t> chosen = requested.layers;
  const auto every_second = [&chosen](std::int64_t first, std::int64_t end) {
    for (; first < end; first += 2) chosen.push_back(static_cast<std::int32_t>(first));
  };
  const std::int64_t half = layers / 2, depth = layers > 40 ? 20 : half;
  const std::int64_t start = !tied || layers < 2 ? 0 : layers > 2 ? 2 : 1;
  if (requested.bucket == "low") every_second(start, start == half ? half + 1 : depth);
  if (requested.bucket == "high") every_second(layers > 40 ? layers - 20 : half, layers);
  std::erase_if(chosen, [layers](std::int32_t layer) { return layer >= layers; });
  std::ranges::sort(chosen);
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  if (chosen.empty())
    fail(ErrorCode::invalid_option,
         "names no layer below " + std::to_string(layers) + ", the number of layers of the model",
         {.field = "dola_layers", .limit = static_cast<std::uint64_t>(layers)});
  return chosen;
}

/// The divergence of two distributions, given as logarithms, from their mean, in nats. The
/// reference calls it Jensen-Shannon, but exchanges the arguments: it weights by the mean.
inline double divergence(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double log_p = static_cast<double>(a[i]), log_q = static_cast<double>(b[i]);
    const double mean = (portable_exp(log_p) + portable_exp(log_q)) / 2;
    if (mean > 0) sum = std::fma(mean, portable_log(mean) - (log_p + log_q) / 2, sum);
  }
  return sum;
}

/// Contrasts the logits of a run that has early layers. The reference chooses one layer for a whole
/// batch; here every row chooses its own, so that it does not depend on the other rows.
class LayerContrast {
 public:
  LayerContrast(const TextRun& run, std::size_t vocabulary)
      : run_(run), early_(vocabulary), furthest_(vocabulary) {}

  /// Within a sink of the run: turns the token's logits [V+A] into contrasts, log p - log p_early,
  /// or minus infinity where p is below a tenth of the highest.
  void apply(Scores scores) {
    log_softmax(scores);
    choose(scores);
    const float least = *std::ranges::max_element(scores) + std::log(0.1f);
    for (std::size_t i = 0; i < scores.size(); ++i)
      scores[i] = scores[i] < least ? forbidden : scores[i] - furthest_[i];
  }

 private:
  /// Chooses the early layer that diverges most from the last one; in a tie, the first.
  void choose(std::span<const float> scores) {
    double most = 0;
    for (std::size_t exit = 0; exit < run_.early_layers(); ++exit) {
      join_logits(early_, run_.early_base(exit), run_.early_additional(exit));
      log_softmax(early_);
      const double distance = run_.early_layers() > 1 ? divergence(scores, early_) : 0;
      if (exit > 0 && !(distance > most)) continue;
      most = distance;
      furthest_.swap(early_);
    }
  }

  const TextRun& run_;
  std::vector<float> early_, furthest_;  // [V+A], log-probabilities
};

}}}  // namespace idefics::v0::detail
