// Converts tensors in host memory between float dtypes, with the kernels and threads of the CPU.
#pragma once

#include <algorithm>

#include <idefics/backend/cpu/kernels.hpp>
#include <idefics/core/tensor.hpp>
#include <idefics/core/threads.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// Converts `count` values of dtype `from` at `x` to dtype `to` at `y`, on this thread.
inline void convert_values(const cpu::KernelTable& kernels, std::byte* y, DType to,
                           const std::byte* x, DType from, std::int64_t count) {
  constexpr std::int64_t piece = 1024;
  const auto x_size = static_cast<std::int64_t>(size_of(from));
  const auto y_size = static_cast<std::int64_t>(size_of(to));
  if (to == DType::f32) return kernels.convert(reinterpret_cast<float*>(y), x, from, count);
  if (from == DType::f32) return kernels.narrow(y, to, x, count);
  for (std::int64_t i = 0; i < count; i += piece) {
    const std::int64_t n = std::min(piece, count - i);
    float wide[piece];
    kernels.convert(wide, x + i * x_size, from, n);
    kernels.narrow(y + i * y_size, to, reinterpret_cast<const std::byte*>(wide), n);
  }
}

}  // namespace detail

/// Converts `in`, at any alignment, to f32, f16 or bf16, rounded to nearest, ties to even; each
/// element has the bits that from_f32 gives. Throws `unsupported_dtype`.
inline Tensor convert(const Tensor& in, DType dtype) {
  if (!is_float(dtype) || !is_float(in.dtype()))
    fail(ErrorCode::unsupported_dtype, "weights are f32, f16 or bf16");
  static const detail::cpu::KernelTable kernels = detail::cpu::kernels_for(available_isas().back());
  constexpr std::int64_t chunk = 1 << 18;
  Tensor out = Tensor::empty(dtype, in.shape());
  const auto from_size = static_cast<std::int64_t>(size_of(in.dtype()));
  const auto to_size = static_cast<std::int64_t>(size_of(dtype));
  const std::byte* from = in.raw();
  std::byte* to = out.raw_mutable();
  parallel_tasks(detail::cpu::ceil_div(in.count(), chunk), [&](std::int64_t task, int) {
    const std::int64_t i = task * chunk;
    detail::convert_values(kernels, to + i * to_size, dtype, from + i * from_size, in.dtype(),
                           std::min(chunk, in.count() - i));
  });
  return out;
}

}}  // namespace idefics::v0
