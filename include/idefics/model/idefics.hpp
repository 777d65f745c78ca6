// IDEFICS: pictures become latents, latents become keys and values, and a language model reads them
// through gated cross-attention. Read this file first; docs/architecture.md has the diagram.
// Source: transformers' IdeficsForVisionText2Text.
// Letters: I pictures, S positions, L latents, R selected rows, V vocabulary, A added tokens.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <idefics/model/config.hpp>
#include <idefics/model/decoder.hpp>
#include <idefics/model/gated_cross.hpp>
#include <idefics/model/image_cache.hpp>
#include <idefics/model/perceiver.hpp>
#include <idefics/model/text_state.hpp>
#include <idefics/model/vision.hpp>
#include <idefics/nn/embedding.hpp>

namespace idefics { inline namespace v0 {

/// The attention weights with which pictures were encoded, in every layer; empty if not requested.
struct ImageAttentions {
  Tensor vision;     // [layers,I*S,H,S], of the vision tower
  Tensor resampler;  // [depth,I*L,H,S+L], over features and then latents
};

class Idefics {
 public:
  /// Requests every tensor of the architecture from `weights`; a WeightTable only records them.
  Idefics(WeightSource& weights, Config config);

  const Config& config() const { return config_; }
  std::int64_t cross_layers() const { return std::ssize(cross_layers_); }

  /// Features of pictures [I,3,Y,X]: [I*L,Dv], or [I*S,Dv] without a resampler.
  Tensor encode_pictures(Backend& backend, const Tensor& pixels, bool interpolate,
                         const ImageAttentions& weights = {}) const;

  /// Rows of features of a picture of this size: L, or S without a resampler.
  std::int64_t features_per_picture(std::int64_t height, std::int64_t width) const {
    return config_.use_resampler ? config_.perceiver.latents
                                 : config_.vision.positions_of(height, width);
  }

  /// Computes the keys and values of `slot` from its features, for every cross-attention layer.
  void project_picture(Backend& backend, const ImageCache& pictures, std::int32_t slot) const;

  /// One pass of M tokens through the decoder. Afterwards state.normed holds the final hidden
  /// states, and `weights` the attention weights of the watched tokens. before_layer(i) is called
  /// when state.hidden holds the input of layer i.
  template <class BeforeLayer>
  void forward(Backend& backend, const TextState& state, const TokenBatch& tokens,
               const KvCache& past, const ImageCache& pictures, const RotaryTable& rotary,
               const AttentionWeights& weights, const BeforeLayer& before_layer) const;

  /// Logits of hidden states [R,D]: [R,V] for the vocabulary, [R,A] for the added tokens.
  void logits(Backend& backend, const Tensor& base, const Tensor& additional,
              const Tensor& hidden) const {
    lm_head_(backend, base, additional, hidden);
  }

 private:
  Config config_;
  DecoupledEmbedding embed_tokens_;
  VisionTower vision_model_;
  std::optional<PerceiverResampler> perceiver_resampler_;
  std::vector<GatedCrossAttentionLayer> cross_layers_;
  std::vector<DecoderLayer> layers_;
  RmsNorm norm_;
  DecoupledHead lm_head_;
};

inline Idefics::Idefics(WeightSource& w, Config config)
    : config_(std::move(config)), vision_model_(w, config_.vision) {
  const Config& c = config_;
  embed_tokens_.table = w.table("embed_tokens.weight", {c.vocab_size, c.hidden_size});
  if (c.additional_vocab_size > 0)
    embed_tokens_.additional = w.table("embed_tokens.additional_embedding.weight",
                                       {c.additional_vocab_size, c.hidden_size});
  if (c.use_resampler) perceiver_resampler_.emplace(w, c.perceiver, c.vision.embed_dim);
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    if (i % c.cross_layer_interval == 0)
      cross_layers_.emplace_back(w, c, i / c.cross_layer_interval);
    layers_.emplace_back(w, c, i);
  }
  norm_ = w.rms_norm("norm", c.hidden_size, c.rms_norm_eps);
  lm_head_.base.compute = lm_head_.additional.compute = w.compute();
  if (c.tie_word_embeddings) {
    lm_head_.base.weight.values = embed_tokens_.table;
    lm_head_.additional.weight.values = embed_tokens_.additional;
  } else {
    lm_head_.base = w.linear("lm_head", c.vocab_size, c.hidden_size);
    if (c.additional_vocab_size > 0)
      lm_head_.additional =
          w.linear("lm_head.additional_fc", c.additional_vocab_size, c.hidden_size);
  }
}

inline Tensor Idefics::encode_pictures(Backend& backend, const Tensor& pixels, bool interpolate,
                                       const ImageAttentions& weights) const {
  Tensor features = vision_model_(backend, pixels, interpolate, weights.vision);  // [I*S,Dv]
  if (!perceiver_resampler_) return features;
  return (*perceiver_resampler_)(backend, features, pixels.dim(0), weights.resampler);  // [I*L,Dv]
}

inline void Idefics::project_picture(Backend& backend, const ImageCache& pictures,
                                     std::int32_t slot) const {
  for (std::size_t i = 0; i < cross_layers_.size(); ++i) {
    const ImageCache::Layer cached = pictures.layer(i, slot);
    cross_layers_[i].project(backend, cached.k, cached.v, pictures.features(slot));
  }
}

template <class BeforeLayer>
void Idefics::forward(Backend& backend, const TextState& state, const TokenBatch& tokens,
                      const KvCache& past, const ImageCache& pictures, const RotaryTable& rotary,
                      const AttentionWeights& weights, const BeforeLayer& before_layer) const {
  embed_tokens_(backend, state.hidden, tokens.ids);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    before_layer(i);
    const auto interval = static_cast<std::size_t>(config_.cross_layer_interval);
    if (i % interval == 0) {
      const std::size_t cross = i / interval;
      cross_layers_[cross](backend, state, pictures[cross].k, pictures[cross].v, tokens,
                           AttentionWeights::of_layer(weights.cross, cross, tokens));
    }
    layers_[i](backend, state, past[i], rotary, tokens,
               AttentionWeights::of_layer(weights.self, i, tokens));
  }
  norm_(backend, state.normed, state.hidden);
}

}}  // namespace idefics::v0
