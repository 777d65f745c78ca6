// The part of the CUDA runtime that the backend calls, on simulated devices.
//
// Work in a stream runs when the host waits for the stream, so that host code that does not wait,
// or reuses pinned memory too early, is detected. The default stream (null) does not defer. Streams
// and memory belong to the device that was current when they were created; using a stream while
// another device is current is an exception, even for copies that CUDA would allow.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "support/cuda_on_cpu/block.hpp"

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorStreamCaptureUnsupported = 900,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice
};
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
};
inline constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct cudaFuncAttributes {
  int numRegs = 0;
};

struct CUgraph_st;
struct CUstream_st {
  int device = 0;
  std::vector<std::function<void()>> work;
  CUgraph_st* recorded = nullptr;  // during capture
};
struct CUevent_st {
  int device = 0;
  CUstream_st* stream = nullptr;
};
/// Work recorded from a stream, to be launched as a whole.
struct CUgraph_st {
  std::vector<std::function<void()>> work;
  std::int64_t kernels = 0, copies = 0;
};
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;

namespace cuda_on_cpu {

/// The devices and the driver that programs find; tests of faults modify them.
struct Simulated {
  int devices = 1, driver = 13000, major = 9, minor = 0, processors = 132;
  std::size_t memory = std::size_t{16} << 30;  // per device
  std::array<std::size_t, 8> used{};
  bool wgmma_rounds_differently = false;  // differs from mma.sync in the last bit
};
inline Simulated simulated;

/// What the host has asked of the devices; tests take differences.
struct Requests {
  std::int64_t kernels = 0, copies = 0;  // to the device, alone or in a graph
  std::int64_t calls = 0;                // of the runtime, for work in a stream
  std::int64_t downloads = 0, downloaded_bytes = 0;
};
inline Requests requests;
/// Devices do nothing: requests are counted, and new memory is zero. For the cost on the host.
inline bool idle = false;

inline thread_local int current_device = 0;

struct Allocation {
  std::size_t bytes;
  int device;
};
inline std::map<const std::byte*, Allocation>& allocations(bool pinned) {
  // Never destroyed: static backends outlive other statics.
  using Sizes = std::map<const std::byte*, Allocation>;
  static Sizes &of_device = *new Sizes, &of_host = *new Sizes;
  return pinned ? of_host : of_device;
}

/// The allocation of that kind that contains `p`, or null.
inline const Allocation* allocation_of(const void* p, bool pinned) {
  const auto* at = static_cast<const std::byte*>(p);
  const auto after = allocations(pinned).upper_bound(at);
  if (after == allocations(pinned).begin()) return nullptr;
  const auto& [begin, found] = *std::prev(after);
  return at < begin + found.bytes ? &found : nullptr;
}
inline bool is_in(const void* p, bool pinned) { return allocation_of(p, pinned) != nullptr; }

inline std::string device_text(int device) { return "device " + std::to_string(device); }

/// Checks that a copy uses memory of the stream's own device.
inline void check_memory(cudaStream_t stream, const void* p) {
  const Allocation* found = allocation_of(p, false);
  if (stream != nullptr && found != nullptr && found->device != stream->device)
    throw Failure("memory of " + device_text(found->device) + " in a stream of " +
                  device_text(stream->device));
}

template <class Work>
void enqueue(cudaStream_t stream, Work work) {
  if (stream != nullptr && stream->device != current_device)
    throw Failure("work for a stream of " + device_text(stream->device) + " while " +
                  device_text(current_device) + " is current");
  if (idle) return;
  if (stream == nullptr) return work();
  (stream->recorded ? stream->recorded->work : stream->work).push_back(std::move(work));
}

/// Counts a kernel or a copy where it is requested: now, or whenever the recorded graph is launched.
inline void count(cudaStream_t stream, std::int64_t Requests::*in_all,
                  std::int64_t CUgraph_st::*in_graph) {
  ++requests.calls;
  if (stream != nullptr && stream->recorded)
    ++(stream->recorded->*in_graph);
  else
    ++(requests.*in_all);
}

inline void drain(cudaStream_t stream) {
  if (stream == nullptr) return;
  const auto work = std::move(stream->work);
  stream->work.clear();
  for (const auto& step : work) step();
}

/// Runs body() as every thread of a grid, in the order of the stream.
template <class Body>
void launch(cudaStream_t stream, dim3 grid, dim3 threads, dim3 cluster, std::size_t shared_bytes,
            Body body) {
  count(stream, &Requests::kernels, &CUgraph_st::kernels);
  enqueue(stream, [=] { block().run(grid, threads, cluster, shared_bytes, body); });
}

inline cudaError_t allocate(void** p, std::size_t bytes, bool pinned) {
  std::size_t& used = simulated.used[static_cast<std::size_t>(current_device)];
  if (!pinned && bytes > simulated.memory - used) return cudaErrorMemoryAllocation;
  const std::size_t rounded = (bytes + 255) / 256 * 256;
  *p = std::aligned_alloc(256, rounded == 0 ? 256 : rounded);
  if (*p == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*p, idle ? 0 : 0xff, rounded);
  allocations(pinned)[static_cast<const std::byte*>(*p)] = {bytes, current_device};
  if (!pinned) used += bytes;
  return cudaSuccess;
}

inline cudaError_t release(void* p, bool pinned) {
  if (p == nullptr) return cudaSuccess;
  const auto found = allocations(pinned).find(static_cast<const std::byte*>(p));
  if (found == allocations(pinned).end()) return cudaErrorInvalidValue;
  const auto [bytes, device] = found->second;
  if (!pinned) simulated.used[static_cast<std::size_t>(device)] -= bytes;
  allocations(pinned).erase(found);
  std::free(p);
  return cudaSuccess;
}

}  // namespace cuda_on_cpu

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNoKernelImageForDevice:
      return "no kernel image is available for execution on the device";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
  }
  return "unknown error";
}

