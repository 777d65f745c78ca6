// 4-bit weights: blocks of values, each stored as the nearest of 16 fractions of the block's
// absmax.
//
//   absmax[b] = max |x| over block b
//   code      = the c with codebook[c] nearest to x / absmax[b]
//   x'        = codebook[code] * absmax[b]
//
// Source: bitsandbytes 0.50.2, quantize_4bit and dequantize_4bit on the CPU, reproduced bit for bit
// by backend/cpu/quantize.hpp. Its choices where several are possible:
//   * the tensor is flattened: blocks extend across the ends of rows, and the last may be partial;
//   * a value halfway between two codes gets the one of lower value;
//   * x is multiplied by 1 / absmax; in a partial block it is divided by absmax;
//   * absmax is raised to 1e-38 before it divides; a partial block also stores the raised value;
//   * a NaN gives its whole block the highest code in order of value, an infinity only itself;
//   * the first of a pair is the high nibble; a single last value is paired with the code of 0.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>

#include <idefics/core/tensor.hpp>
#include <idefics/quant/double_quant.hpp>

namespace idefics { inline namespace v0 {

struct QuantizeOptions {
  QuantType type = QuantType::fp4;
  std::int64_t blocksize = 64;   // 32, 64, … 4096
  bool double_quant = false;     // store absmax in 8 bits (double_quant.hpp)
  std::optional<DType> dtype{};  // round values to this dtype first; unset: leave them unchanged
};

/// A 4-bit tensor.
struct QuantizedTensor {
  QuantType type = QuantType::nf4;
  std::int64_t blocksize = 64;
  DType dtype = DType::f16;  // before quantization
  Shape shape{0};
  Tensor codes{};            // u8 [ceil(count / 2)], at any alignment
  Tensor absmax{};           // f32 [blocks]; u8 [blocks] when doubly quantized; at any alignment
  NestedConstants nested{};  // when doubly quantized

  std::int64_t count() const { return shape.count(); }
  std::int64_t blocks() const { return (count() + blocksize - 1) / blocksize; }
  bool double_quant() const { return static_cast<bool>(nested.absmax); }
  explicit operator bool() const { return static_cast<bool>(codes); }

  /// The value of each code before it is multiplied by absmax. The second zero of fp4 is negative
  /// in the kernel of bitsandbytes, which needs rows of even width; its fallback for other widths
  /// has no negative zero.
  Codebook table() const {
    Codebook values = codebook(type);
    const bool even = shape.rank() > 0 && shape[shape.rank() - 1] % 2 == 0;
    if (type == QuantType::fp4 && even) values[8] = -0.0f;
    return values;
  }

  /// absmax of the blocks from `begin`, in f32.
  void expand_absmax(std::int64_t begin, std::span<float> out) const {
    if (double_quant())
      nested.expand(reinterpret_cast<const std::uint8_t*>(absmax.raw()), begin, out);
    else
      std::memcpy(out.data(), absmax.raw() + static_cast<std::size_t>(begin) * sizeof(float),
                  out.size_bytes());
  }
};

namespace detail {

/// Whether bitsandbytes supports this block size.
constexpr bool is_blocksize(std::int64_t size) {
  return size >= 32 && size <= 4096 && std::has_single_bit(static_cast<std::uint64_t>(size));
}

inline constexpr std::int64_t max_blocksize = 4096;

/// Maps values to codes: rank = the number of thresholds below the value, code = order[rank].
struct CodeRule {
  std::array<float, 15> thresholds;    // midpoints of adjacent values, in f32
  std::array<std::uint8_t, 16> order;  // codes by ascending value

  explicit CodeRule(QuantType type) {
    const Codebook& values = codebook(type);
    std::iota(order.begin(), order.end(), std::uint8_t{0});
    std::ranges::stable_sort(order, {}, [&](std::uint8_t code) { return values[code]; });
    for (std::size_t i = 0; i < 15; ++i)
      thresholds[i] = (values[order[i]] + values[order[i + 1]]) / 2;
  }

  /// Both types have seven values below zero.
  std::uint8_t code_of_zero() const { return order[7]; }
};

}  // namespace detail

}}  // namespace idefics::v0
