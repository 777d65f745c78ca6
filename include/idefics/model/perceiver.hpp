// The Perceiver resampler: a fixed number of latents reads any number of patch features.
// Source: transformers' IdeficsPerceiverResampler (Flamingo, Alayrac et al. 2022, section 2.1).
// Letters: I pictures, S positions, L latents, D width, H heads, E head width, F MLP width.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <idefics/model/config.hpp>
#include <idefics/model/weight_source.hpp>
#include <idefics/nn/attention.hpp>
#include <idefics/nn/mlp.hpp>

namespace idefics { inline namespace v0 {

class PerceiverResampler {
 public:
  PerceiverResampler(WeightSource& weights, const PerceiverConfig& config, std::int64_t embed_dim);

  /// Latents [I*L,D] of I pictures, from their features [I*S,D]. `weights` receives the attention
  /// weights of all latents, over the features and then the latents.
  Tensor operator()(Backend& backend, const Tensor& features, std::int64_t pictures,
                    const Tensor& weights /*[depth,I*L,H,S+L] or empty*/) const;

 private:
  struct Block {
    LayerNorm context_layer_norm, latents_layer_norm;  // [D]
    LayerNorm q_layer_norm, k_layer_norm;              // [E], or empty without query/key norms
    Linear q_proj, k_proj, v_proj;                     // [H*E,D]
    Linear output_proj;                                // [D,H*E]
    LayerNorm mlp_norm;                                // [D]
    Mlp mlp;                                           // MLP width F = 4 D, ReLU
  };
  struct State {
    Tensor latents;  // [I*L,D]
    Tensor normed;   // [I*L,D]
    Tensor context;  // [I*S,D]
    Tensor joined;   // [I*(S+L),D]
    Tensor q;        // [I*L,H,E]
    Tensor k, v;     // [I*(S+L),H,E]
    Tensor mixed;    // [I*L,H,E]
    Tensor inner;    // [I*L,F]
  };
  /// Rows of `joined` that hold features and latents, the attention segment of each picture, and
  /// all queries.
  struct Layout {
    std::vector<std::int32_t> feature_rows, latent_rows, all_rows, queries;
    std::vector<AttentionSegment> pictures;
  };

  State make_state(Backend& backend, std::int64_t n, std::int64_t s) const;
  Layout make_layout(std::int64_t n, std::int64_t s) const;
  void attend(Backend& backend, State& state, const Block& block, const Tensor& features,
              const Layout& layout, const Tensor& weights /*[I*L,H,S+L] or empty*/) const;

