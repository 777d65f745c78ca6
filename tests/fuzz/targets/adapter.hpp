// A LoRA adapter: adapter_config.json, a zero byte, and adapter_model.safetensors. What fits a small
// model must give additions and replacements of the shapes of its layers.
#pragma once

#include <idefics/lora/lora.hpp>
#include <idefics/model/idefics.hpp>

#include "fuzz/scratch_dir.hpp"
#include "fuzz/target.hpp"

namespace fuzz {

/// The weights of a model with one layer of width 4.
inline std::vector<idefics::WeightRequest> small_model() {
  constexpr std::string_view config = R"({"model_type": "idefics", "vocab_size": 8,
    "additional_vocab_size": 1, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1,
    "num_attention_heads": 1, "cross_layer_interval": 1, "vision_config": {"embed_dim": 4,
    "image_size": 4, "patch_size": 2, "intermediate_size": 4, "num_hidden_layers": 1,
    "num_attention_heads": 1}, "perceiver_config": {"resampler_depth": 1, "resampler_n_heads": 1,
    "resampler_head_dim": 4, "resampler_n_latents": 1}})";
  idefics::WeightTable table;
  const idefics::Idefics layers(
      table, idefics::Config::from_json(idefics::parse_json(config, "model"), "model"));
  return table.requests();
}

inline void adapter(Bytes input) {
  static const ScratchDir directory;
  static const auto table = small_model();
  std::string_view rest = text_of(input);
  directory.set("adapter_config.json", next_file(rest));
  directory.set("adapter_model.safetensors", rest);
  const auto read = idefics::LoraAdapter::open(directory.path());
  read.check(table);
  for (const idefics::WeightRequest& request : table) {
    if (const auto replacement = read.replacement(request))
      expect(replacement->shape() == request.shape, "a replacement of another shape");
    if (request.role != idefics::WeightRole::matrix) continue;
    const auto addition = read.addition(request);
    expect(addition.has_value() == read.rank(request).has_value(), "a rank without an addition");
    if (!addition) continue;
    const std::int64_t r = *read.rank(request);
    expect(addition->a.shape() == idefics::Shape({r, request.shape[1]}) &&
               addition->b.shape() == idefics::Shape({request.shape[0], r}),
           "an addition of another shape");
  }
}

}  // namespace fuzz
