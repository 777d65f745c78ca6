// The state of the language model: the tokens of a forward pass, the buffers that the layers share,
// the cache of keys and values, and the table of rotary angles.
// Letters: M rows, D width, H heads, E head width, F MLP width, J keys, R selected rows. E = D / H.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <idefics/model/config.hpp>
#include <idefics/nn/attention.hpp>

namespace idefics { inline namespace v0 {

/// The tokens of one forward pass, from any number of sequences, without padding. The segments
/// define which earlier tokens and which pictures each token sees; masks are not needed.
struct TokenBatch {
  std::vector<std::int32_t> ids;                 // [M]
  std::vector<std::int32_t> positions;           // [M]
  std::vector<std::int32_t> cache_rows;          // [M], where each token's keys and values go
  std::vector<AttentionSegment> self_attention;  // one per sequence, causal
  /// One per run of tokens that see the same pictures.
  std::vector<AttentionSegment> cross_attention;
  std::vector<std::int32_t> watched;  // [R], tokens whose attention weights are requested

  std::int64_t size() const { return static_cast<std::int64_t>(ids.size()); }
  void clear() {
    ids.clear(), positions.clear(), cache_rows.clear();
    self_attention.clear(), cross_attention.clear(), watched.clear();
  }
};

/// Every buffer of a forward pass through the decoder.
struct TextState {
  Tensor hidden;         // [M,D], the residual stream, f32 for any weight dtype
  Tensor normed;         // [M,D]
  Tensor q, k, v;        // [M,H,E]
  Tensor mixed;          // [M,H,E]
  Tensor gated, raised;  // [M,F]

  TextState(Backend& backend, const Config& c, std::int64_t m)
      : hidden(backend.empty(DType::f32, {m, c.hidden_size})),
        normed(backend.empty(DType::f32, {m, c.hidden_size})),
        q(backend.empty(DType::f32, {m, c.num_attention_heads, c.head_dim()})),
        k(backend.empty(DType::f32, q.shape())),
        v(backend.empty(DType::f32, q.shape())),
        mixed(backend.empty(DType::f32, q.shape())),
        gated(backend.empty(DType::f32, {m, c.intermediate_size})),
        raised(backend.empty(DType::f32, {m, c.intermediate_size})) {}

  /// Views of the same buffers for the first `m` tokens.
  TextState first(std::int64_t m) const {
    TextState view = *this;
    for (Tensor* t : {&view.hidden, &view.normed, &view.q, &view.k, &view.v, &view.mixed,
                      &view.gated, &view.raised})
      *t = t->slice(0, m);
    return view;
  }
};

/// The attention weights of watched tokens; empty if none are requested.
struct AttentionWeights {
  Tensor self;   // [layers,R,H,J], with the largest R and J of a run
  Tensor cross;  // [cross layers,R,H,J]

  /// Those of one layer, [R,H,J], for the R tokens watched in this pass; empty if none are watched.
  static Tensor of_layer(const Tensor& all, std::size_t layer, const TokenBatch& tokens) {
    if (!all || tokens.watched.empty()) return {};
    return weights_of_layer(all, layer).slice(0, std::ssize(tokens.watched));
  }
};

/// Keys and values of the decoder's self-attention: one pool of rows per layer. A sequence is a
/// list of row indices, so beams can share a past and be reordered without copying any of it.
class KvCache {
 public:
  KvCache(Backend& backend, const Config& c, std::int64_t rows) {
    const Shape shape{rows, c.num_attention_heads, c.head_dim()};
    const auto empty = [&] { return backend.empty(c.kv_cache_dtype, shape); };
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) layers_.push_back({empty(), empty()});
  }
  const KeysAndValues& operator[](std::size_t layer) const { return layers_[layer]; }

 private:
  std::vector<KeysAndValues> layers_;
};

/// cos and sin of position * 10000^(-2i/E), i < E/2; IdeficsEmbedding (RoFormer, Su et al. 2021).
/// The table has as many positions T as a run needs: there is no limit at 2048.
struct RotaryTable {
  Tensor cos, sin;  // [T,E/2]

  RotaryTable(Backend& backend, std::int64_t positions, std::int64_t head_dim) {
    const std::int64_t half = head_dim / 2;
    Tensor c = Tensor::empty(DType::f32, {positions, half});
    Tensor s = Tensor::empty(DType::f32, {positions, half});
    const auto cosines = c.as_mutable<float>(), sines = s.as_mutable<float>();
    for (std::int64_t i = 0; i < half; ++i) {
      // f32 throughout, rounded as in the reference: frequency, then angle
      const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
      const float frequency = 1.0f / std::pow(10000.0f, exponent);
      for (std::int64_t p = 0; p < positions; ++p) {
        const auto index = static_cast<std::size_t>(p * half + i);
        const auto angle = static_cast<double>(static_cast<float>(p) * frequency);
        cosines[index] = static_cast<float>(std::cos(angle));
        sines[index] = static_cast<float>(std::sin(angle));
      }
    }
    cos = backend.upload(c);
    sin = backend.upload(s);
  }
};

}}  // namespace idefics::v0
