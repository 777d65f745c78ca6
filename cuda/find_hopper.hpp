// Decides whether products may use the wgmma of this device.
#pragma once

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

/// Multiplies the same operands with mma.sync and with wgmma, in the narrowest and the widest tile,
/// and compares the bits. Nothing else guarantees that both add their 16 products alike: if they do
/// not, or if the kernel was not compiled for this architecture, wgmma is not used. This takes
/// about a millisecond.
inline bool wgmma_agrees() {
  constexpr std::int64_t m = 40, n = 128, k = 576;
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
  return bits_of(launch_gemm_wgmma<WgmmaTile<64>>) == expected &&
         bits_of(launch_gemm_wgmma<WgmmaTile<192>>) == expected;
}

/// What linear_bf16 may use on `device`, which is current. Only compute capability 9.0 has wgmma.
inline Hopper find_hopper(int device = 0) {
  int major = 0, minor = 0, processors = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
        "querying its compute capability");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
        "querying its compute capability");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
        "counting its multiprocessors");
  return {major == 9 && minor == 0 && wgmma_agrees(), processors};
}

}}}  // namespace idefics::v0::cuda
