// The tiny random checkpoints in tests/golden/data/models, and what transformers computed with
// them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <idefics/io/safetensors.hpp>
#include <idefics/model.hpp>

namespace golden {

inline std::filesystem::path models_dir() {
  return std::filesystem::path(IDEFICS_GOLDEN_DIR) / "models";
}

/// Names of all recorded checkpoints, sorted.
inline std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(models_dir()))
    if (std::filesystem::exists(entry.path() / "forward.safetensors"))
      names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

inline idefics::Model load(const std::string& name, idefics::ModelOptions options = {}) {
  return idefics::Model::from_pretrained((models_dir() / name).string(), std::move(options));
}

/// One recorded forward pass.
struct ForwardCase {
  idefics::Inputs inputs;
  idefics::Tensor logits;               // [B,T,V+A], f32 model
  idefics::Tensor image_hidden_states;  // [B,I,L,Dv]
  idefics::Tensor logits_bf16, logits_f16;
};

inline std::vector<ForwardCase> forward_cases(const std::string& name) {
  const auto file = idefics::SafetensorsFile::open(models_dir() / name / "forward.safetensors");
  std::vector<ForwardCase> cases;
  for (int i = 0; file.find(std::to_string(i) + ".logits") != nullptr; ++i) {
    auto get = [&](const char* key) { return file.tensor(std::to_string(i) + "." + key); };
    cases.push_back({.inputs = {get("input_ids"), get("attention_mask"), get("pixel_values"),
                                get("image_attention_mask")},
                     .logits = get("logits"),
                     .image_hidden_states = get("image_hidden_states"),
                     .logits_bf16 = get("logits_bf16"),
                     .logits_f16 = get("logits_f16")});
  }
  return cases;
}

/// A case may have pictures of another size than the configuration's; their positions are then
/// interpolated.
inline idefics::ForwardOptions options_for(const idefics::Config& config,
                                           const idefics::Inputs& in) {
  return {.interpolate_pos_encoding = in.pixel_values.dim(3) != config.vision.image_size ||
                                      in.pixel_values.dim(4) != config.vision.image_size};
}

}  // namespace golden
