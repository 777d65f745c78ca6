// 4-bit weights: values in blocks, each value the nearest of 16 fractions of its block's largest.
//
//   absmax[b] = max |x| over block b        code = the c whose codebook[c] is nearest to x / absmax[b]
//   x'        = codebook[code] * absmax[b]
//
// Source: bitsandbytes 0.50.2, quantize_4bit and dequantize_4bit on the CPU, equalled bit for bit by
// backend/cpu/quantize.hpp. Its rules where several would do:
//   * the tensor is flattened: blocks run over the ends of rows, and the last may be partial;
//   * a value halfway between two codes takes the lower value;
//   * x is multiplied by 1 / absmax; in a partial block it is divided by absmax;
//   * the absmax that divides is at least 1e-38; a partial block also stores it so;
//   * a NaN makes all codes of its block 15 (in order of value), an infinity its own code alone;
//   * the first of a pair is the high nibble; a lone last value is paired with the code of 0.
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
  bool double_quant = false;     // constants in 8 bits as well (double_quant.hpp)
  std::optional<DType> dtype{};  // what values are rounded to before; unset: as they are
};

/// A tensor in 4 bits.
struct QuantizedTensor {
  QuantType type = QuantType::nf4;
  std::int64_t blocksize = 64;
  DType dtype = DType::f16;  // what it was before
  Shape shape{0};
  Tensor codes{};            // u8 [ceil(count / 2)], at any alignment
  Tensor absmax{};           // f32 [blocks]; u8 [blocks] when doubly quantized; at any alignment
  NestedConstants nested{};  // when doubly quantized

  std::int64_t count() const { return shape.count(); }
  std::int64_t blocks() const { return (count() + blocksize - 1) / blocksize; }
  bool double_quant() const { return static_cast<bool>(nested.absmax); }
  explicit operator bool() const { return static_cast<bool>(codes); }

  /// What each code stands for, before absmax. The second zero of fp4 is negative where bitsandbytes'
  /// kernel computes it, which takes rows of even width; its fallback for others has none.
  Codebook table() const {
    Codebook values = codebook(type);
    const bool even = shape.rank() > 0 && shape[shape.rank() - 1] % 2 == 0;
    if (type == QuantType::fp4 && even) values[8] = -0.0f;
    return values;
  }

  /// absmax of the blocks from `begin` on, in f32.
  void expand_absmax(std::int64_t begin, std::span<float> out) const {
    if (double_quant())
      nested.expand(reinterpret_cast<const std::uint8_t*>(absmax.raw()), begin, out);
    else
      std::memcpy(out.data(), absmax.raw() + static_cast<std::size_t>(begin) * sizeof(float),
                  out.size_bytes());
  }
};

namespace detail {

/// Whether bitsandbytes takes this block size.
constexpr bool is_blocksize(std::int64_t size) {
  return size >= 32 && size <= 4096 && std::has_single_bit(static_cast<std::uint64_t>(size));
}

inline constexpr std::int64_t max_blocksize = 4096;

/// How values become codes: rank = the number of thresholds below the value, code = order[rank].
struct CodeRule {
  std::array<float, 15> thresholds;    // midpoints of neighbours, in f32
  std::array<std::uint8_t, 16> order;  // codes by their value

  explicit CodeRule(QuantType type) {
    const Codebook& values = codebook(type);
    std::iota(order.begin(), order.end(), std::uint8_t{0});
    std::ranges::stable_sort(order, {}, [&](std::uint8_t code) { return values[code]; });
    for (std::size_t i = 0; i < 15; ++i)
      thresholds[i] = (values[order[i]] + values[order[i + 1]]) / 2;
  }

  /// Seven values of either type are below zero.
  std::uint8_t code_of_zero() const { return order[7]; }
};

}  // namespace detail

}}  // namespace idefics::v0
