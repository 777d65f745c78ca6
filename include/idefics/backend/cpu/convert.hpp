// Tensors in host memory from one float dtype to another, on the kernels and threads of the CPU.
#pragma once

#include <algorithm>

#include <idefics/backend/cpu/kernels.hpp>
#include <idefics/core/tensor.hpp>
#include <idefics/core/threads.hpp>

namespace idefics::inline v0 {

/// The values of `in`, at any alignment, in dtype f32, f16 or bf16, rounded to nearest, ties to
/// even: element for element what from_f32 gives. Throws `unsupported_dtype`.
inline Tensor convert(const Tensor& in, DType dtype) {
  if (!is_float(dtype) || !is_float(in.dtype()))
    fail(ErrorCode::unsupported_dtype, "weights are f32, f16 or bf16");
  static const detail::cpu::KernelTable kernels = detail::cpu::kernels_for(available_isas().back());
  constexpr std::int64_t chunk = 1 << 16, piece = 1024;
  Tensor out = Tensor::empty(dtype, in.shape());
  const auto from_size = static_cast<std::int64_t>(size_of(in.dtype()));
  const auto to_size = static_cast<std::int64_t>(size_of(dtype));
  const std::byte* from = in.raw();
  std::byte* to = out.raw_mutable();
  parallel_for(detail::cpu::ceil_div(in.count(), chunk), [&](std::int64_t c) {
    const std::int64_t end = std::min(in.count(), (c + 1) * chunk);
    for (std::int64_t i = c * chunk; i < end; i += piece) {
      const std::int64_t count = std::min(piece, end - i);
      const std::byte* x = from + i * from_size;
      std::byte* y = to + i * to_size;
      if (dtype == DType::f32) {
        kernels.convert(reinterpret_cast<float*>(y), x, in.dtype(), count);
      } else if (in.dtype() == DType::f32) {
        kernels.narrow(y, dtype, x, count);
      } else {
        float wide[piece];
        kernels.convert(wide, x, in.dtype(), count);
        kernels.narrow(y, dtype, reinterpret_cast<const std::byte*>(wide), count);
      }
    }
  });
  return out;
}

}  // namespace idefics::inline v0
