// Checks that there is a GPU that can run the kernels, and reports why not.
#pragma once

#include "status.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// The first architecture with cp.async, ldmatrix and the bf16 mma.
inline constexpr int oldest_architecture = 80;

/// 13010 is "13.1".
inline std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

[[noreturn]] inline void no_device(const std::string& why, int found, int needed) {
  fail(ErrorCode::device_unavailable, why,
       {.field = "device",
        .actual = static_cast<std::uint64_t>(found),
        .limit = static_cast<std::uint64_t>(needed)});
}

/// Throws `device_unavailable` unless the device can run the kernels of this build, of which
/// `any_kernel` is one. Leaves the device current.
template <class Kernel>
void require_device(Kernel* any_kernel, int device = 0) {
  int driver = 0, toolkit = 0, devices = 0;
  check(cudaRuntimeGetVersion(&toolkit), "querying the runtime version");
  const cudaError_t status = cudaGetDeviceCount(&devices);
  (void)cudaGetLastError();
  (void)cudaDriverGetVersion(&driver);
  if (driver == 0) no_device("no NVIDIA driver is installed", 0, toolkit);
  if (status == cudaErrorInsufficientDriver || driver / 1000 < toolkit / 1000)
    no_device("the NVIDIA driver supports CUDA " + version_text(driver) +
                  ", and this build needs " + version_text(toolkit),
              driver, toolkit);
  if (status == cudaErrorNoDevice || devices == 0) no_device("there is no NVIDIA GPU", 0, 1);
  check(status, "counting devices");
  if (device >= devices)
    no_device("there is no NVIDIA GPU " + std::to_string(device) + ", counted from 0", devices,
              device + 1);

  int major = 0, minor = 0;
  check(cudaSetDevice(device), "selecting the device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
        "querying its compute capability");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
        "querying its compute capability");
  const int architecture = 10 * major + minor;
  const std::string name =
      "the GPU has compute capability " + std::to_string(major) + "." + std::to_string(minor);
  if (architecture < oldest_architecture)
    no_device(name + ", and the kernels need " + std::to_string(oldest_architecture / 10) + ".0",
              architecture, oldest_architecture);
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, any_kernel) != cudaSuccess) {
    (void)cudaGetLastError();
    no_device(name + ", for which this build has no kernels (CMAKE_CUDA_ARCHITECTURES)",
              architecture, oldest_architecture);
  }
}

}}}  // namespace idefics::v0::cuda
