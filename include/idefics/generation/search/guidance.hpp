// Classifier-free guidance: a second run reads a negative prompt, or just the last token of the
// prompt, sees no picture, and takes the same tokens; scores are moved away from what it expects.
// Source: transformers' UnbatchedClassifierFreeGuidanceLogitsProcessor, which on IDEFICS fails for
// want of pictures.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <idefics/generation/logits/sampler.hpp>
#include <idefics/generation/run/text_run.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Whether the options ask for guidance.
inline bool is_guided(const GenerationConfig& config) {
  return config.guidance_scale.value_or(1.0) != 1.0;
}

/// What the second run reads, one sequence per prompt. Throws `invalid_option` if there are neither
/// one negative prompt nor as many as prompts.
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

/// Goes along with the run that it guides, step by step. Letters: n copies of each prompt, R rows.
class Guidance {
 public:
  /// `run` was made of negative_sequences, with as many copies as the run that it guides.
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

  /// Logits of a row become guided log-probabilities.
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
  std::vector<float> unconditional_;  // [R,V+A] log-probabilities
};

}}}  // namespace idefics::v0::detail
