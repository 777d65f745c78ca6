// A backend by the name of its device.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cuda_backend.hpp>

namespace idefics::inline v0 {

/// "cpu", "cuda", or "auto", which is the GPU where there is one. Throws `device_unavailable`.
inline std::shared_ptr<Backend> make_backend(std::string_view device) {
  if (device == "cuda" || (device == "auto" && cuda_is_available())) return make_cuda_backend();
  if (device == "cpu" || device == "auto") return make_cpu_backend();
  fail(ErrorCode::device_unavailable, "there is no device \"" + std::string(device) + "\"",
       {.field = "device"});
}

}  // namespace idefics::inline v0
