// Double quantization: the absmax of 4-bit blocks, quantized to 8 bits in blocks of 256.
//
//   offset    = mean of all absmax
//   nested[b] = max |absmax - offset| over block b
//   code      = about the c with map[c] nearest to (absmax - offset) / nested[b]
//   absmax'   = map[code] * nested[b] + offset
//
// Source: bitsandbytes 0.50.2, quantize_blockwise on the CPU, reproduced bit for bit. Its kernel
// first rounds to one of 65,536 even steps and then takes the map entry nearest to that step, so
// zero has code 131.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <idefics/core/tensor.hpp>
#include <idefics/core/threads.hpp>
#include <idefics/quant/codebook.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// The sum of `x` in the order of torch on one thread with registers of eight f32: registers are
/// added to four accumulators in turn, which are added to those of the next level after every full
/// step, and so on. The last bit of a mean depends on this order; on other machines or with other
/// thread counts torch has other orders.
inline float torch_sum(std::span<const float> x) {
  using Eight = std::array<float, 8>;
  const auto add = [](Eight& to, const Eight& from) {
    for (std::size_t i = 0; i < 8; ++i) to[i] += from[i];
  };
  const std::size_t registers = x.size() / 8, rows = registers / 4;
  const auto load = [&](std::size_t i) {
    Eight eight;
    std::copy_n(x.data() + 8 * i, 8, eight.begin());
    return eight;
  };
  // log2 of rows, rounded up
  const int log = rows < 2 ? 0 : static_cast<int>(std::bit_width(rows - 1));
  const int power = std::max(4, log / 4);
  const std::size_t step = std::size_t{1} << power;
  Eight sums[4][4] = {};  // [level][accumulator]
  for (std::size_t row = 0; row < rows;) {
    for (std::size_t a = 0; a < 4; ++a) add(sums[0][a], load(4 * row + a));
    if (++row % step != 0) continue;
    for (int level = 1; level < 4; ++level) {
      for (std::size_t a = 0; a < 4; ++a) {
        add(sums[level][a], sums[level - 1][a]);
        sums[level - 1][a] = {};
      }
      if ((row & ((step - 1) << (level * power))) != 0) break;
    }
  }
  for (int level = 1; level < 4; ++level)
    for (std::size_t a = 0; a < 4; ++a) add(sums[0][a], sums[level][a]);
  for (std::size_t i = 4 * rows; i < registers; ++i) add(sums[0][0], load(i));
  for (std::size_t a = 1; a < 4; ++a) add(sums[0][0], sums[0][a]);
  float sum = 0;
  for (std::size_t i = 8 * registers; i < x.size(); ++i) sum += x[i];
  for (const float lane : sums[0][0]) sum += lane;
  return sum;
}

inline constexpr std::size_t nearest_steps = 65536;

/// For each of 65,536 even steps from -1 to 1, the code of the nearest entry of the map, the lower
/// one on a tie. A function, because compilers would evaluate a lambda in the initializer of the
/// table at compile time, in every translation unit.
inline std::vector<std::uint8_t> make_nearest_of_step() {
  std::vector<std::uint8_t> nearest(nearest_steps);
  std::size_t code = 0;
  for (std::size_t k = 0; k < nearest_steps; ++k) {
    const double x = -1.0 + 2.0 * static_cast<double>(k) / 65535.0;
    const auto distance = [x](std::size_t c) {
      return std::abs(static_cast<double>(dynamic_map()[c]) - x);
    };
    while (code < 255 && distance(code + 1) < distance(code)) ++code;
    nearest[k] = static_cast<std::uint8_t>(code);
  }
  return nearest;
}

inline const std::vector<std::uint8_t>& nearest_of_step() {
  static const std::vector<std::uint8_t> table = make_nearest_of_step();
  return table;
}

/// a * b rounded to f32 before anything is added: compilers do not fuse a product that is cast.
inline float rounded_product(float a, float b) {
  return static_cast<float>(static_cast<double>(a) * static_cast<double>(b));
}

/// The 8-bit code of a value already divided by the largest magnitude of its block; 0 for NaN.
inline std::uint8_t dynamic_code(float v) {
  const float step = rounded_product(v + 1.0f, 32767.5f) + 0.5f;
  return step >= 0 ? nearest_of_step()[static_cast<std::size_t>(std::min(step, 65535.0f))]
                   : std::uint8_t{0};
}

}  // namespace detail

/// The data that turns the 8-bit constants of a tensor back into absmax.
struct NestedConstants {
  static constexpr std::int64_t blocksize = 256;

  Tensor absmax;  // f32 [ceil(constants / 256)]; empty: no double quantization
  Tensor map;     // f32 [256]
  float offset = 0;

  /// Writes the codes of `values` to `codes`; returns the constants that expand them again.
  static NestedConstants quantize(std::span<const float> values, std::span<std::uint8_t> codes) {
    const auto size = static_cast<std::size_t>(blocksize), count = values.size();
    NestedConstants nested;
    nested.offset = detail::torch_sum(values) / static_cast<float>(count);
    nested.map = Tensor::empty(DType::f32, {256});
    std::ranges::copy(detail::dynamic_map(), nested.map.as_mutable<float>().begin());
    nested.absmax = Tensor::empty(DType::f32, {static_cast<std::int64_t>((count + 255) / size)});
    const auto one_block = [&](std::size_t begin) {
      const std::size_t end = std::min(begin + size, count);
      float largest = 0;
      for (std::size_t i = begin; i < end; ++i)
        if (const float m = std::abs(values[i] - nested.offset); m > largest) largest = m;
      nested.absmax.as_mutable<float>()[begin / size] = largest;
      for (std::size_t i = begin; i < end; ++i)
        codes[i] = largest == 0 ? std::uint8_t{0}
                                : detail::dynamic_code((values[i] - nested.offset) / largest);
    };
    constexpr std::int64_t min_blocks = 64;  // that are worth another thread
    parallel_ranges(nested.absmax.count(), min_blocks, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end; ++b) one_block(static_cast<std::size_t>(b) * size);
    });
    return nested;
  }

  /// The constants from index `begin`; codes[0] is the code of constant 0.
  void expand(const std::uint8_t* codes, std::int64_t begin, std::span<float> out) const {
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::int64_t at = begin + static_cast<std::int64_t>(i);
      out[i] = detail::rounded_product(detail::element_as_f32(map, codes[at]),
                                       detail::element_as_f32(absmax, at / blocksize)) +
               offset;
    }
  }
};

}}  // namespace idefics::v0
