// Selects the generation mode from the options. Source: transformers'
// GenerationConfig.get_generation_mode.
#pragma once

#include <idefics/generation/options/config.hpp>

namespace idefics { inline namespace v0 {

/// The modes of transformers' GenerationMode.
enum class GenerationMode {
  greedy_search,
  sample,
  beam_search,
  beam_sample,
  group_beam_search,
  constrained_beam_search,
  contrastive_search,
  dola_generation,
  assisted_generation,  // with a draft model or prompt lookup
};

/// The mode that the options select, as in GenerationConfig.get_generation_mode.
inline GenerationMode generation_mode(const GenerationConfig& c) {
  const bool sample = c.do_sample.value_or(false);
  GenerationMode mode = sample ? GenerationMode::sample : GenerationMode::greedy_search;
  if (!c.force_words_ids.empty()) return GenerationMode::constrained_beam_search;
  if (c.num_beams.value_or(1) > 1) {
    if (c.num_beam_groups.value_or(1) > 1) return GenerationMode::group_beam_search;
    return sample ? GenerationMode::beam_sample : GenerationMode::beam_search;
  }
  if (!sample && c.penalty_alpha.value_or(0) > 0 && c.top_k.value_or(50) > 1)
    return GenerationMode::contrastive_search;
  if (c.assistant_model || c.prompt_lookup_num_tokens) mode = GenerationMode::assisted_generation;
  if (c.dola_layers) mode = GenerationMode::dola_generation;
  return mode;
}

}}  // namespace idefics::v0
