// A LLaMA decoder layer: causal self-attention with rotary positions, then a gated MLP.
// Source: transformers' IdeficsDecoderLayer (LLaMA, Touvron et al. 2023).
// Letters: M rows, D width, H heads, E head width, F MLP width, J keys, R selected rows. E = D / H.
#pragma once

#include <cmath>
#include <string>

#include <idefics/model/text_state.hpp>
#include <idefics/model/weight_source.hpp>
#include <idefics/nn/mlp.hpp>

namespace idefics { inline namespace v0 {

class DecoderLayer {
 public:
  DecoderLayer(WeightSource& w, const Config& c, std::int64_t index) {
    const std::string prefix = "layers." + std::to_string(index) + ".";
    const std::int64_t d = c.hidden_size, f = c.intermediate_size;
    input_layernorm_ = w.rms_norm(prefix + "input_layernorm", d, c.rms_norm_eps);
    q_proj_ = w.linear(prefix + "self_attn.q_proj", d, d);
    k_proj_ = w.linear(prefix + "self_attn.k_proj", d, d);
    v_proj_ = w.linear(prefix + "self_attn.v_proj", d, d);
    o_proj_ = w.linear(prefix + "self_attn.o_proj", d, d);
    post_attention_layernorm_ = w.rms_norm(prefix + "post_attention_layernorm", d, c.rms_norm_eps);
    mlp_ = {w.linear(prefix + "mlp.gate_proj", f, d), w.linear(prefix + "mlp.up_proj", f, d),
            w.linear(prefix + "mlp.down_proj", d, f), c.hidden_act};
    scale_ = 1.0f / std::sqrt(static_cast<float>(c.head_dim()));
  }

  /// hidden += o(attention(norm(hidden))); hidden += mlp(norm(hidden)). `weights` receives the
  /// attention weights of the watched tokens.
  void operator()(Backend& backend, const TextState& s, const KeysAndValues& cache,
                  const RotaryTable& rotary, const TokenBatch& tokens,
                  const Tensor& weights /*[R,H,J] or empty*/) const {
    // q, k = rope(q_proj(x)), rope(k_proj(x)); v = v_proj(x); k and v go into the cache
    linear_group(backend, input_layernorm_.of(s.hidden, s.normed),
                 {{q_proj_, s.q}, {k_proj_, s.k}, {v_proj_, s.v}});
    backend.rope_and_cache(s.q, s.k, s.v, cache, tokens.cache_rows, rotary.cos, rotary.sin,
                           tokens.positions);

    // softmax(q k^T / sqrt E) v over each sequence's own past
    backend.attention(s.mixed, s.q, cache.k, cache.v, tokens.self_attention, scale_);
    if (weights)
      backend.attention_weights(weights, s.q, cache.k, tokens.self_attention, tokens.watched,
                                scale_);
    o_proj_.add_to(backend, s.hidden, s.mixed, s.normed);

    // down(silu(gate(x)) * up(x))
    mlp_.add_to(backend, s.hidden, post_attention_layernorm_.of(s.hidden, s.normed), s.gated,
                s.raised);
  }

 private:
  RmsNorm input_layernorm_, post_attention_layernorm_;  // [D]
  Linear q_proj_, k_proj_, v_proj_, o_proj_;            // [D,D]
  GatedMlp mlp_;                                        // MLP width F
  float scale_ = 1.0f;
};

}}  // namespace idefics::v0
