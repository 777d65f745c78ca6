// Which device holds which part of the model: as requested, or by `device_map="auto"`.
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

/// The devices of modules; transformers' device_map: one device, "auto", or a device per module.
class DeviceMap {
 public:
  /// Maps module names as in transformers ("model.layers.3", "lm_head", "" for all others; "model."
  /// may be omitted) to device names. The longest one that a weight's name begins with applies.
  using Modules = std::map<std::string, std::string>;

  DeviceMap() : default_(true) {}  // "auto", without allocating: default options cannot fail
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

  Modules modules() const { return default_ ? Modules{{"", "auto"}} : modules_; }
  bool is_auto() const {
    return default_ || (modules_.size() == 1 && modules_.begin()->second == "auto");
  }

 private:
  Modules modules_;
  bool default_ = false;
};

/// A part of the model that is placed as a unit, with its caches: a tower, or one decoder layer
/// with the cross-attention before it.
struct ModuleMemory {
  std::string name;                // "vision_model", "layers.7", …
  std::uint64_t weight_bytes = 0;  // mapped or not
  std::uint64_t cache_bytes = 0;   // keys and values, pictures
};

/// A device for modules, and the bytes available on it.
struct DeviceMemory {
  std::string name;  // "cuda:0", "cpu"
  std::uint64_t available = 0;
};

/// The index of each module's device, with modules in the order of a pass. A device is filled while
/// the next module fits in addition to `scratch` bytes; then the next device follows, and earlier
/// ones are not used again, so that a pass changes devices as rarely as possible. `devices` lists
/// accelerators first, the CPU last. Throws `out_of_memory`, naming the module that fits nowhere.
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
      fail(ErrorCode::out_of_memory, "no device has enough memory for " + module.name,
           {.field = "device_map",
            .actual = needed.value(),
            .limit = devices.empty() ? 0 : devices.back().available});
    taken = taken + needed;
    map.push_back(device);
  }
  return map;
}

}}  // namespace idefics::v0
