// The memory that a model will need, from headers alone: bytes of weights by component, of the keys
// and values of text and pictures, and of the buffers of a pass. No weight is loaded or touched.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <idefics/plan/device_map.hpp>
#include <idefics/plan/scratch_bytes.hpp>
#include <idefics/plan/weight_bytes.hpp>

namespace idefics { inline namespace v0 {

struct MemoryPlan {
  std::map<std::string, WeightBytes> components;  // by component_of
  std::vector<ModuleMemory> modules;              // weights and caches, in the order of a pass
  std::uint64_t kv_cache_bytes = 0, image_cache_bytes = 0, scratch_bytes = 0;
  std::uint64_t unread_bytes = 0;  // mapped rows of the embedding that the work does not look up
  std::uint64_t beside_bytes = 0;  // other bytes of the windows in which weights are mapped

  WeightBytes weights() const {
    WeightBytes all;
    for (const auto& [name, bytes] : components) all += bytes;
    return all;
  }
  /// Memory that is not mapped from a file, so the system cannot drop it and read it again.
  std::uint64_t anonymous_bytes() const {
    return (Checked(weights().anonymous) + kv_cache_bytes + image_cache_bytes + scratch_bytes)
        .value();
  }
  /// Bytes of files that a run touches.
  std::uint64_t mapped_bytes() const {
    return (Checked(weights().mapped - unread_bytes) + beside_bytes).value();
  }
  std::uint64_t total_bytes() const {
    return (Checked(mapped_bytes()) + anonymous_bytes()).value();
  }
};

/// The plan for the weights in `table` (model/weight_source.hpp), stored as in `checkpoint` (null:
/// in the requested dtype) and kept as `options` say. Throws `arithmetic_overflow`.
IDEFICS_ENGINE_INLINE MemoryPlan plan_memory(const Config& c,
                                             const std::vector<WeightRequest>& table,
                                             const Checkpoint* checkpoint,
                                             const WeightOptions& options = {},
                                             const Workload& work = {});

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <algorithm>
#include <charconv>
#include <string_view>

#include <idefics/plan/kernel_bytes.hpp>
#include <idefics/plan/mapped_pages.hpp>
#include <idefics/plan/rank_share.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// The module that a tensor belongs to: decoder layer i includes the cross-attention before it.
inline std::string module_of(std::string_view name, const Config& c) {
  for (const char* module :
       {"vision_model", "perceiver_resampler", "embed_tokens", "lm_head", "norm"})
    if (name.starts_with(std::string(module) + ".")) return module;
  constexpr std::string_view cross = "gated_cross_attn_layers.", layers = "layers.";
  const bool gated = name.starts_with(cross);
  name.remove_prefix(gated ? cross.size() : layers.size());
  std::int64_t index = 0;
  std::from_chars(name.data(), name.data() + name.size(), index);
  return "layers." + std::to_string(gated ? index * c.cross_layer_interval : index);
}

/// Keys and values of one layer: the rows of all prompts, and those of each sequence's new tokens.
inline std::uint64_t kv_layer_bytes(const Config& c, const Workload& work) {
  const std::int64_t answer = std::min(work.new_tokens.value_or(work.context), work.context);
  const Checked rows = checked(work.batch) *
                       (checked(work.context - answer) + checked(work.beams) * checked(answer));
  return (rows * checked(kv_columns(c, work.ranks)) * 2 * size_of(c.kv_cache_dtype)).value();
}

/// Rows of features of all pictures.
inline Checked feature_rows(const Config& c, const Workload& work) {
  return checked(work.pictures) *
         checked(c.use_resampler ? c.perceiver.latents : c.vision.num_positions());
}

/// Latents, or features without a resampler, and the pixels that identify a picture.
inline std::uint64_t image_state_bytes(const Config& c, const Workload& work) {
  const Checked side = checked(c.vision.image_size);
  const Checked pixels = checked(work.pictures) * side * side * 3;
  return ((feature_rows(c, work) * checked(c.vision.embed_dim) + pixels) * float_bytes).value();
}

/// Keys and values of all pictures in one cross-attention layer.
inline std::uint64_t image_layer_bytes(const Config& c, const Workload& work) {
  return (feature_rows(c, work) * checked(kv_columns(c, work.ranks)) * 2 * float_bytes).value();
}

/// Mapped bytes of the embedding except for the rows that `work` reads, with a window for each.
inline std::uint64_t unread_rows(const WeightRequest& request, const WeightBytes& bytes,
                                 const Workload& work) {
  if (request.role != WeightRole::table || component_of(request.name) != "embedding") return 0;
  const std::uint64_t row = bytes.mapped / static_cast<std::uint64_t>(request.shape[0]);
  const Checked read =
      checked(work.batch) * checked(work.context) * std::max(row, MappedPages::window);
  return bytes.mapped - std::min(bytes.mapped, read.value());
}

/// Layers and their tensors without the elements; the overhead of the allocation and the reference
/// count of each tensor in anonymous memory; and the rounding table of double quantization.
inline std::uint64_t bookkeeping_bytes(const std::vector<WeightRequest>& table,
                                       const WeightBytes& weights, bool double_quantized) {
  constexpr std::uint64_t overhead = 80;  // glibc's aligned_alloc: 48; std::shared_ptr's block: 32
  std::uint64_t bytes = weights.copies * overhead + (double_quantized ? nearest_steps : 0);
  for (const WeightRequest& request : table)
    bytes += request.role == WeightRole::matrix ? sizeof(Linear) : sizeof(Tensor);
  return bytes;
}

/// Adds the pages of a weight that is used in place.
inline void add_pages(MappedPages& pages, const Checkpoint& checkpoint,
                      const WeightRequest& request) {
  const auto name = stored_name(checkpoint, request.name);
  if (!name) return;
  pages.add(checkpoint, *name);
  if (is_bnb(checkpoint, *name)) pages.add(checkpoint, *name + ".absmax");
  if (is_int8(checkpoint, *name)) pages.add(checkpoint, int8_companions(*name)[0]);
}

/// Requests come layer by layer, with cross-attention just before its decoder layer.
inline void add_module(std::vector<ModuleMemory>& modules, const std::string& name,
                       const WeightBytes& bytes) {
  if (modules.empty() || modules.back().name != name) modules.push_back({name});
  ModuleMemory& last = modules.back();
  last.weight_bytes = (Checked(last.weight_bytes) + bytes.total()).value();
}

/// Adds each cache to the module that reads it.
inline void add_caches(MemoryPlan& plan, const Config& c, const Workload& work) {
  const std::uint64_t kv = kv_layer_bytes(c, work), cross = image_layer_bytes(c, work);
  const std::string pictures = c.use_resampler ? "perceiver_resampler" : "vision_model";
  std::int64_t layer = 0;
  for (ModuleMemory& module : plan.modules) {
    std::uint64_t image = module.name == pictures ? image_state_bytes(c, work) : 0;
    if (module.name.starts_with("layers.")) {
      plan.kv_cache_bytes = (Checked(plan.kv_cache_bytes) + kv).value();
      module.cache_bytes = kv;
      if (layer++ % c.cross_layer_interval == 0) image = cross;
    }
    plan.image_cache_bytes = (Checked(plan.image_cache_bytes) + image).value();
    module.cache_bytes = (Checked(module.cache_bytes) + image).value();
  }
}

}  // namespace detail

IDEFICS_ENGINE_INLINE MemoryPlan plan_memory(const Config& c,
                                             const std::vector<WeightRequest>& table,
                                             const Checkpoint* checkpoint,
                                             const WeightOptions& options, const Workload& work) {
  MemoryPlan plan;
  detail::MappedPages pages;
  std::vector<detail::Form> forms;
  bool quantized = false;  // on load rather than in the file
  for (const WeightRequest& request : table) {
    const WeightBytes all = detail::weight_bytes(checkpoint, request, options);
    const WeightBytes bytes = detail::share_of(all, request, c, work.ranks);
    forms.push_back(detail::form_of(all));
    quantized |= bytes.packed && bytes.mapped == 0;
    if (bytes.mapped > 0 && checkpoint != nullptr) detail::add_pages(pages, *checkpoint, request);
    plan.components[std::string(component_of(request.name))] += bytes;
    plan.unread_bytes += detail::unread_rows(request, bytes, work);
    detail::add_module(plan.modules, detail::module_of(request.name, c), bytes);
  }
  detail::add_caches(plan, c, work);
  plan.beside_bytes = pages.surplus();
  const bool rounding_table = quantized && options.quantization_config.bnb_4bit_use_double_quant;
  plan.scratch_bytes = (Checked(detail::scratch_bytes(c, work, plan.kv_cache_bytes)) +
                        detail::kernel_bytes(c, table, forms, options, work) +
                        detail::bookkeeping_bytes(table, plan.weights(), rounding_table))
                           .value();
  return plan;
}

}}  // namespace idefics::v0

#endif
