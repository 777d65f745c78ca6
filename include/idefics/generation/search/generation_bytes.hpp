// The memory that a generation allocates, counted before it allocates any: its run, the search, the
// records of its steps, and the output. Not counted are pictures, which have a check of their own
// (model/picture_encoding.hpp), scratch that kernels keep from one run to the next, and the options
// themselves. tests/unit/generation/memory.cpp compares with counted allocations.
// Letters: B sequences (the prompts), n copies of each, V vocabulary, A added tokens, G new tokens.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include <idefics/core/available_memory.hpp>
#include <idefics/generation/options/generation_mode.hpp>
#include <idefics/generation/run/step_records.hpp>
#include <idefics/generation/run/text_run.hpp>
#include <idefics/generation/search/constrained_beams.hpp>
#include <idefics/generation/search/guidance.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Part of the memory of a generation, and the option that makes it large.
struct MemoryPart {
  const char *what, *option;
  Checked bytes;
};

/// What is known of a generation before it begins.
struct GenerationWork {
  const GenerationConfig& config;
  const Config& model;
  const LogitsContext& context;
  std::span<const Sequence> sequences;  // [B]
  const TextRunOptions& run;
  std::int64_t chunk;             // ModelOptions::prefill_chunk
  std::int64_t pictures;          // of a prompt
  const Config* draft = nullptr;  // of the draft model

  static Checked number(std::int64_t n) { return Checked(static_cast<std::uint64_t>(n)); }
  Checked prompts() const { return sequences.size(); }
  Checked rows() const { return prompts() * number(run.copies); }  // B n
  std::int64_t returned() const {
    return std::ssize(sequences) * config.num_return_sequences.value_or(1);
  }
  bool has_beams() const { return config.num_beams.value_or(1) > 1; }
  bool contrastive() const { return generation_mode(config) == GenerationMode::contrastive_search; }
};

/// The run of the model, and those of a draft model and of guidance.
inline RunBytes run_bytes(const GenerationWork& w) {
  const auto of = [&w](const Config& model, std::span<const Sequence> sequences,
                       const TextRunOptions& options) {
    const LogitRows logits = options.hidden ? LogitRows::all : LogitRows::last;
    const std::int64_t new_tokens = w.context.limits.new_tokens();
    return run_bytes(model, RunSizes::of(sequences, new_tokens, w.chunk, logits, options),
                     new_tokens, options);
  };
  RunBytes bytes = of(w.model, w.sequences, w.run);
  const auto add = [&bytes](const RunBytes& more) {
    bytes = {bytes.past + more.past, bytes.pass + more.pass};
  };
  if (is_guided(w.config)) {
    add(of(w.model, negative_sequences(w.config, w.sequences), w.run));
    bytes.pass = bytes.pass + w.rows() * w.context.vocabulary * sizeof(float);
  }
  if (w.draft != nullptr)
    add(of(*w.draft, w.sequences, {.tokens_per_step = w.run.tokens_per_step}));
  return bytes;
}

/// Scores of beams, and the tokens of every sequence that the search keeps, with the output's.
inline Checked search_bytes(const GenerationWork& w) {
  const Checked longest = GenerationWork::number(w.context.limits.longest),
                g = GenerationWork::number(w.context.limits.new_tokens()), rows = w.rows(),
                v = w.context.vocabulary;
  // WarpScratch, TokenMarks, and the scores of a row with its probabilities or counts
  Checked bytes = v * (16 + 8 + 4 + 8) + w.prompts() * longest * 2 * sizeof(std::int32_t);
  if (w.has_beams()) {
    const Checked hypotheses =
        rows * 3 + w.prompts() * 2 + GenerationWork::number(w.returned()) * 2;
    const std::uint64_t of_score = w.config.do_sample.value_or(false) ? 12 : 4;
    bytes = bytes + rows * v * of_score + hypotheses * (longest + g) * sizeof(std::int32_t) +
            rows * (7 * sizeof(Hypothesis));
  } else if (w.contrastive()) {
    const Checked width = GenerationWork::number(w.model.hidden_size);
    bytes = bytes + w.prompts() * (longest * (width + 1) + v * 2) * sizeof(float) + v * 8 +
            w.prompts() * g * sizeof(std::size_t) + rows * 64;
  } else {
    bytes = bytes + rows * (longest + g) * sizeof(std::int32_t) + rows * 64;
  }
  if (!w.run.early_layers.empty()) bytes = bytes + v * 2 * sizeof(float);
  return bytes;
}

/// ConstrainedBeams: a state for each beam, and a continuation for each beam and phrase.
inline Checked constraint_bytes(const GenerationWork& w) {
  const auto& constraints = w.config.force_words_ids;
  if (constraints.empty()) return 0;
  Checked phrases = 0, longest = 0, tokens = 0;
  for (const auto& constraint : constraints)
    for (const auto& phrase : constraint) {
      phrases = phrases + 1;
      tokens = tokens + phrase.size() * sizeof(std::int32_t) + sizeof(phrase) + sizeof(std::size_t);
      longest = std::max(longest, Checked(phrase.size()));
    }
  const Checked state = longest * sizeof(std::int32_t) + constraints.size() * sizeof(std::size_t) +
                        (sizeof(ConstraintState) + 2 * 16);
  const Checked extended = w.rows() * phrases * (sizeof(ExtendedState) + 16);
  const Checked pushes = GenerationWork::number(w.run.copies) * (phrases + 1);
  const Checked known = w.prompts() * ConstrainedBeams::bytes_of_pairs(pushes.value());
  return w.rows() * (state + 16) + extended + known +
         w.prompts() * pushes * ConstrainedBeams::bytes_of_push + tokens * 2;
}

/// All parts of the memory of a generation.
inline std::array<MemoryPart, 5> generation_memory(const GenerationWork& w) {
  const RunBytes run = run_bytes(w);
  const char* copies = w.has_beams()     ? "num_beams"
                       : w.contrastive() ? "top_k"
                                         : "num_return_sequences";
  const std::int64_t rows = std::ssize(w.sequences) * (w.contrastive() ? 1 : w.run.copies);
  Checked records = StepRecords::bytes(w.config, w.context, rows, w.returned()), attentions = 0;
  if (w.run.attention_columns > 0)
    attentions =
        AttentionRecords::bytes(w.model, std::ssize(w.sequences),
                                {.prompt_columns = w.run.attention_columns,
                                 .pictures = w.pictures,
                                 .features = w.model.use_resampler ? w.model.perceiver.latents
                                                                   : w.model.vision.num_positions(),
                                 .copies = w.run.copies,
                                 .tokens_per_step = w.run.tokens_per_step,
                                 .new_tokens = w.context.limits.new_tokens()},
                                w.returned());
  return {{{"the keys and values of its tokens", w.run.length_option, run.past},
           {"the scores and tokens of its sequences", copies, run.pass + search_bytes(w)},
           {"the states of its constraints", "force_words_ids", constraint_bytes(w)},
           {"the scores of every step", StepRecords::option(w.config), records},
           {"the attentions of every step", "output_attentions", attentions}}};
}

/// Throws `out_of_memory` unless all of a generation fits, naming the option that needs most.
inline void require_memory(const GenerationWork& work, const MemoryFiles& files = {}) {
  const auto parts = generation_memory(work);
  Checked total = 0;
  for (const MemoryPart& part : parts) total = total + part.bytes;
  const MemoryPart& largest = *std::ranges::max_element(parts, {}, &MemoryPart::bytes);
  require_memory(total,
                 "all parts of the generation, first of all " + std::string(largest.what) + ',',
                 largest.option, files);
}

}}}  // namespace idefics::v0::detail
