// Quantizes tensors, and converts 4 bits back, with the kernels and threads of the CPU.
#pragma once

#include <algorithm>

#include <idefics/backend/cpu/convert.hpp>
#include <idefics/backend/cpu/kernels.hpp>
#include <idefics/core/threads.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

inline const cpu::KernelTable& best_kernels() {
  static const cpu::KernelTable kernels = cpu::kernels_for(available_isas().back());
  return kernels;
}

/// Quantizes the `count` values at `x`, rounded to `q.dtype` first. At most max_blocksize values
/// are rounded at a time, so that they stay in the cache.
inline void quantize_values(const cpu::KernelTable& kernels, std::uint8_t* codes, float* absmax,
                            const std::byte* x, DType dtype, std::int64_t count,
                            const QuantizedTensor& q, const CodeRule& rule) {
  if (dtype == q.dtype) return kernels.quantize(codes, absmax, x, dtype, count, q.blocksize, rule);
  for (std::int64_t i = 0; i < count; i += max_blocksize) {
    const std::int64_t n = std::min(max_blocksize, count - i);
    alignas(cache_line) std::byte rounded[max_blocksize * sizeof(float)];
    convert_values(kernels, rounded, q.dtype, x + i * static_cast<std::int64_t>(size_of(dtype)),
                   dtype, n);
    kernels.quantize(codes + i / 2, absmax + i / q.blocksize, rounded, q.dtype, n, q.blocksize,
                     rule);
  }
}

}  // namespace detail

/// Quantizes `x` (f32, f16 or bf16, at any alignment) to 4 bits, bit for bit as bitsandbytes does
/// on the CPU (quant/blockwise.hpp). Throws `dtype_mismatch`, `invalid_option` for a block size
/// that bitsandbytes does not support, or `out_of_memory`.
inline QuantizedTensor quantize_4bit(
    const Tensor& x, const QuantizeOptions& options = {},
    const detail::cpu::KernelTable& kernels = detail::best_kernels()) {
  if (!is_float(x.dtype()) || !is_float(options.dtype.value_or(DType::f32)))
    fail(ErrorCode::dtype_mismatch, "only f32, f16 and bf16 tensors can be quantized");
  if (!detail::is_blocksize(options.blocksize))
    fail(ErrorCode::invalid_option, "a block size is a power of two from 32 to 4096",
         {.field = "blocksize"});
  constexpr std::int64_t piece = 1 << 18;  // values per task, a multiple of every block size
  QuantizedTensor q{.type = options.type,
                    .blocksize = options.blocksize,
                    .dtype = options.dtype.value_or(x.dtype()),
                    .shape = x.shape()};
  const std::int64_t n = q.count(), size = q.blocksize;
  q.codes = Tensor::empty(DType::u8, {(n + 1) / 2});
  q.absmax = Tensor::empty(DType::f32, {q.blocks()});
  auto* codes = reinterpret_cast<std::uint8_t*>(q.codes.raw_mutable());
  const auto absmax = q.absmax.as_mutable<float>();
  const detail::CodeRule rule(q.type);
  parallel_tasks(detail::cpu::ceil_div(n, piece), [&](std::int64_t task, int) {
    const std::int64_t first = task * piece;
    detail::quantize_values(kernels, codes + first / 2, absmax.data() + first / size,
                            x.raw() + static_cast<std::size_t>(first) * size_of(x.dtype()),
                            x.dtype(), std::min(piece, n - first), q, rule);
  });
  if (options.double_quant) {
    Tensor constants = Tensor::empty(DType::u8, {q.blocks()});
    q.nested = NestedConstants::quantize(absmax, constants.as_mutable<std::uint8_t>());
    q.absmax = std::move(constants);
  }
  return q;
}

/// Quantizes the matrix `x` (f32, f16 or bf16, at any alignment) to int8, as bitsandbytes does on
/// the CPU (quant/int8.hpp): rounded to `dtype`, then to f16. Throws `dtype_mismatch`,
/// `shape_mismatch`, `out_of_memory`.
inline Int8Matrix quantize_int8(const Tensor& x, DType dtype, float threshold = 6.0f,
                                const detail::cpu::KernelTable& kernels = detail::best_kernels()) {
  if (!is_float(x.dtype()) || !is_float(dtype))
    fail(ErrorCode::dtype_mismatch, "only f32, f16 and bf16 tensors can be quantized");
  if (x.shape().rank() != 2 || x.dim(1) > detail::max_int8_width)
    fail(ErrorCode::shape_mismatch,
         "only matrices of at most 131072 columns are quantized to int8");
  const std::int64_t n = x.dim(0), k = x.dim(1), padded = detail::cpu::round_up(k, 32);
  Int8Matrix q{Tensor::empty(DType::i8, x.shape()), Tensor::empty(DType::f32, {n}), threshold};
  auto* codes = q.codes.as_mutable<std::int8_t>().data();
  float* absmax = q.absmax.as_mutable<float>().data();
  // each thread converts a row to f32, and its codes from 16 bits
  Tensor rows = Tensor::empty(DType::f32, {num_threads(), padded + padded / 2});
  float* buffers = rows.as_mutable<float>().data();
  parallel_tasks(n, [&](std::int64_t i, int worker) {
    float* values = buffers + worker * rows.dim(1);
    auto* wide = reinterpret_cast<std::int16_t*>(values + padded);
    kernels.convert(values, x.raw() + static_cast<std::size_t>(i * k) * size_of(x.dtype()),
                    x.dtype(), k);
    absmax[i] = kernels.int8.quantize_row(wide, nullptr, values, k, 0, dtype == DType::bf16).absmax;
    for (std::int64_t j = 0; j < k; ++j) codes[i * k + j] = static_cast<std::int8_t>(wide[j]);
  });
  return q;
}

/// The values that the codes stand for, in f32.
inline Tensor dequantize_4bit(const QuantizedTensor& q,
                              const detail::cpu::KernelTable& kernels = detail::best_kernels()) {
  constexpr std::int64_t piece = 64;  // blocks
  const std::int64_t n = q.count();
  Tensor out = Tensor::empty(DType::f32, q.shape);
  float* values = out.as_mutable<float>().data();
  const Codebook table = q.table();
  const detail::cpu::FourBitMatrix codes{reinterpret_cast<const std::uint8_t*>(q.codes.raw()),
                                         table.data(), 1, n, q.blocksize};
  parallel_ranges(q.blocks(), piece, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; b += piece) {
      float absmax[piece];
      const std::int64_t last = std::min(b + piece, end), first = b * q.blocksize;
      q.expand_absmax(b, {absmax, static_cast<std::size_t>(last - b)});
      kernels.four_bit.dequantize(values + first, codes, absmax, first,
                                  std::min(last * q.blocksize, n));
    }
  });
  return out;
}

}}  // namespace idefics::v0
