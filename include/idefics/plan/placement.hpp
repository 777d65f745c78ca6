// Places the parts of a model on devices, as requested or as planned, and makes their backend.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/backend/make_backend.hpp>
#include <idefics/backend/split_backend.hpp>
#include <idefics/plan/device_map.hpp>
#include <idefics/plan/memory_plan.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The model to place, as known from headers alone.
struct PlacedModel {
  const Config& config;
  const std::vector<WeightRequest>& table;
  const Checkpoint& checkpoint;
  WeightOptions options{};
  Workload work{};
};

struct Placement {
  std::shared_ptr<Backend> backend;
  DeviceMap::Modules map;  // names as in transformers; {{"", "cpu"}} if one device holds all
};

/// Whether `name` is `module` or inside it.
inline bool is_within(std::string_view name, std::string_view module) {
  return module.empty() || name == module ||
         (name.starts_with(module) && name[module.size()] == '.');
}

/// Throws `invalid_option` for a module without weights, and for a weight in none of the modules.
inline void check_modules(const DeviceMap::Modules& modules,
                          const std::vector<WeightRequest>& table) {
  for (const auto& entry : modules) {
    const std::string& module = entry.first;
    if (std::ranges::none_of(table,
                             [&](const WeightRequest& w) { return is_within(w.name, module); }))
      fail(ErrorCode::invalid_option, "the model has no module \"" + module + "\"",
           {.field = "device_map"});
  }
  for (const WeightRequest& weight : table)
    if (std::ranges::none_of(
            modules, [&](const auto& entry) { return is_within(weight.name, entry.first); }))
      fail(ErrorCode::invalid_option, "device_map assigns no device to " + weight.name,
           {.tensor = weight.name, .field = "device_map"});
}

/// The backend of a map. Devices that are not in `made` are created.
inline Placement placed(DeviceMap::Modules map,
                        std::map<std::string, std::shared_ptr<Backend>> made = {}) {
  std::vector<SplitBackend::Device> devices;
  SplitBackend::Map indices;
  for (auto& [module, device] : map) {
    device = device_name(device);
    auto& backend = made[device];
    if (!backend) backend = make_backend(device);
    const auto found = std::ranges::find(devices, device, &SplitBackend::Device::name);
    indices[module] = static_cast<std::size_t>(found - devices.begin());
    if (found == devices.end()) devices.push_back({device, backend});
  }
  if (devices.size() == 1) return {devices[0].backend, {{"", devices[0].name}}};
  DeviceMap::Modules named;
  for (const auto& [module, device] : map)
    named[module.empty() || module.starts_with("lm_head") ? module : "model." + module] = device;
  return {std::make_shared<SplitBackend>(std::move(devices), std::move(indices)), std::move(named)};
}

/// Bytes of a device that the plan may use: not all that a GPU has left, since the plan knows
/// neither the kernels' workspace there nor how allocations are rounded.
inline std::uint64_t plannable_bytes(const std::string& device, const Backend& backend,
                                     std::optional<std::uint64_t> max_memory) {
  const bool host = device == "cpu";
  if (host && max_memory) return *max_memory;
  const std::uint64_t left = backend.memory_left().value_or(UINT64_MAX);
  const std::uint64_t kept = host ? 0 : std::min(left, left / 16 + (std::uint64_t{64} << 20));
  return std::min(left - kept, max_memory.value_or(UINT64_MAX));
}

/// The first GPU if everything fits there; otherwise the GPUs as far as they suffice, then the CPU.
inline Placement place_by_plan(const PlacedModel& model, std::optional<std::uint64_t> max_memory) {
  const MemoryPlan plan =
      plan_memory(model.config, model.table, &model.checkpoint, model.options, model.work);
  std::map<std::string, std::shared_ptr<Backend>> made;
  std::vector<DeviceMemory> devices;
  const auto add = [&](const std::string& device) {
    const auto& backend = made[device] = make_backend(device);
    devices.push_back({device, plannable_bytes(device, *backend, max_memory)});
  };
  const auto fits = [&] {
    Checked needed = plan.scratch_bytes;
    for (const ModuleMemory& m : plan.modules) needed = needed + m.weight_bytes + m.cache_bytes;
    return needed <= Checked(devices.front().available);
  };
  add("cuda:0");
  if (fits()) return placed({{"", "cuda:0"}}, std::move(made));
  for (int i = 1; cuda_is_available(i); ++i) add("cuda:" + std::to_string(i));
  add("cpu");
  const std::vector<std::size_t> chosen =
      auto_device_map(plan.modules, devices, plan.scratch_bytes);
  DeviceMap::Modules map;
  for (std::size_t i = 0; i < chosen.size(); ++i)
    map[plan.modules[i].name] = devices[chosen[i]].name;
  // a gated cross-attention layer is placed with its decoder layer
  const std::int64_t interval = model.config.cross_layer_interval;
  for (std::int64_t i = 0; i < model.config.num_hidden_layers; i += interval)
    map["gated_cross_attn_layers." + std::to_string(i / interval)] =
        map.at("layers." + std::to_string(i));
  return placed(std::move(map), std::move(made));
}

/// Throws `device_unavailable`, `invalid_option`, and `out_of_memory` if "auto" finds no placement.
inline Placement place_model(const DeviceMap& requested, const PlacedModel& model,
                             std::optional<std::uint64_t> max_memory) {
  if (requested.is_auto() && cuda_is_available()) return place_by_plan(model, max_memory);
  check_modules(requested.modules(), model.table);
  return placed(requested.modules());
}

}}}  // namespace idefics::v0::detail
