// Flops and bytes of whole stages, counting matrices only.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <idefics/io/checkpoint.hpp>
#include <idefics/model.hpp>
#include <idefics/quant/bnb_format.hpp>
#include <idefics/quant/int8_format.hpp>

namespace idefics::bench {

/// Bytes per value of a matrix in memory: bf16, or codes and constants of blocks if so stored.
inline double bytes_per_value(const Checkpoint& checkpoint, const std::string& name) {
  for (const std::string& stored : {name, "model." + name})
    if (detail::is_bnb(checkpoint, stored)) {
      const QuantizedTensor q = detail::read_bnb(checkpoint, stored);
      return static_cast<double>(q.codes.bytes() + q.absmax.bytes()) /
             static_cast<double>(q.count());
    } else if (detail::is_int8(checkpoint, stored)) {
      return 1;
    }
  return 2;
}

/// The work of a model's matrices for one picture, one prompt and one decode step.
struct Work {
  double picture_flops = 0, prompt_flops = 0, step_bytes = 0;
};

/// `matrix_bytes` gives the bytes of a matrix in memory.
inline Work work_of(const Config& config, std::int64_t prompt_tokens,
                    const std::function<double(const WeightRequest&)>& matrix_bytes) {
  WeightTable table;
  const Idefics listed(table, config);
  const double positions = static_cast<double>(
      config.vision.positions_of(config.vision.image_size, config.vision.image_size));
  const double latents =
      config.use_resampler ? static_cast<double>(config.perceiver.latents) : positions;
  Work work;
  for (const WeightRequest& request : table.requests()) {
    if (request.role != WeightRole::matrix) continue;
    const auto values = static_cast<double>(request.shape.count());
    const std::string_view part = component_of(request.name);
    const bool of_pictures = request.name.find(".k_proj.") != std::string::npos ||
                             request.name.find(".v_proj.") != std::string::npos;
    if (part == "vision tower")
      work.picture_flops += 2 * values * positions;
    else if (part == "perceiver resampler")
      work.picture_flops += 2 * values * (of_pictures ? positions + latents : latents);
    else if (part == "gated cross-attention" && of_pictures)
      work.picture_flops += 2 * values * latents;
    else {
      work.step_bytes += matrix_bytes(request);
      work.prompt_flops +=
          2 * values * (part == "output head" ? 1.0 : static_cast<double>(prompt_tokens));
    }
  }
  return work;
}

/// The same for bf16, and for matrices that the checkpoint stores in 4 bits. `quantized` is the bytes
/// per value of matrices that are quantized to 4 bits on load, 0 for none.
inline Work work_of(const Config& config, const Checkpoint& checkpoint, std::int64_t prompt_tokens,
                    double quantized = 0) {
  return work_of(config, prompt_tokens, [&](const WeightRequest& request) {
    const bool packed = quantized > 0 && component_of(request.name) != "output head";
    return (packed ? quantized : bytes_per_value(checkpoint, request.name)) *
           static_cast<double>(request.shape.count());
  });
}

}  // namespace idefics::bench
