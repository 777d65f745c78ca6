// Tensors for tests: integers whose sums are exact, normally distributed values, and weights at
// unaligned addresses.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include <idefics/core/tensor.hpp>

namespace testing {

using Values = std::vector<float>;

/// Integers from -limit to limit: sums of their products are exact in every order.
inline Values integers(std::int64_t count, int limit, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> pick(-limit, limit);
  Values values(static_cast<std::size_t>(count));
  for (float& v : values) v = static_cast<float>(pick(random));
  return values;
}

inline Values normals(std::int64_t count, unsigned seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  Values values(static_cast<std::size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

/// The values rounded to `dtype`, `offset` bytes after a cache line, as weights are in a file.
inline idefics::Tensor stored(idefics::DType dtype, idefics::Shape shape, const Values& values,
                              std::size_t offset = 0) {
  using namespace idefics;
  const std::size_t size = size_of(dtype);
  auto bytes = detail::allocate(Checked(values.size()) * size + offset);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::byte* to = bytes.get() + offset + i * size;
    if (dtype == DType::f32) {
      std::memcpy(to, &values[i], size);
    } else {
      const std::uint16_t half =
          dtype == DType::bf16 ? to_bf16(values[i]).bits : to_f16(values[i]).bits;
      std::memcpy(to, &half, size);
    }
  }
  return Tensor::view_of(dtype, shape, bytes.get() + offset, bytes);
}

/// The same values as an ordinary activation: f32, writable.
inline idefics::Tensor tensor(idefics::Shape shape, const Values& values) {
  auto t = idefics::Tensor::empty(idefics::DType::f32, shape);
  std::ranges::copy(values, t.as_mutable<float>().begin());
  return t;
}

}  // namespace testing