inline cudaError_t cudaDriverGetVersion(int* version) {
  *version = cuda_on_cpu::simulated.driver;
  return cudaSuccess;
}
inline cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  const auto& device = cuda_on_cpu::simulated;
  *count = device.devices;
  if (device.driver < 13000) return cudaErrorInsufficientDriver;  // 0: not installed
  return device.devices == 0 ? cudaErrorNoDevice : cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= cuda_on_cpu::simulated.devices) return cudaErrorInvalidDevice;
  cuda_on_cpu::current_device = device;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = cuda_on_cpu::current_device;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
  const auto& device = cuda_on_cpu::simulated;
  *value = attribute == cudaDevAttrMultiProcessorCount      ? device.processors
           : attribute == cudaDevAttrL2CacheSize            ? 1 << 20
           : attribute == cudaDevAttrComputeCapabilityMajor ? device.major
                                                            : device.minor;
  return cudaSuccess;
}
/// Kernels exist for every architecture from 8.0 to 10.0.
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel* /*kernel*/) {
  *attributes = {};
  const bool known = cuda_on_cpu::simulated.major >= 8 && cuda_on_cpu::simulated.major <= 10;
  return known ? cudaSuccess : cudaErrorNoKernelImageForDevice;
}
inline cudaError_t cudaMemGetInfo(std::size_t* available, std::size_t* total) {
  const auto& device = cuda_on_cpu::simulated;
  *total = device.memory;
  *available = device.memory - device.used[static_cast<std::size_t>(cuda_on_cpu::current_device)];
  return cudaSuccess;
}

inline cudaError_t cudaMalloc(void** p, std::size_t bytes) {
  return cuda_on_cpu::allocate(p, bytes, false);
}
inline cudaError_t cudaFree(void* p) { return cuda_on_cpu::release(p, false); }
inline cudaError_t cudaMallocHost(void** p, std::size_t bytes) {
  return cuda_on_cpu::allocate(p, bytes, true);
}
inline cudaError_t cudaFreeHost(void* p) { return cuda_on_cpu::release(p, true); }

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  *stream = new CUstream_st;
  (*stream)->device = cuda_on_cpu::current_device;
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream != nullptr && stream->recorded) return cudaErrorStreamCaptureUnsupported;
  cuda_on_cpu::drain(stream);
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  *event = new CUevent_st{cuda_on_cpu::current_device, nullptr};
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (stream != nullptr && stream->device != event->device)
    throw cuda_on_cpu::Failure("an event of " + cuda_on_cpu::device_text(event->device) +
                               " in a stream of " + cuda_on_cpu::device_text(stream->device));
  event->stream = stream;
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  cuda_on_cpu::drain(event->stream);
  return cudaSuccess;
}
/// A simulated device has no clock: any two events are a microsecond apart.
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t /*begin*/, cudaEvent_t /*end*/) {
  *ms = 1e-3f;
  return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

/// As in CUDA, a copy from pageable memory reads it at once, and one to it waits for the stream.
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes,
                                   cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  for (const void* p : {static_cast<const void*>(to), from}) cuda_on_cpu::check_memory(stream, p);
  cuda_on_cpu::count(stream, &cuda_on_cpu::Requests::copies, &CUgraph_st::copies);
  if (kind == cudaMemcpyDeviceToHost) {
    ++cuda_on_cpu::requests.downloads;
    cuda_on_cpu::requests.downloaded_bytes += static_cast<std::int64_t>(bytes);
  }
  if (kind == cudaMemcpyHostToDevice && !cuda_on_cpu::is_in(from, true)) {
    const auto* source = static_cast<const std::byte*>(from);
    cuda_on_cpu::enqueue(stream, [=, kept = std::vector<std::byte>(source, source + bytes)] {
      std::memcpy(to, kept.data(), bytes);
    });
    return cudaSuccess;
  }
  cuda_on_cpu::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
  if (kind == cudaMemcpyDeviceToHost && !cuda_on_cpu::is_in(to, true)) cuda_on_cpu::drain(stream);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
inline cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream) {
  cuda_on_cpu::enqueue(stream, [=] { std::memset(to, value, bytes); });
  return cudaSuccess;
}

// ---- graphs -------------------------------------------------------------------------------------

using cudaGraph_t = CUgraph_st*;
using cudaGraphExec_t = CUgraph_st*;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };

namespace cuda_on_cpu {
inline int graphs_started = 0;
}

inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode /*mode*/) {
  if (stream == nullptr || stream->recorded) return cudaErrorStreamCaptureUnsupported;
  stream->recorded = new CUgraph_st;
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (stream == nullptr || !stream->recorded) return cudaErrorInvalidValue;
  *graph = std::exchange(stream->recorded, nullptr);
  return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* ready, cudaGraph_t graph,
                                        unsigned long long /*flags*/) {
  *ready = new CUgraph_st{*graph};
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t stream) {
  ++cuda_on_cpu::graphs_started;
  ++cuda_on_cpu::requests.calls;
  cuda_on_cpu::requests.kernels += ready->kernels;
  cuda_on_cpu::requests.copies += ready->copies;
  for (const auto& step : ready->work) cuda_on_cpu::enqueue(stream, step);
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t ready) {
  delete ready;
  return cudaSuccess;
}
