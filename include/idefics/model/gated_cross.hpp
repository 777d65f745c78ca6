// A tanh-gated cross-attention layer, in which the text reads the pictures. One precedes every
// cross_layer_interval-th decoder layer; with gates of zero it leaves the language model unchanged.
// Source: transformers' IdeficsGatedCrossAttentionLayer (Flamingo, Alayrac et al. 2022, sec. 2.2).
// Letters: M rows, D width, H heads, E head width, F MLP width, J keys, R selected rows. E = D / H.
#pragma once

#include <cmath>
#include <string>

#include <idefics/model/text_state.hpp>
#include <idefics/model/weight_source.hpp>
#include <idefics/nn/mlp.hpp>

namespace idefics { inline namespace v0 {

class GatedCrossAttentionLayer {
 public:
  GatedCrossAttentionLayer(WeightSource& w, const Config& c, std::int64_t index)
      : query_key_norms_(c.qk_layer_norms) {
    const std::string prefix = "gated_cross_attn_layers." + std::to_string(index) + ".";
    const std::int64_t d = c.hidden_size, f = c.intermediate_size, features = c.vision.embed_dim;
    const Shape gate = c.vector_gates ? Shape{1, 1, d} : Shape{1};
    alpha_cross_attn_ = w.vector(prefix + "alpha_cross_attn", gate);
    alpha_dense_ = w.vector(prefix + "alpha_dense", gate);
    input_layernorm_ = w.rms_norm(prefix + "input_layernorm", d, c.rms_norm_eps);
    q_proj_ = w.linear(prefix + "cross_attn.q_proj", d, d);
    k_proj_ = w.linear(prefix + "cross_attn.k_proj", d, features);
    v_proj_ = w.linear(prefix + "cross_attn.v_proj", d, features);
    o_proj_ = w.linear(prefix + "cross_attn.o_proj", d, d);
    if (query_key_norms_) {
      q_layer_norm_ = w.rms_norm(prefix + "cross_attn.q_layer_norm", c.head_dim(), c.rms_norm_eps);
      k_layer_norm_ = w.rms_norm(prefix + "cross_attn.k_layer_norm", c.head_dim(), c.rms_norm_eps);
    }
    post_attention_layernorm_ = w.rms_norm(prefix + "post_attention_layernorm", d, c.rms_norm_eps);
    mlp_ = {w.linear(prefix + "mlp.gate_proj", f, d), w.linear(prefix + "mlp.up_proj", f, d),
            w.linear(prefix + "mlp.down_proj", d, f), c.hidden_act};
    scale_ = 1.0f / std::sqrt(static_cast<float>(c.head_dim()));
  }

  /// Keys and values of picture features. They do not depend on the text, so they are computed once
  /// per picture and kept. There are no rotary positions; the key norm is applied here.
  void project(Backend& backend, const Tensor& k /*[J,H,E]*/, const Tensor& v /*[J,H,E]*/,
               const Tensor& features /*[J,Dv]*/) const {
    linear_group(backend, features, {{k_proj_, k}, {v_proj_, v}});
    if (query_key_norms_) k_layer_norm_(backend, k, k);
  }

  /// hidden += tanh(alpha_cross_attn) * o(attention(norm(hidden), pictures));
  /// hidden += tanh(alpha_dense) * mlp(norm(hidden)). `weights` receives the attention weights of
  /// the watched tokens.
  void operator()(Backend& backend, const TextState& s, const Tensor& k /*[J,H,E]*/,
                  const Tensor& v /*[J,H,E]*/, const TokenBatch& tokens,
                  const Tensor& weights /*[R,H,J] or empty*/) const {
    linear_group(backend, input_layernorm_.of(s.hidden, s.normed), {{q_proj_, s.q}});
    if (query_key_norms_) q_layer_norm_(backend, s.q, s.q);

    // A token that sees no picture has no keys and gets zeros here; its MLP below still runs.
    backend.attention(s.mixed, s.q, k, v, tokens.cross_attention, scale_);
    if (weights)
      backend.attention_weights(weights, s.q, k, tokens.cross_attention, tokens.watched, scale_);
    o_proj_.gated_add_to(backend, s.hidden, s.mixed, alpha_cross_attn_, s.normed);

    mlp_.gated_add_to(backend, s.hidden, post_attention_layernorm_.of(s.hidden, s.normed),
                      alpha_dense_, s.gated, s.raised);
  }

 private:
  bool query_key_norms_;
  Tensor alpha_cross_attn_, alpha_dense_;               // [1] or [1,1,D]
  RmsNorm input_layernorm_, post_attention_layernorm_;  // [D]
  RmsNorm q_layer_norm_, k_layer_norm_;                 // [E], or empty without query/key norms
  Linear q_proj_, o_proj_;                              // [D,D]
  Linear k_proj_, v_proj_;                              // [D,Dv]
  GatedMlp mlp_;                                        // MLP width F
  float scale_ = 1.0f;
};

}}  // namespace idefics::v0
