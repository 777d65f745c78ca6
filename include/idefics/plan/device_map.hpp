// Which device holds which part of the model: `device_map="auto"`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <idefics/core/checked.hpp>

namespace idefics::inline v0 {

/// A part of the model that stays together, with what it keeps: a tower, or one layer of the decoder with
/// the cross-attention before it.
struct ModuleMemory {
  std::string name;                // "vision_model", "layers.7", …
  std::uint64_t weight_bytes = 0;  // mapped or not
  std::uint64_t cache_bytes = 0;   // of keys and values, of pictures
};

/// Somewhere that modules can be, and what can be had there.
struct DeviceMemory {
  std::string name;  // "cuda:0", "cpu"
  std::uint64_t available = 0;
};

/// For every module, in the order in which a pass goes through them, the index of its device: the first
/// one while there is room for it beside `scratch` bytes, then the next, never back, so that a pass
/// changes devices as seldom as can be. Accelerators come first in `devices`, the CPU last. Throws
/// `out_of_memory` when a module fits nowhere, naming it.
inline std::vector<std::size_t> auto_device_map(std::span<const ModuleMemory> modules,
                                                std::span<const DeviceMemory> devices,
                                                std::uint64_t scratch) {
  std::vector<std::size_t> map;
  std::size_t device = 0;
  Checked taken = scratch;
  for (const ModuleMemory& module : modules) {
    const Checked needed = Checked(module.weight_bytes) + module.cache_bytes;
    while (device < devices.size() && taken + needed > devices[device].available)
      ++device, taken = scratch;
    if (device == devices.size())
      fail(ErrorCode::out_of_memory, "no device has room for " + module.name,
           {.field = "device_map",
            .actual = needed.value(),
            .limit = devices.empty() ? 0 : devices.back().available});
    taken = taken + needed;
    map.push_back(device);
  }
  return map;
}

}  // namespace idefics::inline v0
