// What a generation returns, and what else its callers name.
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

/// Seconds spent, and tokens processed, by stage.
struct GenerationTimings {
  double vision_s = 0;   // from pictures to cross-attention keys and values
  double prefill_s = 0;  // from prompt to first logits, without vision_s
  double decode_s = 0;   // all steps after the first token
  std::int64_t prefill_tokens = 0;
  std::int64_t decode_tokens = 0;  // new tokens - 1, the longest row's
};

struct TokenLogProb {
  std::int32_t id = 0;
  float logprob = 0;  // of the model itself, before any processor
};

/// A new token and, with top_logprobs, the likeliest in its place.
struct TokenLogProbs {
  TokenLogProb chosen;
  std::vector<TokenLogProb> top;  // likeliest first
};

/// A forward pass of assisted decoding: it gives accepted + 1 tokens.
struct AssistedRound {
  std::int64_t guesses = 0;   // tokens that were guessed
  std::int64_t accepted = 0;  // of them, those that were chosen with another token behind them
};

/// Letters: R rows (num_return_sequences for each prompt, together), S steps, V+A vocabulary.
struct GenerationOutput {
  std::vector<std::vector<std::int32_t>> sequences;   // rectangular: padded prompt, then answer
  std::vector<std::vector<std::int32_t>> new_tokens;  // rectangular: the answer alone
  std::vector<std::int64_t> lengths;                  // [R], new tokens before the filling
  // [S,R,V+A] f32 with output_scores: processed; minus infinity behind a row's end; with beams of the
  // beam that each token continued, as for logits and logprobs
  Tensor scores;
  Tensor
      logits;  // [S,R,V+A] f32 with output_logits: unprocessed; minus infinity behind a row's end
  // With output_attentions, what the token looked at whose logits each new token was chosen by; f32,
  // zeros behind a row's end. X cross-attention layers, H heads, N pictures of F features each (latents,
  // or patches + 1 without a resampler), P columns of the padded prompt:
  Tensor cross_attentions;  // [S,R,X,H,N*F]: at the pictures; zeros at those that it does not see
  Tensor attentions;  // [S,R,layers,H,P+S-1]: at the text; zeros at padding and what came later
  std::vector<std::vector<TokenLogProbs>> logprobs;  // [R][lengths] with top_logprobs or best_of
  std::vector<float> sequences_scores;               // with beams: penalized, one per sequence
  std::vector<std::vector<std::int32_t>>
      beam_indices;  // with beams: the beam of the batch that each new token continued, or -1
  std::vector<AssistedRound> rounds;  // with assistance: one per pass behind the prompt's
  GenerationTimings timings;
};

/// Called after each step with the tokens just chosen (row, id); returning false stops generation.
using StepCallback = std::function<bool(std::span<const std::pair<std::int32_t, std::int32_t>>)>;

}}  // namespace idefics::v0
