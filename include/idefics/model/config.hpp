// config.json: in the nested layout of the published checkpoints, the flat layout of their first
// revisions, or re-saved without defaults. The defaults are those of transformers' IdeficsConfig.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/backend/backend.hpp>
#include <idefics/io/json_fwd.hpp>

namespace idefics { inline namespace v0 {

struct VisionConfig {
  std::int64_t embed_dim = 768;
  std::int64_t image_size = 224;
  std::int64_t patch_size = 14;
  std::int64_t intermediate_size = 5120;
  std::int64_t num_hidden_layers = 32;
  std::int64_t num_attention_heads = 16;
  std::int64_t num_channels = 3;
  Activation hidden_act = Activation::gelu;
  float layer_norm_eps = 1e-5f;

  std::int64_t head_dim() const { return embed_dim / num_attention_heads; }
  /// Patches of a picture plus the class token; pixels that fill no whole patch are dropped.
  std::int64_t positions_of(std::int64_t height, std::int64_t width) const {
    return (height / patch_size) * (width / patch_size) + 1;
  }
  /// Rows of the learned position table.
  std::int64_t num_positions() const { return positions_of(image_size, image_size); }
};

struct PerceiverConfig {
  std::int64_t latents = 64;
  std::int64_t depth = 6;
  std::int64_t heads = 16;
  std::int64_t head_dim = 96;
  bool qk_layer_norms = false;
};

struct Config {
  std::int64_t vocab_size = 32000;
  std::int64_t additional_vocab_size = 0;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 11008;
  std::int64_t num_hidden_layers = 32;
  std::int64_t num_attention_heads = 32;
  std::int64_t cross_layer_interval = 1;
  Activation hidden_act = Activation::silu;
  float rms_norm_eps = 1e-6f;
  bool vector_gates = false;  // alpha_type "vector"
  bool qk_layer_norms = false;
  bool tie_word_embeddings = false;
  bool use_resampler = false;
  VisionConfig vision;
  PerceiverConfig perceiver;

  std::optional<std::int64_t> max_position_embeddings;
  std::vector<std::int32_t> eos_token_ids{2};
  std::optional<std::int32_t> bos_token_id = 1;
  std::optional<std::int32_t> pad_token_id = 0;

  DType kv_cache_dtype = DType::f32;  // ModelOptions::kv_cache_dtype, not in config.json

  std::int64_t head_dim() const { return hidden_size / num_attention_heads; }
  std::int64_t total_vocab_size() const { return vocab_size + additional_vocab_size; }

