// The vision tower: CLIP's ViT, from pixels to one feature per patch plus one for the class token.
// Source: transformers' IdeficsVisionTransformer.
// Letters: I pictures, C channels, P patches, S positions, D width, H heads, E head width, F MLP
// width, p patch size. S = P + 1, E = D / H.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <idefics/model/config.hpp>
#include <idefics/model/position_interpolation.hpp>
#include <idefics/model/weight_source.hpp>
#include <idefics/nn/attention.hpp>
#include <idefics/nn/mlp.hpp>

namespace idefics { inline namespace v0 {

class VisionTower {
 public:
  VisionTower(WeightSource& weights, const VisionConfig& config);

  /// Features [I*S,D] of pictures [I,C,Y,X]: the last hidden state. The checkpoint's
  /// `post_layernorm` affects only an unused pooled output, so it is not applied. Without
  /// `interpolate`, throws `shape_mismatch` for pictures of a size other than the configuration's.
  /// `weights` receives the attention weights of all positions.
  Tensor operator()(Backend& backend, const Tensor& pixels, bool interpolate,
                    const Tensor& weights /*[layers,I*S,H,S] or empty*/) const;

 private:
  struct Layer {
    LayerNorm layer_norm1, layer_norm2;  // [D]
    Linear q_proj, k_proj, v_proj;       // [D,D]
    Linear out_proj;                     // [D,D]
    Mlp mlp;                             // MLP width F
  };
  struct State {
    Tensor hidden;   // [I*S,D]
    Tensor normed;   // [I*S,D]
    Tensor q, k, v;  // [I*S,H,E]
    Tensor mixed;    // [I*S,H,E]
    Tensor inner;    // [I*S,F]
  };

  void embed(Backend& backend, State& state, const Tensor& pixels, bool interpolate) const;
  void attend(Backend& backend, State& state, const Layer& layer,
              std::span<const AttentionSegment> pictures,
              const Tensor& weights /*[I*S,H,S] or empty*/) const;

  VisionConfig config_;
  Tensor class_embedding_;     // [1,D]
  Linear patch_embedding_;     // [D, C*p*p]
  Tensor position_embedding_;  // [S,D]
  LayerNorm pre_layrnorm_;     // [D]; spelled as in the checkpoint
  std::vector<Layer> layers_;
};

inline VisionTower::VisionTower(WeightSource& w, const VisionConfig& c) : config_(c) {
  const std::int64_t d = c.embed_dim, patch = c.num_channels * c.patch_size * c.patch_size;
  const std::string root = "vision_model.";
  class_embedding_ = w.vector(root + "embeddings.class_embedding", {d});
  patch_embedding_.weight.values = w.get({root + "embeddings.patch_embedding.weight",
                                          {d, c.num_channels, c.patch_size, c.patch_size},
                                          WeightRole::table});
  patch_embedding_.compute = w.compute();
  position_embedding_ =
      w.vector(root + "embeddings.position_embedding.weight", {c.num_positions(), d});
  if (class_embedding_) {  // a WeightTable returns empty tensors
    class_embedding_ = class_embedding_.reshape({1, d});
    patch_embedding_.weight.values = patch_embedding_.weight.values.reshape({d, patch});
  }
  pre_layrnorm_ = w.layer_norm(root + "pre_layrnorm", d, c.layer_norm_eps);
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string prefix = root + "encoder.layers." + std::to_string(i) + ".";
    Layer layer;
    layer.layer_norm1 = w.layer_norm(prefix + "layer_norm1", d, c.layer_norm_eps);
    layer.q_proj = w.linear_with_bias(prefix + "self_attn.q_proj", d, d);
    layer.k_proj = w.linear_with_bias(prefix + "self_attn.k_proj", d, d);
    layer.v_proj = w.linear_with_bias(prefix + "self_attn.v_proj", d, d);
    layer.out_proj = w.linear_with_bias(prefix + "self_attn.out_proj", d, d);
    layer.layer_norm2 = w.layer_norm(prefix + "layer_norm2", d, c.layer_norm_eps);
    layer.mlp = {w.linear_with_bias(prefix + "mlp.fc1", c.intermediate_size, d),
                 w.linear_with_bias(prefix + "mlp.fc2", d, c.intermediate_size), c.hidden_act};
    layers_.push_back(std::move(layer));
  }
}

inline Tensor VisionTower::operator()(Backend& backend, const Tensor& pixels, bool interpolate,
                                      const Tensor& weights) const {
  const std::int64_t n = pixels.dim(0), d = config_.embed_dim, h = config_.num_attention_heads;
  const std::int64_t s = config_.positions_of(pixels.dim(2), pixels.dim(3)), rows = n * s;
  State state{.hidden = backend.empty(DType::f32, {rows, d}),
              .normed = backend.empty(DType::f32, {rows, d}),
              .q = backend.empty(DType::f32, {rows, h, d / h}),
              .k = backend.empty(DType::f32, {rows, h, d / h}),
              .v = backend.empty(DType::f32, {rows, h, d / h}),
              .mixed = backend.empty(DType::f32, {rows, h, d / h}),
              .inner = backend.empty(DType::f32, {rows, config_.intermediate_size})};
  const std::vector<std::int32_t> row_numbers = iota_rows(0, rows);
  std::vector<AttentionSegment> pictures;  // patches attend only to those of the same picture
  for (std::int64_t i = 0; i < n; ++i)
    pictures.push_back(
        {.query_begin = i * s,
         .query_end = (i + 1) * s,
         .key_rows = std::span(row_numbers)
                         .subspan(static_cast<std::size_t>(i * s), static_cast<std::size_t>(s))});

  // IdeficsVisionEmbeddings, then pre_layrnorm
  embed(backend, state, pixels, interpolate);
  pre_layrnorm_(backend, state.hidden, state.hidden);

  // IdeficsVisionEncoderLayer: x += out(attention(norm1(x))); x += fc2(act(fc1(norm2(x))))
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    layer.layer_norm1(backend, state.normed, state.hidden);
    attend(backend, state, layer, pictures, weights_of_layer(weights, i));
    layer.layer_norm2(backend, state.normed, state.hidden);
    layer.mlp.add_to(backend, state.hidden, state.normed, state.inner);
  }
  return state.hidden;
}

