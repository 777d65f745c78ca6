// Which device holds which part of the model: as asked for, and `device_map="auto"`.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/core/checked.hpp>

namespace idefics { inline namespace v0 {

/// Where the modules of a model go; transformers' device_map: one device, "auto", or devices by module.
class DeviceMap {
 public:
  /// Names of modules as transformers has them ("model.layers.3", "lm_head", "" for all the rest; "model."
  /// may be left out) to names of devices. The longest name that a weight begins with counts.
  using Modules = std::map<std::string, std::string>;

  DeviceMap(const char* device) : modules_{{"", device}} {}
  DeviceMap(const std::string& device) : modules_{{"", device}} {}
  DeviceMap(std::initializer_list<Modules::value_type> modules) : DeviceMap(Modules(modules)) {}
  DeviceMap(const Modules& modules) {
    for (const auto& [name, device] : modules) {
      const std::string_view prefix = "model.";
      modules_[name == "model" ? "" : name.substr(name.starts_with(prefix) ? prefix.size() : 0)] =
          device;
    }
  }

  const Modules& modules() const { return modules_; }
  bool is_auto() const { return modules_.size() == 1 && modules_.begin()->second == "auto"; }

 private:
  Modules modules_;
};

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

}}  // namespace idefics::v0