  PerceiverConfig config_;
  std::int64_t width_;
  Tensor latents_;  // [L,D]
  std::vector<Block> blocks_;
  LayerNorm layer_norm_;  // [D]
};

inline PerceiverResampler::PerceiverResampler(WeightSource& w, const PerceiverConfig& c,
                                              std::int64_t embed_dim)
    : config_(c), width_(embed_dim) {
  constexpr float eps = 1e-5f;  // torch.nn.LayerNorm's default, not the tower's layer_norm_eps
  const std::int64_t d = embed_dim, inner = c.heads * c.head_dim, f = 4 * d;
  const std::string root = "perceiver_resampler.";
  latents_ = w.vector(root + "latents", {c.latents, d});
  for (std::int64_t i = 0; i < c.depth; ++i) {
    const std::string attention = root + "blocks." + std::to_string(i) + ".0.";
    const std::string mlp = root + "blocks." + std::to_string(i) + ".1.";
    Block block;
    block.context_layer_norm = w.layer_norm(attention + "context_layer_norm", d, eps);
    block.latents_layer_norm = w.layer_norm(attention + "latents_layer_norm", d, eps);
    if (c.qk_layer_norms) {
      block.q_layer_norm = w.layer_norm(attention + "q_layer_norm", c.head_dim, eps);
      block.k_layer_norm = w.layer_norm(attention + "k_layer_norm", c.head_dim, eps);
    }
    block.q_proj = w.linear(attention + "q_proj", inner, d);
    block.k_proj = w.linear(attention + "k_proj", inner, d);
    block.v_proj = w.linear(attention + "v_proj", inner, d);
    block.output_proj = w.linear(attention + "output_proj", d, inner);
    block.mlp_norm = w.layer_norm(mlp + "ln", d, eps);
    block.mlp = {w.linear(mlp + "fc", f, d), w.linear(mlp + "c_proj", d, f), Activation::relu};
    blocks_.push_back(std::move(block));
  }
  layer_norm_ = w.layer_norm(root + "layer_norm", d, eps);
}

inline Tensor PerceiverResampler::operator()(Backend& backend, const Tensor& features,
                                             std::int64_t pictures, const Tensor& weights) const {
  const std::int64_t s = features.dim(0) / pictures;
  const Layout layout = make_layout(pictures, s);
  State state = make_state(backend, pictures, s);
  for (std::int64_t i = 0; i < pictures; ++i) {  // every picture starts from the same latents
    const auto rows = iota_rows(i * config_.latents, config_.latents);
    backend.scatter_rows(state.latents, rows, latents_);
  }
  // for each block: latents += attention(features, latents); latents += mlp(latents)
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    attend(backend, state, block, features, layout, weights_of_layer(weights, i));
    block.mlp_norm(backend, state.normed, state.latents);
    block.mlp.add_to(backend, state.latents, state.normed, state.inner);
  }
  layer_norm_(backend, state.latents, state.latents);
  return state.latents;
}

/// latents += output(softmax(q k^T / sqrt E) v), with queries from the latents, and keys and values
/// from the features followed by the latents; IdeficsPerceiverAttention.
inline void PerceiverResampler::attend(Backend& backend, State& state, const Block& block,
                                       const Tensor& features, const Layout& layout,
                                       const Tensor& weights) const {
  block.context_layer_norm(backend, state.context, features);
  block.latents_layer_norm(backend, state.normed, state.latents);
  backend.scatter_rows(state.joined, layout.feature_rows, state.context);
  backend.scatter_rows(state.joined, layout.latent_rows, state.normed);
  block.q_proj(backend, state.q, state.normed);
  linear_group(backend, state.joined, {{block.k_proj, state.k}, {block.v_proj, state.v}});
  if (config_.qk_layer_norms) {
    block.q_layer_norm(backend, state.q, state.q);
    block.k_layer_norm(backend, state.k, state.k);
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim));
  backend.attention(state.mixed, state.q, state.k, state.v, layout.pictures, scale);
  if (weights)
    backend.attention_weights(weights, state.q, state.k, layout.pictures, layout.queries, scale);
  block.output_proj.add_to(backend, state.latents, state.mixed, state.normed);
}

inline PerceiverResampler::State PerceiverResampler::make_state(Backend& backend, std::int64_t n,
                                                                std::int64_t s) const {
  const std::int64_t l = config_.latents, d = width_, h = config_.heads, e = config_.head_dim;
  auto empty = [&backend](Shape shape) { return backend.empty(DType::f32, shape); };
  return {.latents = empty({n * l, d}),
          .normed = empty({n * l, d}),
          .context = empty({n * s, d}),
          .joined = empty({n * (s + l), d}),
          .q = empty({n * l, h, e}),
          .k = empty({n * (s + l), h, e}),
          .v = empty({n * (s + l), h, e}),
          .mixed = empty({n * l, h, e}),
          .inner = empty({n * l, 4 * d})};
}

inline PerceiverResampler::Layout PerceiverResampler::make_layout(std::int64_t n,
                                                                  std::int64_t s) const {
  const std::int64_t l = config_.latents;
  Layout layout;
  layout.all_rows = iota_rows(0, n * (s + l));
  layout.queries = iota_rows(0, n * l);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto begin = layout.all_rows.begin() + i * (s + l);
    layout.feature_rows.insert(layout.feature_rows.end(), begin, begin + s);
    layout.latent_rows.insert(layout.latent_rows.end(), begin + s, begin + s + l);
    layout.pictures.push_back({.query_begin = i * l,
                               .query_end = (i + 1) * l,
                               .key_rows = {&*begin, static_cast<std::size_t>(s + l)}});
  }
  return layout;
}

}}  // namespace idefics::v0