/// hidden = [class, patch_1 … patch_P] + positions, per picture; IdeficsVisionEmbeddings.
inline void VisionTower::embed(Backend& backend, State& state, const Tensor& pixels,
                               bool interpolate) const {
  const std::int64_t n = pixels.dim(0), height = pixels.dim(2), width = pixels.dim(3);
  const std::int64_t s = config_.positions_of(height, width);
  const bool other_size = height != config_.image_size || width != config_.image_size;
  if (other_size && !interpolate)
    fail(ErrorCode::shape_mismatch,
         "pictures of " + std::to_string(width) + " x " + std::to_string(height) +
             " pixels, but the model expects " + std::to_string(config_.image_size) + " x " +
             std::to_string(config_.image_size) + " (other sizes need interpolate_pos_encoding)",
         {.field = "pixel_values",
          .actual = static_cast<std::uint64_t>(height),
          .limit = static_cast<std::uint64_t>(config_.image_size)});

  // The strided convolution is a product: every patch, unfolded, times the kernel matrix.
  Tensor patches = backend.empty(DType::f32, {n * (s - 1), patch_embedding_.weight.cols()});
  Tensor features = backend.empty(DType::f32, {n * (s - 1), config_.embed_dim});
  backend.unfold_patches(patches, pixels, config_.patch_size);
  patch_embedding_(backend, features, patches);

  std::vector<std::int32_t> patch_rows;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t class_row[] = {static_cast<std::int32_t>(i * s)};
    backend.scatter_rows(state.hidden, class_row, class_embedding_);
    for (std::int64_t j = 1; j < s; ++j) patch_rows.push_back(static_cast<std::int32_t>(i * s + j));
  }
  backend.scatter_rows(state.hidden, patch_rows, features);
  const Tensor positions = other_size
                               ? backend.upload(detail::interpolate_positions(
                                     backend.download(position_embedding_),
                                     {height / config_.patch_size, width / config_.patch_size}))
                               : position_embedding_;
  backend.add(state.hidden, state.hidden, positions);
}

/// hidden += out(softmax(q k^T / sqrt E) v); IdeficsVisionAttention.
inline void VisionTower::attend(Backend& backend, State& state, const Layer& layer,
                                std::span<const AttentionSegment> pictures,
                                const Tensor& weights) const {
  linear_group(backend, state.normed,
               {{layer.q_proj, state.q}, {layer.k_proj, state.k}, {layer.v_proj, state.v}});
  const float scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim()));
  backend.attention(state.mixed, state.q, state.k, state.v, pictures, scale);
  if (weights)
    backend.attention_weights(weights, state.q, state.k, pictures, iota_rows(0, weights.dim(0)),
                              scale);
  layer.out_proj.add_to(backend, state.hidden, state.mixed, state.normed);
}

}}  // namespace idefics::v0
