// The result of a generation, and other types of its interface.
// Letters: T columns, I pictures, S positions, L latents, H heads, V vocabulary, A added tokens, r
// returned rows (num_return_sequences for each prompt), s steps (new tokens of the longest row).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 {

/// Tokens that may follow a prompt, for Model::continuation_logprobs.
using Continuation = std::vector<std::int32_t>;

/// Seconds spent and tokens processed in each phase.
struct GenerationTimings {
  double vision_s = 0;   // from pictures to cross-attention keys and values
  double prefill_s = 0;  // from prompt to first logits, excluding vision_s
  double decode_s = 0;   // all steps after the first token
  std::int64_t prefill_tokens = 0;
  std::int64_t decode_tokens = 0;  // new tokens of the longest row, minus 1
};

struct TokenLogProb {
  std::int32_t id = 0;
  float logprob = 0;  // under the model, before any processor
};

/// A new token and, with top_logprobs, the most likely tokens at its position.
struct TokenLogProbs {
  TokenLogProb chosen;
  std::vector<TokenLogProb> top;  // most likely first
};

/// A forward pass of assisted decoding, which yields accepted + 1 new tokens.
struct AssistedRound {
  std::int64_t guesses = 0;   // candidate tokens that the pass verified
  std::int64_t accepted = 0;  // candidates that were chosen and followed by another new token
};

struct GenerationOutput {
  std::vector<std::vector<std::int32_t>> sequences;   // rectangular: padded prompt, then answer
  std::vector<std::vector<std::int32_t>> new_tokens;  // rectangular: the answer alone
  std::vector<std::int64_t> lengths;                  // [r], new tokens without padding
  // [s,r,V+A] f32 with output_scores: processed scores; minus infinity after the end of a row. With
  // beams, scores, logits and logprobs are those of the beam that each token continued.
  Tensor scores;
  // [s,r,V+A] f32 with output_logits: unprocessed logits; minus infinity after the end of a row
  Tensor logits;
  // [s,r,cross layers,H,I*L] f32 with output_attentions (I*S without a resampler): the attention
  // weights over picture features of the token whose logits each new token was chosen by; zeros for
  // pictures that it does not see, and after the end of a row
  Tensor cross_attentions;
  // [s,r,layers,H,T+s-1] f32 with output_attentions: the attention weights of the same token over
  // text; zeros at padding, at later tokens, and after the end of a row
  Tensor attentions;
  std::vector<std::vector<TokenLogProbs>> logprobs;  // [r][lengths] with top_logprobs or best_of
  std::vector<float> sequences_scores;               // with beams: penalized, one per sequence
  // with beams: the beam of the batch that each new token continued, or -1
  std::vector<std::vector<std::int32_t>> beam_indices;
  std::vector<AssistedRound> rounds;  // with assistance: one per pass after the prompt
  GenerationTimings timings;
};

/// Called after each step with the (row, id) pairs just chosen; returning false stops generation.
using StepCallback = std::function<bool(std::span<const std::pair<std::int32_t, std::int32_t>>)>;

}}  // namespace idefics::v0
