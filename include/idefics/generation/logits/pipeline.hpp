// Builds the pipeline of logits processors that the options select, in the reference's order.
// Source: transformers' GenerationMixin._get_logits_processor.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include <idefics/generation/logits/processors.hpp>
#include <idefics/generation/logits/run_clock.hpp>
#include <idefics/generation/logits/warpers.hpp>
#include <idefics/generation/logits/watermark.hpp>
#include <idefics/generation/options/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// What processors know about a run in addition to the options.
struct LogitsContext {
  std::size_t vocabulary = 0;       // [V+A], the width of scores
  std::size_t base_vocabulary = 0;  // [V], without added tokens
  LengthLimits limits{};
  std::vector<std::vector<std::int32_t>> prompts{};  // padded rows
  RunClock clock{};
};

/// Built once per run; process() does not allocate, except in the caller's callables.
class LogitsPipeline {
 public:
  LogitsPipeline(const GenerationConfig& config, LogitsContext context);
  LogitsPipeline(const LogitsPipeline&) = delete;
  LogitsPipeline& operator=(const LogitsPipeline&) = delete;

  /// Processes and, with do_sample, warps the scores [V+A] of the token that follows `so_far`, the
  /// padded prompt `prompt_row` and the tokens chosen since. Beam search passes log-probabilities.
  void process(Scores scores, IdSpan so_far, std::int64_t prompt_row) {
    const Step step{scores, so_far, prompt_row};
    for (const auto& stage : stages_) stage(step);
  }

  bool empty() const { return stages_.empty(); }

  /// Whether all that `process` does is to forbid tokens.
  bool only_forbids() const { return masks_.size() == stages_.size(); }
  /// The most tokens that forbidden_tokens can add.
  std::size_t most_forbidden() const { return most_forbidden_; }
  /// Adds the tokens that `process` would forbid to `ids`; only if it does nothing else.
  void forbidden_tokens(IdSpan so_far, std::int64_t prompt_row,
                        std::vector<std::int32_t>& ids) const {
    for (const auto& mask : masks_) mask({{}, so_far, prompt_row}, ids);
  }
  IdSpan eos() const { return eos_; }
  const LogitsContext& context() const { return context_; }

 private:
  struct Step {
    Scores scores;
    IdSpan so_far;
    std::int64_t prompt_row;
  };
  template <class Stage>
  void add(Stage stage) {
    stages_.emplace_back(std::move(stage));
  }
  /// A stage that only forbids tokens, at most `most` of them, which it passes to its second
  /// argument. Ids beyond the vocabulary are ignored.
  template <class Stage>
  void add_mask(std::size_t most, Stage stage) {
    most_forbidden_ += most;
    add([stage](const Step& s) {
      stage(s, [&](std::int32_t id) {
        if (static_cast<std::size_t>(id) < s.scores.size()) at(s.scores, id) = forbidden;
      });
    });
    masks_.emplace_back([this, stage](const Step& s, std::vector<std::int32_t>& ids) {
      stage(s, [&](std::int32_t id) {
        if (static_cast<std::size_t>(id) < context_.vocabulary) ids.push_back(id);
      });
    });
  }
  /// The value of an option, if it differs from the one that has no effect.
  template <class T>
  static std::optional<T> active(const std::optional<T>& option, T neutral) {
    return option && *option != neutral ? option : std::nullopt;
  }

  static std::vector<std::int32_t> distinct(std::vector<std::int32_t> ids) {
    std::ranges::sort(ids);
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
  }

  void add_repetition(const GenerationConfig& config);
  void add_words(const GenerationConfig& config);
  void add_ends(const GenerationConfig& config);
  void add_warpers(const GenerationConfig& config);

  IdSpan prompt(const Step& step) const {
    return context_.prompts[static_cast<std::size_t>(step.prompt_row)];
  }
  std::int64_t generated(const Step& step) const {
    return std::ssize(step.so_far) - context_.limits.prompt;
  }

  LogitsContext context_;
  std::vector<std::int32_t> eos_;
  TokenMarks marks_;
  WarpScratch scratch_;
  std::vector<std::function<void(const Step&)>> stages_;
  std::vector<std::function<void(const Step&, std::vector<std::int32_t>&)>> masks_;
  std::size_t most_forbidden_ = 0;
};

inline LogitsPipeline::LogitsPipeline(const GenerationConfig& config, LogitsContext context)
    : context_(std::move(context)),
      eos_(config.eos_token_id.value_or(GenerationConfig::Ids{})),
      marks_(context_.vocabulary),
      scratch_(context_.vocabulary) {
  if (!config.sequence_bias.empty())
    add([biases = SequenceBiases(config.sequence_bias)](const Step& s) {
      biases(s.scores, s.so_far);
    });
  add_repetition(config);
  add_words(config);
  add_ends(config);
  for (const LogitsProcessor& own : config.logits_processor)
    add([own](const Step& s) { own(s.scores, s.so_far); });
  if (config.do_sample.value_or(false)) add_warpers(config);
  if (config.watermarking_config)
    add([mark =
             Watermark(*config.watermarking_config, context_.base_vocabulary, context_.vocabulary)](
            const Step& s) mutable { mark(s.scores, s.so_far); });
  if (config.renormalize_logits.value_or(false)) add([](const Step& s) { log_softmax(s.scores); });
}

