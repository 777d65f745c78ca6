// What `idefics selftest` computes: every operation that does arithmetic, on fixed operands, and the
// hash that each result has on every machine. After an order of summation was changed on purpose,
// `idefics selftest --json` prints the hashes for the table below.
#pragma once

#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cpu/quantize.hpp>

namespace cli::selftest {

using namespace idefics;

/// 64-bit FNV-1a of the bytes of a tensor.
inline std::uint64_t hash_of(const Tensor& tensor) {
  std::uint64_t hash = 14695981039346656037u;
  for (std::size_t i = 0; i < tensor.bytes(); ++i)
    hash = (hash ^ std::to_integer<std::uint64_t>(tensor.raw()[i])) * 1099511628211u;
  return hash;
}

/// A hash as it is printed.
inline std::string hex(std::uint64_t hash) {
  std::string digits(16, '0');
  for (std::size_t i = 16; i-- > 0; hash >>= 4) digits[i] = "0123456789abcdef"[hash & 15];
  return digits;
}

/// Values in [-1, 1), the same on every machine (splitmix64).
inline Tensor values(DType dtype, Shape shape, std::uint64_t seed) {
  Tensor t = Tensor::empty(dtype, shape);
  for (std::size_t i = 0; i < static_cast<std::size_t>(t.count()); ++i) {
    std::uint64_t z = (seed << 40) + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    const float x = static_cast<float>(z >> 40) * 0x1p-23f - 1.0f;
    if (dtype == DType::f32)
      t.as_mutable<float>()[i] = x;
    else if (dtype == DType::f16)
      t.as_mutable<f16_t>()[i] = to_f16(x);
    else
      t.as_mutable<bf16_t>()[i] = to_bf16(x);
  }
  return t;
}

struct Computation {
  std::string name;
  std::function<Tensor(Backend&)> run;
};

/// Few rows and many rows use different kernels: both products, one after the other.
inline Tensor products(Backend& backend, const LinearWeight& weight, Compute compute) {
  const std::int64_t few = 3, many = 21, n = weight.rows();
  Tensor out = Tensor::empty(DType::f32, {few + many, n});
  const Tensor x = values(DType::f32, {few + many, weight.cols()}, 1);
  const Tensor bias = values(DType::f32, {n}, 2);
  backend.linear(out.slice(0, few), x.slice(0, few), weight, bias, compute);
  backend.linear(out.slice(few, few + many), x.slice(few, few + many), weight, bias, compute);
  return out;
}

inline Tensor product_4bit(Backend& backend, QuantType type, bool nested, Compute compute) {
  const auto* cpu = dynamic_cast<const CpuBackend*>(&backend);
  const QuantizeOptions options{.type = type, .double_quant = nested, .dtype = DType::f16};
  const Tensor plain = values(DType::f32, {37, 384}, 3);
  return products(backend,
                  {.packed = cpu == nullptr ? quantize_4bit(plain, options)
                                            : quantize_4bit(plain, options,
                                                            detail::cpu::kernels_for(cpu->isa()))},
                  compute);
}

inline Tensor attention(Backend& backend, bool weights, DType cached = DType::f32) {
  const std::int64_t queries = 11, keys = 45, heads = 3;
  const Tensor q = values(DType::f32, {queries, heads, 80}, 4),
               k = values(cached, {keys, heads, 80}, 5), v = values(cached, {keys, heads, 80}, 6);
  std::vector<std::int32_t> rows(static_cast<std::size_t>(keys));
  std::iota(rows.begin(), rows.end(), 0);
  const AttentionSegment segment{0, queries, rows, true};
  Tensor out = Tensor::empty(DType::f32, weights ? Shape{1, heads, keys} : q.shape());
  const std::int32_t query = 7;
  if (weights)
    backend.attention_weights(out, q, k, {&segment, 1}, {&query, 1}, 0.125f);
  else
    backend.attention(out, q, k, v, {&segment, 1}, 0.125f);
  return out;
}

inline void add_products(std::vector<Computation>& all) {
  const auto plain = [&](const char* name, DType dtype, Compute compute) {
    all.push_back({name, [=](Backend& b) {
                     return products(b, {.values = values(dtype, {37, 1083}, 3)}, compute);
                   }});
  };
  plain("linear, f32 weights", DType::f32, Compute::f32);
  plain("linear, f16 weights", DType::f16, Compute::f32);
  plain("linear, bf16 weights", DType::bf16, Compute::f32);
  plain("linear, bf16 order", DType::bf16, Compute::bf16);
  const auto packed = [&](const char* name, QuantType type, bool nested, Compute compute) {
    all.push_back({name, [=](Backend& b) { return product_4bit(b, type, nested, compute); }});
  };
  packed("linear, nf4", QuantType::nf4, false, Compute::f32);
  packed("linear, nf4, bf16 order", QuantType::nf4, false, Compute::bf16);
  packed("linear, fp4, double quantization", QuantType::fp4, true, Compute::f32);
  packed("linear, fp4, double, bf16 order", QuantType::fp4, true, Compute::bf16);
  all.push_back({"matmul", [](Backend& b) {
                   Tensor out = Tensor::empty(DType::f32, {5, 70});
                   b.matmul(out, values(DType::f32, {5, 203}, 7), values(DType::f32, {203, 70}, 8));
                   return out;
                 }});
}

/// Operations whose result has the shape of x.
inline void add_elementwise(std::vector<Computation>& all) {
  using Operation = void (*)(Backend&, Tensor out, const Tensor& x);
  const auto add = [&](const char* name, Operation operation) {
    all.push_back({name, [=](Backend& b) {
                     const Tensor x = values(DType::f32, {6, 2, 150}, 9);
                     Tensor out = Tensor::empty(DType::f32, x.shape());
                     std::ranges::copy(x.as<float>(), out.as_mutable<float>().begin());
                     operation(b, out, x);
                     return out;
                   }});
  };
  add("softmax", [](Backend& b, Tensor out, const Tensor& x) { b.softmax(out, x); });
  add("rms_norm", [](Backend& b, Tensor out, const Tensor& x) {
    b.rms_norm(out, x, values(DType::f32, {150}, 10), 1e-6f);
  });
  add("layer_norm", [](Backend& b, Tensor out, const Tensor& x) {
    b.layer_norm(out, x, values(DType::f32, {150}, 10), values(DType::f32, {150}, 11), 1e-5f);
  });
  add("gelu",
      [](Backend& b, Tensor out, const Tensor& x) { b.activation(out, x, Activation::gelu); });
  add("gated silu", [](Backend& b, Tensor out, const Tensor& x) {
    b.gated_activation(out, x, values(DType::f32, x.shape(), 12), Activation::silu);
  });
  add("add, multiply, scale", [](Backend& b, Tensor out, const Tensor& x) {
    b.add(out, x, values(DType::f32, {150}, 13));
    b.multiply(out, out, x);
    b.scale(out, out, 0.3f);
  });
  add("gated_add", [](Backend& b, Tensor out, const Tensor& x) {
    b.gated_add(out, x, values(DType::f32, {150}, 14));
  });
  add("rope", [](Backend& b, Tensor out, const Tensor&) {
    const std::int32_t positions[] = {0, 1, 2, 7, 8, 9};
    b.rope(out, values(DType::f32, {10, 75}, 15), values(DType::f32, {10, 75}, 16), positions);
  });
}

inline std::vector<Computation> computations() {
  std::vector<Computation> all;
  add_products(all);
  all.push_back({"attention", [](Backend& b) { return attention(b, false); }});
  all.push_back({"attention, bf16 keys and values",
                 [](Backend& b) { return attention(b, false, DType::bf16); }});
  all.push_back({"attention_weights", [](Backend& b) { return attention(b, true); }});
  add_elementwise(all);
  all.push_back(
      {"embedding", [](Backend& b) {
         const std::int32_t ids[] = {3, 0, 11, 9};
         Tensor out = Tensor::empty(DType::f32, {4, 33});
         b.embedding(out, ids, values(DType::bf16, {10, 33}, 17), values(DType::f16, {2, 33}, 18));
         return out;
       }});
  return all;
}

struct KnownHash {
  std::string_view name;
  std::uint64_t hash;
};

inline constexpr KnownHash known_hashes[] = {
    {"add, multiply, scale", 0xfd8535592f9b0e61},
    {"attention", 0x86813ff6917b2e03},
    {"attention, bf16 keys and values", 0x03a18c3ff7dec683},
    {"attention_weights", 0x4861021ee48d0f73},
    {"embedding", 0xfc6ad2382a4a6232},
    {"gated silu", 0x6a4072f542f2ad1b},
    {"gated_add", 0x88409e88ece97b40},
    {"gelu", 0xe3ee9e5cb2049210},
    {"layer_norm", 0x4e009a5c686548ac},
    {"linear, bf16 order", 0x8c0a765333722d42},
    {"linear, bf16 weights", 0xad5f6f552d2b4e72},
    {"linear, f16 weights", 0x22a6dc879824ee27},
    {"linear, f32 weights", 0xa55d888ef385ea6d},
    {"linear, fp4, double quantization", 0xc4318d2ee850a18f},
    {"linear, fp4, double, bf16 order", 0x85bb14a0242954f4},
    {"linear, nf4", 0xea5fb3a01323e348},
    {"linear, nf4, bf16 order", 0x7a41929a46afb915},
    {"logits, bf16", 0x4fe7ec8a4a1b21bb},
    {"logits, f32", 0x005696b5ded37095},
    {"logits, nf4", 0xffc96a236eae0cc6},
    {"matmul", 0x4c27fb5934bd7da4},
    {"pixels of a picture", 0xf06c0c8e51030693},
    {"rms_norm", 0x780db0755d18e2c5},
    {"rope", 0x73a9865658f6b186},
    {"softmax", 0x0cd49c33f6873a40},
};

inline std::optional<std::uint64_t> known_hash(std::string_view name) {
  for (const KnownHash& known : known_hashes)
    if (known.name == name) return known.hash;
  return std::nullopt;
}

}  // namespace cli::selftest
