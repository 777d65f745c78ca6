// A piece of work for a stream: a kernel with its arguments, or a copy of staged bytes.
#pragma once

#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "device.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Work for a stream, done in order. Two pieces are equal if they do the same to the same memory.
class Work {
 public:
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work() = default;
  virtual void start(cudaStream_t stream) const = 0;
  virtual bool equals(const Work& other) const = 0;
  virtual std::unique_ptr<Work> copy() const = 0;
  /// The kernel's name as the linker knows it, or what else it is; for measurements.
  virtual std::string name() const { return "work"; }
};

using WorkList = std::vector<std::unique_ptr<Work>>;

/// The launch configuration of a kernel. `shared_bytes` is the size of dynamic_shared, which needs
/// an opt-in above 48 KiB. The blocks of a `cluster`, which only compute capability 9.0 has here, run
/// at the same time.
struct Launch {
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  dim3 cluster{1, 1, 1};

  bool operator==(const Launch& o) const {
    const auto same = [](dim3 a, dim3 b) { return a.x == b.x && a.y == b.y && a.z == b.z; };
    return same(grid, o.grid) && same(block, o.block) && same(cluster, o.cluster) &&
           shared_bytes == o.shared_bytes;
  }
};

/// kernel(args…) with grid × block threads.
template <class... P>
class KernelWork final : public Work {
 public:
  using Kernel = void (*)(P...);
  KernelWork(Launch launch, Kernel kernel, std::tuple<P...> args)
      : launch_(launch), kernel_(kernel), args_(std::move(args)) {}

  void start(cudaStream_t stream) const override {
    std::apply([&](const P&... args) { run(stream, args...); }, args_);
  }
  bool equals(const Work& other) const override {
    const auto* same = dynamic_cast<const KernelWork*>(&other);
    return same && kernel_ == same->kernel_ && launch_ == same->launch_ && args_ == same->args_;
  }
  std::unique_ptr<Work> copy() const override {
    return std::make_unique<KernelWork>(launch_, kernel_, args_);
  }
  std::string name() const override {
    const char* name = "kernel";
#if defined(__CUDACC__) && CUDART_VERSION >= 12030
    check(cudaFuncGetName(&name, reinterpret_cast<const void*>(kernel_)), "naming a kernel");
#endif
    return name;
  }

 private:
  void run(cudaStream_t stream, const P&... args) const {
#if defined(__CUDACC__)
    if (launch_.shared_bytes > 48 * 1024)
      check(cudaFuncSetAttribute(kernel_, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(launch_.shared_bytes)),
            "reserving shared memory");
    cudaLaunchConfig_t config{};
    config.gridDim = launch_.grid;
    config.blockDim = launch_.block;
    config.dynamicSmemBytes = launch_.shared_bytes;
    config.stream = stream;
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {launch_.cluster.x, launch_.cluster.y, launch_.cluster.z};
    config.attrs = &attribute;
    config.numAttrs = launch_.cluster.x * launch_.cluster.y * launch_.cluster.z > 1 ? 1 : 0;
    check(cudaLaunchKernelEx(&config, kernel_, args...), "starting a kernel");
#else
    cuda_on_cpu::launch(stream, launch_.grid, launch_.block, launch_.cluster, launch_.shared_bytes,
                        [kernel = kernel_, args...] { kernel(args...); });
#endif
  }

  Launch launch_;
  Kernel kernel_;
  std::tuple<P...> args_;
};

/// Copies bytes from pinned host memory to the device.
class CopyWork final : public Work {
 public:
  CopyWork(std::byte* to, const std::byte* from, std::size_t bytes)
      : to_(to), from_(from), bytes_(bytes) {}

  void start(cudaStream_t stream) const override {
    check(cudaMemcpyAsync(to_, from_, bytes_, cudaMemcpyHostToDevice, stream),
          "copying to the device");
  }
  bool equals(const Work& other) const override {
    const auto* same = dynamic_cast<const CopyWork*>(&other);
    return same && to_ == same->to_ && from_ == same->from_ && bytes_ == same->bytes_;
  }
  std::unique_ptr<Work> copy() const override {
    return std::make_unique<CopyWork>(to_, from_, bytes_);
  }
  std::string name() const override { return "copy"; }

 private:
  std::byte* to_;
  const std::byte* from_;
  std::size_t bytes_;
};

}}}  // namespace idefics::v0::cuda
