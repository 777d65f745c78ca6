// Element types, their sizes, and scalar conversions between f32 and the 16-bit floats.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include <idefics/core/error.hpp>

namespace idefics { inline namespace v0 {

enum class DType : std::uint8_t { f32, f16, bf16, i32, i64, i8, u8, boolean };

constexpr std::size_t size_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32:
    case DType::i32: return 4;
    case DType::f16:
    case DType::bf16: return 2;
    case DType::i64: return 8;
    case DType::i8:
    case DType::u8:
    case DType::boolean: return 1;
  }
  return 0;
}

constexpr std::string_view name_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::f16: return "f16";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
    case DType::i64: return "i64";
    case DType::i8: return "i8";
    case DType::u8: return "u8";
    case DType::boolean: return "bool";
  }
  return "unknown";
}

constexpr bool is_float(DType dtype) noexcept {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

/// Storage of a bfloat16: the upper half of an f32.
struct bf16_t {
  std::uint16_t bits;
};
/// Storage of an IEEE half.
struct f16_t {
  std::uint16_t bits;
};

constexpr float to_f32(float x) noexcept { return x; }

constexpr float to_f32(bf16_t x) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

/// Exact for every half, including subnormals, infinities and NaNs.
constexpr float to_f32(f16_t x) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u)  // infinity or NaN
    return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  if (magnitude >= 0x0400u)  // normal: move the exponent bias from 15 to 127
    return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
  const float value = static_cast<float>(magnitude) * 0x1p-24f;  // subnormal: units of 2^-24
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
}

/// Rounds to nearest, ties to even; NaN stays NaN.
constexpr bf16_t to_bf16(float x) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

/// Rounds to nearest, ties to even; values out of range become infinity; NaN stays NaN.
constexpr f16_t to_f16(float x) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  auto with_sign = [sign](std::uint32_t half) {
    return f16_t{static_cast<std::uint16_t>(sign | half)};
  };
  if (magnitude > 0x7f800000u) return with_sign(0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return with_sign(0x7c00u);  // 65520 and above round to infinity
  if (magnitude >= 0x38800000u) {                           // normal half
    const std::uint32_t rebased = magnitude - 0x38000000u;
    return with_sign((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13);
  }
  // Subnormal half: adding 0.5 aligns the last kept bit with the last bit of the f32 and rounds.
  const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
  return with_sign(std::bit_cast<std::uint32_t>(aligned) - 0x3f000000u);
}

template <class T>
constexpr T from_f32(float x) noexcept {
  if constexpr (sizeof(T) == 4)
    return x;
  else if constexpr (requires { T(to_bf16(x)); })
    return to_bf16(x);
  else
    return to_f16(x);
}

/// The C++ types that elements are written as.
template <class T>
concept Element =
    std::is_same_v<T, float> || std::is_same_v<T, f16_t> || std::is_same_v<T, bf16_t> ||
    std::is_same_v<T, std::int32_t> || std::is_same_v<T, std::int64_t> ||
    std::is_same_v<T, std::int8_t> || std::is_same_v<T, std::uint8_t> || std::is_same_v<T, bool>;

template <Element T>
constexpr DType dtype_of() noexcept {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, f16_t>) return DType::f16;
  if constexpr (std::is_same_v<T, bf16_t>) return DType::bf16;
  if constexpr (std::is_same_v<T, std::int32_t>) return DType::i32;
  if constexpr (std::is_same_v<T, std::int64_t>) return DType::i64;
  if constexpr (std::is_same_v<T, std::int8_t>) return DType::i8;
  if constexpr (std::is_same_v<T, std::uint8_t>) return DType::u8;
  if constexpr (std::is_same_v<T, bool>) return DType::boolean;
}

namespace detail {

/// Whether elements of `dtype` are stored as T.
template <class T>
constexpr bool stores(DType dtype) noexcept;
template <>
constexpr bool stores<float>(DType d) noexcept {
  return d == DType::f32;
}
template <>
constexpr bool stores<f16_t>(DType d) noexcept {
  return d == DType::f16;
}
template <>
constexpr bool stores<bf16_t>(DType d) noexcept {
  return d == DType::bf16;
}
template <>
constexpr bool stores<std::int32_t>(DType d) noexcept {
  return d == DType::i32;
}
template <>
constexpr bool stores<std::int64_t>(DType d) noexcept {
  return d == DType::i64;
}
template <>
constexpr bool stores<std::int8_t>(DType d) noexcept {
  return d == DType::i8;
}
template <>
constexpr bool stores<std::uint8_t>(DType d) noexcept {
  return d == DType::u8 || d == DType::boolean;
}

}  // namespace detail

}}  // namespace idefics::v0
