// Helpers of CUDA kernel tests: weights in the form that kernels take, and outputs between guards,
// which must be the same in every lane order.
#pragma once

#include <bit>

#include "cuda/quad.cuh"
#include "support/cuda_on_cpu/orders.hpp"
#include "support/parity.hpp"

namespace testing {

inline idefics::cuda::DeviceFloats floats(const idefics::Tensor& t) {
  return t ? idefics::cuda::DeviceFloats{t.raw(), t.dtype()} : idefics::cuda::DeviceFloats{};
}

/// A stream whose kernels run at once.
inline idefics::cuda::Stream& at_once() {
  static idefics::cuda::Stream stream(nullptr);
  return stream;
}

/// What run(out) writes, where `out` begins `offset` floats after a multiple of 16 bytes, between
/// guards that must not be touched. The bits must be the same in 16 lane orders. Without initial
/// values, `out` begins as NaN.
template <class Run>
idefics::Tensor cuda_result(idefics::Shape shape, const Run& run, const Values& initial = {},
                            std::size_t offset = 0) {
  constexpr std::size_t guard = 36;
  constexpr std::uint32_t sentinel = 0x7fc0deadu;
  const auto count = static_cast<std::size_t>(shape.count());
  const auto bits = cuda_on_cpu::with_lane_orders(16, [&] {
    auto all = idefics::Tensor::empty(idefics::DType::f32,
                                      {static_cast<std::int64_t>(count + 2 * guard + offset)});
    const auto values = all.as_mutable<float>();
    std::ranges::fill(values, std::bit_cast<float>(sentinel));
    std::ranges::copy(initial, values.begin() + static_cast<std::ptrdiff_t>(guard + offset));
    run(values.data() + guard + offset);
    std::vector<std::uint32_t> seen(values.size());
    std::ranges::transform(values, seen.begin(),
                           [](float x) { return std::bit_cast<std::uint32_t>(x); });
    return seen;
  });
  std::size_t touched = 0;
  for (std::size_t i = 0; i < bits.size(); ++i)
    if (i < guard + offset || i >= guard + offset + count) touched += bits[i] != sentinel;
  CHECK(touched == 0);
  Values result(count);
  for (std::size_t i = 0; i < count; ++i)
    result[i] = std::bit_cast<float>(bits[guard + offset + i]);
  return tensor(shape, result);
}

/// The same values, `offset` floats after a multiple of 16 bytes.
inline idefics::Tensor moved(const idefics::Tensor& t, std::size_t offset) {
  const auto values = t.as<float>();
  return stored(idefics::DType::f32, t.shape(), Values(values.begin(), values.end()),
                offset * sizeof(float));
}

inline const float* data(const idefics::Tensor& t) {
  return reinterpret_cast<const float*>(t.raw());
}

inline Values values_of(const idefics::Tensor& t) {
  const auto values = t.as<float>();
  return Values(values.begin(), values.end());
}

}  // namespace testing
