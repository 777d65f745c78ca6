// Creates a backend from the name of its device.
#pragma once

#include <charconv>
#include <memory>
#include <string>
#include <string_view>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cuda_backend.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// The canonical name of a device: "cuda" becomes "cuda:0"; "auto" becomes "cuda:0", or "cpu"
/// without a GPU.
inline std::string device_name(std::string_view device) {
  if (device == "auto") device = cuda_is_available() ? "cuda" : "cpu";
  return device == "cuda" ? "cuda:0" : std::string(device);
}

}  // namespace detail

/// `device` is "cpu", "cuda", "cuda:1", … or "auto". Throws `device_unavailable`.
inline std::shared_ptr<Backend> make_backend(std::string_view device) {
  const std::string name = detail::device_name(device);
  if (name == "cpu") return make_cpu_backend();
  constexpr std::string_view cuda = "cuda:";
  int index = -1;
  const char *const begin = name.data() + cuda.size(), *const end = name.data() + name.size();
  if (name.starts_with(cuda) && std::from_chars(begin, end, index).ptr == end && index >= 0)
    return make_cuda_backend(index);
  fail(ErrorCode::device_unavailable, "there is no device \"" + std::string(device) + "\"",
       {.field = "device"});
}

}}  // namespace idefics::v0