inline void LogitsPipeline::add_repetition(const GenerationConfig& config) {
  if (const auto p = active(config.encoder_repetition_penalty, 1.0))
    add([this, factor = static_cast<float>(1 / *p)](const Step& s) {
      penalize_repetition(s.scores, prompt(s), factor, marks_);
    });
  if (const auto p = active(config.repetition_penalty, 1.0))
    add([this, factor = static_cast<float>(*p)](const Step& s) {
      penalize_repetition(s.scores, s.so_far, factor, marks_);
    });
  const double frequency = config.frequency_penalty.value_or(0);
  const double presence = config.presence_penalty.value_or(0);
  if (frequency != 0 || presence != 0)
    add([this,
         penalty = CountPenalty(context_.vocabulary, frequency, presence)](const Step& s) mutable {
      penalty(s.scores, s.so_far.last(static_cast<std::size_t>(generated(s))));
    });
  if (const auto n = active<std::int64_t>(config.no_repeat_ngram_size, 0))
    add([n = static_cast<std::size_t>(*n)](const Step& s) {
      forbid_repeated_ngrams(s.scores, s.so_far, s.so_far, n);
    });
  if (const auto n = active<std::int64_t>(config.encoder_no_repeat_ngram_size, 0))
    add([this, n = static_cast<std::size_t>(*n)](const Step& s) {
      forbid_repeated_ngrams(s.scores, prompt(s), s.so_far, n);
    });
}

inline void LogitsPipeline::add_words(const GenerationConfig& config) {
  if (!config.bad_words_ids.empty())
    add_mask(config.bad_words_ids.size(),
             [this, words = config.bad_words_ids](const Step& s, const auto& forbid) {
               forbid_words(s.so_far, words, eos_, forbid);
             });
  if (context_.limits.shortest > context_.limits.prompt && !eos_.empty())
    // MinLength- and MinNewTokensLengthLogitsProcessor
    add_mask(eos_.size(), [this](const Step& s, const auto& forbid) {
      if (std::ssize(s.so_far) < context_.limits.shortest) suppress_tokens(eos_, forbid);
    });
  if (config.prefix_allowed_tokens_fn)
    add([this, allowed = config.prefix_allowed_tokens_fn](const Step& s) {
      allow_only(s.scores, allowed(s.prompt_row, s.so_far), marks_);
    });
}

inline void LogitsPipeline::add_ends(const GenerationConfig& config) {
  if (config.forced_bos_token_id)
    add([id = *config.forced_bos_token_id](const Step& s) {
      if (s.so_far.size() == 1) force_tokens(s.scores, IdSpan(&id, 1));
    });
  if (config.forced_eos_token_id)
    add([this, ids = *config.forced_eos_token_id](const Step& s) {
      if (std::ssize(s.so_far) == context_.limits.longest - 1) force_tokens(s.scores, ids);
    });
  if (config.remove_invalid_values.value_or(false))
    add([](const Step& s) { remove_invalid_values(s.scores); });
  if (const auto& decay = config.exponential_decay_length_penalty)
    add([this, decay = *decay, ends = distinct(eos_)](const Step& s) {
      favour_ends(s.scores, generated(s), decay, ends);
    });
  if (!config.suppress_tokens.empty())
    add_mask(config.suppress_tokens.size(),
             [ids = config.suppress_tokens](const Step&, const auto& forbid) {
               suppress_tokens(ids, forbid);
             });
  if (!config.begin_suppress_tokens.empty()) {
    const bool bos_first = context_.limits.prompt == 1 && config.forced_bos_token_id;
    add_mask(config.begin_suppress_tokens.size(),
             [ids = config.begin_suppress_tokens, begin = context_.limits.prompt + bos_first](
                 const Step& s, const auto& forbid) {
               if (std::ssize(s.so_far) == begin) suppress_tokens(ids, forbid);
             });
  }
}

/// With beams, warpers keep one token more than there are end tokens, so that a beam can continue.
inline void LogitsPipeline::add_warpers(const GenerationConfig& config) {
  const bool beams = config.num_beams.value_or(1) > 1;
  const std::size_t keep = beams ? (config.eos_token_id ? eos_.size() : 1) + 1 : 1;
  if (const auto t = active(config.temperature, 1.0))
    add([t = *t](const Step& s) { apply_temperature(s.scores, t); });
  constexpr std::int64_t default_top_k = 50;  // whenever tokens are sampled
  if (const auto k = config.top_k.value_or(default_top_k); k > 0)
    add([this, k = std::max(static_cast<std::size_t>(k), keep)](const Step& s) {
      keep_top_k(s.scores, k, scratch_);
    });
  if (const auto p = active(config.top_p, 1.0))
    add([this, p = *p, keep](const Step& s) { keep_top_p(s.scores, p, keep, scratch_); });
  if (const auto p = config.min_p)
    add([this, p = *p, keep](const Step& s) { keep_min_p(s.scores, p, keep, scratch_); });
  if (const auto mass = active(config.typical_p, 1.0))
    add([this, m = *mass, keep](const Step& s) { keep_typical(s.scores, m, keep, scratch_); });
  const auto cut_off = [](const std::optional<double>& e) { return e && *e > 0 && *e < 1; };
  if (cut_off(config.epsilon_cutoff))
    add([this, e = *config.epsilon_cutoff, keep](const Step& s) {
      keep_above_epsilon(s.scores, e, keep, scratch_);
    });
  if (cut_off(config.eta_cutoff))
    add([this, e = *config.eta_cutoff, keep](const Step& s) {
      keep_above_eta(s.scores, e, keep, scratch_);
    });
}

}}}  // namespace idefics::v0::detail
