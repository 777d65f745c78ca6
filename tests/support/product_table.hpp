// Products with weights of every kind in both orders, and the hashes that they have on every machine:
// one hash for all numbers of rows and widths of a kind. After an order of summation was changed on
// purpose, the failing test prints the hashes for the table below.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "samples/cli/selftest_work.hpp"

namespace idefics::testing {

enum class Weights { f32, f16, bf16, nf4, fp4, nf4_double, int8 };

struct KnownProduct {
  Weights weights;
  Compute compute;
  std::uint64_t hash;
};

inline constexpr KnownProduct known_products[] = {
    {Weights::f32, Compute::f32, 0x1093556699d1257f},
    {Weights::f16, Compute::f32, 0x2bd02fced242f741},
    {Weights::bf16, Compute::f32, 0xed76cbe4453b4b44},
    {Weights::nf4, Compute::f32, 0xb8b6286db806e679},
    {Weights::fp4, Compute::f32, 0x417f6dbb5e964a8f},
    {Weights::nf4_double, Compute::f32, 0x48765e8b789cb8b7},
    {Weights::int8, Compute::f32, 0x5453c0f5596e2186},
    {Weights::f32, Compute::bf16, 0x3f1dd0e652162de2},
    {Weights::f16, Compute::bf16, 0x6e6254b47a2402dd},
    {Weights::bf16, Compute::bf16, 0x3f1dd0e652162de2},
    {Weights::nf4, Compute::bf16, 0x2bfbda5ce0885f0a},
    {Weights::fp4, Compute::bf16, 0xa37e88d7234ebe48},
    {Weights::nf4_double, Compute::bf16, 0x58be65880443c72e},
    {Weights::int8, Compute::bf16, 0x462c79043bb6f703},
};

inline std::string name_of(const KnownProduct& p) {
  constexpr std::array names{"f32", "f16", "bf16", "nf4", "fp4", "nf4_double", "int8"};
  return std::string(names[static_cast<std::size_t>(p.weights)]) + " weights, " +
         (p.compute == Compute::bf16 ? "bf16" : "f32") + " order";
}

inline LinearWeight weight_of(Weights kind, const Tensor& plain,
                              const detail::cpu::KernelTable& kernels) {
  switch (kind) {
    case Weights::f32: return {.values = plain};
    case Weights::f16: return {.values = convert(plain, DType::f16)};
    case Weights::bf16: return {.values = convert(plain, DType::bf16)};
    case Weights::int8: return {.int8 = quantize_int8(plain, DType::f16, 0.9f, kernels)};
    default:
      return {.packed =
                  quantize_4bit(plain,
                                {.type = kind == Weights::fp4 ? QuantType::fp4 : QuantType::nf4,
                                 .double_quant = kind == Weights::nf4_double},
                                kernels)};
  }
}

/// The hash of products for few and many rows of x, and for widths that leave a part of a vector, of
/// a block and of a block of K.
inline std::uint64_t product_hash(Backend& backend, const KnownProduct& p,
                                  const detail::cpu::KernelTable& kernels) {
  constexpr std::int64_t n = 23;
  std::vector<float> all;
  for (const std::int64_t k : {1, 40, 64, 392, 1152, 2085})
    for (const std::int64_t m : {1, 2, 3, 4, 5, 8, 9, 16, 37}) {
      Tensor x = cli::selftest::values(DType::f32, {m, k}, 31);
      const bool tiny = m % 2 == 1;  // the last row, whose products are subnormal
      for (std::int64_t i = tiny ? (m - 1) * k : m * k; i < m * k; ++i)
        x.as_mutable<float>()[static_cast<std::size_t>(i)] *= 0x1p-125f;
      const Tensor bias = tiny ? Tensor{} : cli::selftest::values(DType::f32, {n}, 32);
      const Tensor plain = cli::selftest::values(DType::f32, {n, k}, 33);
      Tensor out = Tensor::empty(DType::f32, {m, n});
      backend.linear(out, x, weight_of(p.weights, plain, kernels), bias, p.compute);
      all.insert(all.end(), out.as<float>().begin(), out.as<float>().end());
    }
  return cli::selftest::hash_of(Tensor::view_of(DType::f32, {std::ssize(all)},
                                                reinterpret_cast<const std::byte*>(all.data())));
}

}  // namespace idefics::testing
