// Classifier-free guidance: a second run reads a negative prompt, or just the last token of the
// prompt, without pictures, and receives the same new tokens; scores are moved away from its
// predictions. Source: transformers' UnbatchedClassifierFreeGuidanceLogitsProcessor, which fails on
// IDEFICS because it passes no pictures.
// Letters: B sequences (the prompts), V vocabulary, A added tokens, n copies of each prompt.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <idefics/generation/logits/sampler.hpp>
#include <idefics/generation/run/text_run.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Whether the options request guidance.
inline bool is_guided(const GenerationConfig& config) {
  return config.guidance_scale.value_or(1.0) != 1.0;
}

/// The sequences of the second run, one per prompt. Throws `invalid_option` if several negative
/// prompts are given, but not one per prompt.
inline std::vector<Sequence> negative_sequences(const GenerationConfig& config,
                                                std::span<const Sequence> prompts) {
  const auto& given = config.negative_prompt_ids;
  if (given.size() > 1 && given.size() != prompts.size())
    fail(ErrorCode::invalid_option,
         "there are " + std::to_string(given.size()) + " negative prompts for " +
             std::to_string(prompts.size()) + " prompts",
         {.field = "negative_prompt_ids"});
  std::vector<Sequence> sequences;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    Sequence s;
    if (given.empty())
      s.ids = {prompts[i].ids.back()};
    else
      s.ids = given.size() == 1 ? given[0] : given[i];
    for (std::int64_t t = 0; t < std::ssize(s.ids); ++t) s.columns.push_back(t);
    s.runs.push_back({.begin = 0, .end = std::ssize(s.ids), .pictures = {}});
    sequences.push_back(std::move(s));
  }
  return sequences;
}

/// Follows the run that it guides, step by step.
class Guidance {
 public:
  /// `run` was made from negative_sequences, with the number of copies of the run that it guides.
  Guidance(TextRun run, double scale, std::size_t vocabulary, std::int64_t copies)
      : run_(std::move(run)),
        scale_(scale),
        vocabulary_(vocabulary),
        copies_(static_cast<std::size_t>(copies)) {
    unconditional_.resize(static_cast<std::size_t>(run_.rows()) * vocabulary);
  }

  void prefill() {
    run_.prefill([this](std::size_t row, std::int64_t, auto base, auto additional) {
      for (std::size_t copy = 0; copy < copies_; ++copy) take(row + copy, base, additional);
    });
  }
  void reorder(std::span<const std::int32_t> rows, std::span<const std::int32_t> parents) {
    run_.reorder(rows, parents);
  }
  void step(std::span<const std::int32_t> rows, std::span<const std::int32_t> ids) {
    run_.step(rows, ids, [this](std::size_t row, std::int64_t, auto base, auto additional) {
      take(row, base, additional);
    });
  }

  /// Turns the logits of a row into guided log-probabilities.
  void apply(Scores scores, std::size_t row) const {
    log_softmax(scores);
    guide(scores, std::span(unconditional_).subspan(row * vocabulary_, vocabulary_), scale_);
  }

 private:
  void take(std::size_t row, std::span<const float> base, std::span<const float> additional) {
    const auto scores = std::span(unconditional_).subspan(row * vocabulary_, vocabulary_);
    join_logits(scores, base, additional);
    log_softmax(scores);
  }

  TextRun run_;
  double scale_;
  std::size_t vocabulary_, copies_;
  std::vector<float> unconditional_;  // [B*n,V+A] log-probabilities
};

}}}  // namespace idefics::v0::detail
