// Decides whether products may use the wgmma of this device.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "linear.cuh"
#include "memory.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

namespace detail {

/// `count` bf16 values in device memory with exponents from -6 to 6, so that sums are rounded.
inline std::shared_ptr<std::byte> scattered_values(MemoryPool& memory, std::int64_t count,
                                                   std::uint32_t seed) {
  std::vector<bf16_t> values(static_cast<std::size_t>(count));
  for (bf16_t& value : values) {
    seed = seed * 1664525 + 1013904223;
    const std::uint32_t exponent = 127 - 6 + (seed >> 8) % 13;
    value.bits = static_cast<std::uint16_t>((seed >> 16 & 0x807f) | exponent << 7);
  }
  auto block = memory.get(values.size() * sizeof(bf16_t));
  check(cudaMemcpy(block.get(), values.data(), values.size() * sizeof(bf16_t),
                   cudaMemcpyHostToDevice),
        "copying to the device");
  return block;
}

}  // namespace detail

/// Multiplies the same operands with mma.sync and with wgmma, in all of its tiles, in each kind of
/// cluster and over several slices of K, and compares the bits. Nothing else guarantees that both add their 16 products alike: if they do
/// not, or if the kernel was not compiled for this architecture, wgmma is not used. This takes
/// about a millisecond.
inline bool wgmma_agrees(int processors) {
  constexpr std::int64_t m = 40, n = 72, k = 1088;  // 6 slices of 192, the last incomplete
  const auto memory = std::make_shared<MemoryPool>(MemoryPool::Kind::device);
  const auto x = detail::scattered_values(*memory, m * k, 1);
  const auto w = detail::scattered_values(*memory, n * k, 2);
  const auto sums = memory->get(m * n * sizeof(float));
  const auto values = [](const auto& p) { return reinterpret_cast<const bf16_t*>(p.get()); };
  const auto bits_of = [&](auto multiply) {
    Stream stream(nullptr);
    check(cudaMemsetAsync(sums.get(), 0xff, m * n * sizeof(float), stream.native()),
          "clearing memory");
    multiply(stream, reinterpret_cast<float*>(sums.get()), values(x), values(w), LinearEnd{}, m, n,
             k);
    std::vector<std::uint32_t> bits(m * n);
    check(cudaMemcpy(bits.data(), sums.get(), m * n * sizeof(float), cudaMemcpyDeviceToHost),
          "comparing products");
    return bits;
  };
  const auto expected = bits_of(detail::launch_gemm_bf16<GemmTile<64, 64, 32, 32>, bf16_t>);
  return std::ranges::all_of(wgmma_plans, [&](const WgmmaPlan& plan) {
    const bool alone = plan.sharing * plan.parts == 1;
    if (!plan.suits(processors) || !(alone || plan.tile_m == 64)) return true;
    return bits_of([&plan](auto&&... operands) { gemm_wgmma(operands..., plan); }) == expected;
  });
}

namespace detail {

inline int attribute_of(int device, cudaDeviceAttr attribute, const char* doing) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, device), doing);
  return value;
}

/// 90 for compute capability 9.0.
inline int capability_of(int device) {
  const char* const doing = "querying its compute capability";
  return 10 * attribute_of(device, cudaDevAttrComputeCapabilityMajor, doing) +
         attribute_of(device, cudaDevAttrComputeCapabilityMinor, doing);
}

}  // namespace detail

/// What linear_bf16 may use on `device`, which is current. Only compute capability 9.0 has wgmma.
inline Hopper find_hopper(int device = 0) {
  const int processors =
      detail::attribute_of(device, cudaDevAttrMultiProcessorCount, "counting its multiprocessors");
  return {detail::capability_of(device) == 90 && wgmma_agrees(processors), processors};
}

/// For reports: "compute capability 9.0, 132 multiprocessors, products of many rows by wgmma".
inline std::string describe_device(int device, Hopper hopper) {
  const int capability = detail::capability_of(device);
  std::string text = "compute capability " + std::to_string(capability / 10) + "." +
                     std::to_string(capability % 10) + ", " + std::to_string(hopper.processors) +
                     " multiprocessors, products of many rows by ";
  if (hopper.wgmma) return text + "wgmma";
  text += "mma.sync";
  if (capability == 90) text += ", as this build is not for 90a or the bits of wgmma differ";
  return text;
}

}}}  // namespace idefics::v0::cuda
