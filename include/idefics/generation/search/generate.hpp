// Runs the search that the options select, and states what it requires of the run. Source:
// transformers' GenerationConfig.get_generation_mode; one file per mode.
#pragma once

#include <idefics/generation/search/beam_search.hpp>
#include <idefics/generation/search/contrastive_search.hpp>
#include <idefics/generation/search/dola.hpp>
#include <idefics/generation/search/group_beam_search.hpp>
#include <idefics/generation/search/token_search.hpp>
#include <idefics/model/config.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The options of a run that the mode of `config` requires.
inline detail::TextRunOptions run_options(const GenerationConfig& config, const Config& model) {
  detail::TextRunOptions options;
  const std::int64_t beams = config.num_beams.value_or(1);
  options.copies = beams > 1 ? beams : answers_per_prompt(config);
  const GenerationMode mode = generation_mode(config);
  if (mode == GenerationMode::contrastive_search) {
    options.copies = contrastive_candidates(config);
    options.branches = detail::Branches::one_token;
    options.hidden = true;
  }
  if (mode == GenerationMode::dola_generation)
    options.early_layers =
        early_layers(*config.dola_layers, model.num_hidden_layers, model.tie_word_embeddings);
  return options;
}

/// Generates over a run that was made with `run_options(config)`. `guidance` is null, or guides a
/// search without beams.
inline GenerationOutput generate_tokens(detail::TextRun& run, const GenerationConfig& config,
                                        const detail::LogitsContext& context,
                                        const StepCallback& on_step,
                                        detail::Guidance* guidance = nullptr) {
  switch (generation_mode(config)) {
    case GenerationMode::beam_search:
    case GenerationMode::beam_sample: return beam_search(run, config, context, on_step);
    case GenerationMode::group_beam_search:
    case GenerationMode::constrained_beam_search:
      return group_beam_search(run, config, context, on_step);
    case GenerationMode::contrastive_search:
      return contrastive_search(run, config, context, on_step);
    case GenerationMode::dola_generation: {
      detail::LayerContrast contrast(run, context.vocabulary);
      return token_search(run, config, context, on_step, guidance, &contrast);
    }
    default: return token_search(run, config, context, on_step, guidance);
  }
}

}}}  // namespace idefics::v0::detail
