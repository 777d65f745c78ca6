// What a model will take, from headers alone: bytes of weights by component, of the key/value
// cache, of the picture cache and of the buffers of a pass.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <idefics/model/config.hpp>
#include <idefics/model/weight_source.hpp>

namespace idefics::inline v0 {

/// For how much work memory is planned.
struct PlanOptions {
  std::int64_t context = 512;  // tokens per sequence, prompt and answer
  std::int64_t sequences = 1;  // batch rows times beams
  std::int64_t pictures = 1;
  std::int64_t chunk = 256;  // tokens per pass
};

struct MemoryPlan {
  std::map<std::string, std::uint64_t> parameters;    // by component
  std::map<std::string, std::uint64_t> weight_bytes;  // by component
  std::uint64_t kv_cache_bytes = 0, image_cache_bytes = 0, scratch_bytes = 0;

  std::uint64_t total_parameters() const { return sum(parameters); }
  std::uint64_t total_weight_bytes() const { return sum(weight_bytes); }
  std::uint64_t total_bytes() const {
    return total_weight_bytes() + kv_cache_bytes + image_cache_bytes + scratch_bytes;
  }

 private:
  static std::uint64_t sum(const std::map<std::string, std::uint64_t>& parts) {
    Checked total = 0;
    for (const auto& [name, value] : parts) total = total + value;
    return total.value();
  }
};

/// The plan for weights of `dtype`; small tensors are kept in f32 whatever it is.
inline MemoryPlan plan_memory(const Config& c, const std::vector<WeightRequest>& table, DType dtype,
                              const PlanOptions& options = {}) {
  MemoryPlan plan;
  for (const WeightRequest& request : table) {
    const std::string component(component_of(request.name));
    const auto count = static_cast<std::uint64_t>(request.shape.count());
    const DType kept = request.role == WeightRole::vector ? DType::f32 : dtype;
    plan.parameters[component] += count;
    plan.weight_bytes[component] += count * size_of(kept);
  }
  auto positive = [](std::int64_t value) { return Checked(static_cast<std::uint64_t>(value)); };
  const Checked word = size_of(DType::f32), d = positive(c.hidden_size);
  const Checked features =
      positive(c.use_resampler ? c.perceiver.latents : c.vision.num_positions());
  const Checked cross =
      positive((c.num_hidden_layers + c.cross_layer_interval - 1) / c.cross_layer_interval);
  plan.kv_cache_bytes = (positive(options.context) * positive(options.sequences) *
                         positive(c.num_hidden_layers) * 2 * d * word)
                            .value();
  plan.image_cache_bytes = (positive(options.pictures) * features * word *
                            (cross * 2 * d + positive(c.vision.embed_dim)))
                               .value();
  plan.scratch_bytes = (positive(std::min(options.context * options.sequences, options.chunk)) *
                        word * (d * 6 + positive(c.intermediate_size) * 2))
                           .value();
  return plan;
}

}  // namespace idefics::inline v0
