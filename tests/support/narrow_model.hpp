// A checkpoint with the layers of idefics-9b and a small width: its steps need as many kernels, and
// as much of the host, as those of the real one. Its MLP is just so wide that, as in the real one,
// eight rows do not fit into shared memory. All weights are zero.
#pragma once

#include <string>

#include <idefics/io/safetensors_writer.hpp>
#include <idefics/model/config.hpp>
#include <idefics/model/idefics.hpp>
#include <idefics/model/weight_source.hpp>

#include "support/temp_dir.hpp"

namespace testing {

inline constexpr const char* narrow_config = R"({
  "model_type": "idefics", "vocab_size": 32000, "additional_vocab_size": 2,
  "hidden_size": 64, "intermediate_size": 4160, "num_hidden_layers": 32, "num_attention_heads": 2,
  "cross_layer_interval": 4, "hidden_act": "silu", "alpha_type": "float", "qk_layer_norms": true,
  "use_resampler": true, "tie_word_embeddings": false, "rms_norm_eps": 1e-06,
  "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
  "vision_config": {"embed_dim": 64, "image_size": 28, "patch_size": 14, "num_hidden_layers": 32,
    "num_attention_heads": 2, "intermediate_size": 128, "hidden_act": "gelu"},
  "perceiver_config": {"resampler_n_latents": 64, "resampler_depth": 6, "resampler_n_heads": 2,
    "resampler_head_dim": 32, "qk_layer_norms_perceiver": true}
})";

/// Writes the checkpoint into a directory.
inline void write_narrow_model(const TempDir& directory) {
  using namespace idefics;
  WeightTable table;
  const Idefics model(table, Config::from_file(directory.write("config.json", narrow_config)));
  std::vector<TensorForm> forms;
  for (const WeightRequest& request : table.requests())
    forms.push_back({(request.name.starts_with("lm_head.") ? "" : "model.") + request.name,
                     DType::bf16, request.shape});
  SafetensorsWriter writer(directory.path() / "model.safetensors", forms, {}, 0);
  for (const TensorForm& form : forms)
    writer.put({form.name, Tensor::zeros(form.dtype, form.shape)});
  writer.finish();
}

}  // namespace testing
