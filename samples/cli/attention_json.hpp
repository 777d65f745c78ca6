// What each word of an answer looked at, as JSON: for attend and for pages that show it.
#pragma once

#include <idefics/attention_rollout.hpp>
#include <idefics/io/json.hpp>

namespace cli {

/// The words and tokens of one answer, from the ids of the answer and what they looked at:
///
///   {"grid": [rows, columns], "layer": null, "head": null, "rollout": false,
///    "words": [{"text": "boat", "tokens": [1, 3], "pictures": [LOOK, ...]}, ...],
///    "tokens": [{"id": 434, "text": "boat", "pictures": [LOOK, ...]}, ...]}
///
/// One LOOK per picture of the prompt, with shares to six decimals:
/// {"share": of the picture, "class_token": ..., "learned_latents": ..., "patches": [rows][columns]}.
/// A word has the tokens from tokens[0] to before tokens[1].
idefics::Json attention_json(const idefics::Tokenizer& tokenizer, std::span<const std::int32_t> ids,
                             const idefics::AttentionRollout& tokens,
                             const idefics::AttentionRolloutOptions& options);

}  // namespace cli