  /// Throws `unsupported_architecture`, or `invalid_config` naming the key.
  static Config from_json(const Json& json, const std::string& file);
  static Config from_file(const std::filesystem::path& path);
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/io/config_fields.hpp>
#include <idefics/io/json.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// The activation that configurations call `name` (transformers' ACT2FN).
inline Activation activation_named(const std::string& name, const std::string& file,
                                   const char* key) {
  static constexpr std::pair<std::string_view, Activation> names[] = {
      {"relu", Activation::relu},
      {"relu2", Activation::relu2},
      {"relu6", Activation::relu6},
      {"leaky_relu", Activation::leaky_relu},
      {"silu", Activation::silu},
      {"swish", Activation::silu},
      {"gelu", Activation::gelu},
      {"gelu_python", Activation::gelu},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_fast", Activation::gelu_tanh},
      {"gelu_accurate", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"gelu_python_tanh", Activation::gelu_tanh},
      {"gelu_10", Activation::clipped_gelu},
      {"quick_gelu", Activation::quick_gelu},
      {"mish", Activation::mish},
      {"laplace", Activation::laplace},
      {"sigmoid", Activation::sigmoid},
      {"tanh", Activation::tanh},
      {"linear", Activation::identity},
  };
  for (const auto& [known, activation] : names)
    if (known == name) return activation;
  fail(ErrorCode::invalid_config, "unknown activation \"" + name + "\"",
       {.file = file, .field = key});
}

inline constexpr std::int64_t max_width = 1 << 20, max_layers = 4096, max_heads = 4096;

/// `nested` holds the tower's own keys; flat files have them at the top level as vision_*.
inline VisionConfig read_vision(const ConfigFields& nested, const ConfigFields& flat) {
  VisionConfig c;
  auto integer = [&](const char* key, const char* flat_key, std::int64_t fallback,
                     std::int64_t max) {
    return nested.integer(key, flat.integer(flat_key, fallback, 1, max), 1, max);
  };
  c.embed_dim = integer("embed_dim", "vision_embed_dim", c.embed_dim, max_width);
  // the alias of embed_dim in transformers' attribute_map
  c.embed_dim = nested.integer("hidden_size", c.embed_dim, 1, max_width);
  c.image_size = integer("image_size", "vision_image_size", c.image_size, 1 << 15);
  c.patch_size = integer("patch_size", "vision_patch_size", c.patch_size, 1 << 12);
  c.intermediate_size =
      integer("intermediate_size", "vision_intermediate_size", c.intermediate_size, max_width);
  c.num_hidden_layers =
      integer("num_hidden_layers", "vision_num_hidden_layers", c.num_hidden_layers, max_layers);
  c.num_attention_heads = integer("num_attention_heads", "vision_num_attention_heads",
                                  c.num_attention_heads, max_heads);
  c.num_channels = nested.integer("num_channels", c.num_channels, 3, 3);
  c.layer_norm_eps = nested.number("layer_norm_eps", c.layer_norm_eps, 0.0f, 1.0f);
  c.hidden_act = activation_named(nested.text("hidden_act", "gelu"), nested.file(),
                                  "vision_config.hidden_act");
  if (c.embed_dim % c.num_attention_heads != 0)
    nested.refuse("num_attention_heads", "does not divide embed_dim", c.num_attention_heads);
  if (c.patch_size > c.image_size) nested.refuse("patch_size", "exceeds image_size", c.patch_size);
  return c;
}

inline PerceiverConfig read_perceiver(const ConfigFields& nested, const ConfigFields& flat) {
  PerceiverConfig c;
  auto integer = [&](const char* key, std::int64_t fallback, std::int64_t max) {
    return nested.integer(key, flat.integer(key, fallback, 1, max), 1, max);
  };
  c.latents = integer("resampler_n_latents", c.latents, 1 << 16);
  c.depth = integer("resampler_depth", c.depth, max_layers);
  c.heads = integer("resampler_n_heads", c.heads, max_heads);
  c.head_dim = integer("resampler_head_dim", c.head_dim, 1 << 14);
  c.qk_layer_norms = nested.flag("qk_layer_norms_perceiver",
                                 flat.flag("qk_layer_norms_perceiver", c.qk_layer_norms));
  return c;
}

inline void check_text(const Config& c, const ConfigFields& top) {
  if (c.hidden_size % c.num_attention_heads != 0)
    top.refuse("num_attention_heads", "does not divide hidden_size", c.num_attention_heads);
  if (c.head_dim() % 2 != 0)
    top.refuse("num_attention_heads", "gives an odd head width; rotary positions need an even one",
               c.num_attention_heads);
  if (c.num_hidden_layers % c.cross_layer_interval != 0)
    top.refuse("cross_layer_interval", "does not divide num_hidden_layers", c.cross_layer_interval);
}

}  // namespace detail

IDEFICS_ENGINE_INLINE Config Config::from_file(const std::filesystem::path& path) {
  return from_json(*detail::read_document(path), path.string());
}

IDEFICS_ENGINE_INLINE Config Config::from_json(const Json& json, const std::string& file) {
  const ConfigFields top(json, file, "");
  const std::string type = top.text("model_type", "");
  if (type != "idefics")
    fail(ErrorCode::unsupported_architecture,
         type.empty() ? "config.json has no model_type"
                      : "model_type \"" + type + "\" is not idefics",
         {.file = file, .field = "model_type"});

  Config c;
  c.vocab_size = top.integer("vocab_size", c.vocab_size, 1, 1 << 24);
  c.additional_vocab_size =
      top.integer("additional_vocab_size", c.additional_vocab_size, 0, 1 << 20);
  c.hidden_size = top.integer("hidden_size", c.hidden_size, 1, detail::max_width);
  c.intermediate_size = top.integer("intermediate_size", c.intermediate_size, 1, detail::max_width);
  c.num_hidden_layers =
      top.integer("num_hidden_layers", c.num_hidden_layers, 1, detail::max_layers);
  c.num_attention_heads =
      top.integer("num_attention_heads", c.num_attention_heads, 1, detail::max_heads);
  c.cross_layer_interval =
      top.integer("cross_layer_interval", c.cross_layer_interval, 1, detail::max_layers);
  c.hidden_act = detail::activation_named(top.text("hidden_act", "silu"), file, "hidden_act");
  c.rms_norm_eps = top.number("rms_norm_eps", c.rms_norm_eps, 0.0f, 1.0f);
  const std::string alpha = top.text("alpha_type", "float");
  if (alpha != "float" && alpha != "vector")
    fail(ErrorCode::invalid_config, "\"" + alpha + "\" is neither float nor vector",
         {.file = file, .field = "alpha_type"});
  c.vector_gates = alpha == "vector";
  c.qk_layer_norms = top.flag("qk_layer_norms", c.qk_layer_norms);
  c.tie_word_embeddings = top.flag("tie_word_embeddings", c.tie_word_embeddings);
  // the copy in perceiver_config is not read
  c.use_resampler = top.flag("use_resampler", c.use_resampler);
  c.vision = detail::read_vision(top.object("vision_config"), top);
  c.perceiver = detail::read_perceiver(top.object("perceiver_config"), top);

  if (top.has("max_position_embeddings"))
    c.max_position_embeddings = top.integer("max_position_embeddings", 0, 1, 1 << 30);
  const std::int64_t last_id = c.total_vocab_size() - 1;
  c.eos_token_ids = top.ids("eos_token_id", c.eos_token_ids, last_id);
  c.bos_token_id = top.id("bos_token_id", c.bos_token_id, last_id);
  c.pad_token_id = top.id("pad_token_id", c.pad_token_id, last_id);
  detail::check_text(c, top);
  return c;
}

}}  // namespace idefics::v0

#endif
