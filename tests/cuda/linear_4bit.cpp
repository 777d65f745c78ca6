// Tests of the CUDA kernels for linear layers with 4-bit weights, run on the CPU by
// tests/support/cuda_on_cpu/.
#include "cuda/linear_4bit.cuh"

#include <bit>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cpu/quantize.hpp>
#include <idefics/backend/reference/linear.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

struct Product {
  Tensor x;           // [M,K]
  QuantizedTensor w;  // [N,K]
  Codebook table;     // the values of its codes
  Tensor bias{};      // [N] or empty
  Tensor residual{};  // [M,N] or empty

  std::int64_t m() const { return x.dim(0); }
  std::int64_t n() const { return w.shape[0]; }
  std::int64_t k() const { return x.dim(1); }
  cuda::LinearEnd end() const { return {floats(bias), residual ? data(residual) : nullptr}; }
  Product rows(std::int64_t begin, std::int64_t end) const {
    Product some = *this;
    some.x = x.slice(begin, end);
    if (residual) some.residual = residual.slice(begin, end);
    return some;
  }
};

/// Pointers into the tensors of a product, which are aligned to 16 bytes like those of the device.
cuda::FourBitMatrix matrix(const Product& p) {
  cuda::FourBitMatrix m;
  m.codes = reinterpret_cast<const std::uint8_t*>(p.w.codes.raw());
  m.absmax = p.w.absmax.raw();
  if (p.w.double_quant()) {
    m.nested = data(p.w.nested.absmax);
    m.map = data(p.w.nested.map);
    m.offset = p.w.nested.offset;
  }
  m.block_shift = std::countr_zero(static_cast<std::uint64_t>(p.w.blocksize));
  m.width = p.k();
  m.table = p.table.data();
  return m;
}

Product random_product(std::int64_t m, std::int64_t n, std::int64_t k, const QuantizeOptions& o) {
  Product p{
      tensor({m, k}, normals(m * k, 1)), quantize_4bit(tensor({n, k}, normals(n * k, 2)), o), {}};
  p.table = p.w.table();
  return p;
}

/// Codes for integers, scaled by integers.
Product integer_product(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t blocksize) {
  Product p = random_product(m, n, k, {.blocksize = blocksize});
  p.x = tensor({m, k}, integers(m * k, 4, 3));
  for (std::size_t i = 0; i < 16; ++i) p.table[i] = static_cast<float>(i) - 8.0f;
  p.w.absmax = tensor(p.w.absmax.shape(), integers(p.w.absmax.count(), 3, 4));
  p.bias = tensor({n}, integers(n, 9, 5));
  p.residual = tensor({m, n}, integers(m * n, 9, 6));
  return p;
}

Tensor f32_order(const Product& p) {
  return cuda_result({p.m(), p.n()}, [&](float* out) {
    cuda::linear_4bit_f32(at_once(), out, data(p.x), matrix(p), false, p.end(), p.m(), p.n());
  });
}

Tensor bf16_order(const Product& p) {
  const cuda::FourBitMatrix w = matrix(p);
  return cuda_result({p.m(), p.n()}, [&](float* out) {
    if (!w.rows_hold_whole_blocks())
      return cuda::linear_4bit_f32(at_once(), out, data(p.x), w, true, p.end(), p.m(), p.n());
    Tensor rounded = Tensor::empty(DType::bf16, {p.m(), cuda::rounded_width(p.k())});
    cuda::linear_4bit_bf16(at_once(), out, data(p.x), rounded.as_mutable<bf16_t>().data(), w,
                           p.end(), p.m(), p.n());
  });
}

Tensor expected(const Product& p, Compute compute) {
  Tensor out = Tensor::empty(DType::f32, {p.m(), p.n()});
  reference::linear(out, p.x, {{}, p.w}, p.bias, compute);
  return out;
}

Tensor exact(const Product& p) {
  Tensor out = Tensor::empty(DType::f32, {p.m(), p.n()});
  const auto sums = out.as_mutable<float>();
  const cuda::FourBitMatrix w = matrix(p);
  for (std::int64_t i = 0; i < p.m() * p.n(); ++i) {
    const std::int64_t m = i / p.n(), n = i % p.n();
    float sum = p.bias.as<float>()[static_cast<std::size_t>(n)] +
                p.residual.as<float>()[static_cast<std::size_t>(i)];
    for (std::int64_t k = 0; k < p.k(); ++k)
      sum += data(p.x)[m * p.k() + k] * w.table[w.code_at(n * p.k() + k)] *
             w.absmax_of((n * p.k() + k) >> w.block_shift);
    sums[static_cast<std::size_t>(i)] = sum;
  }
  return out;
}

/// How far element i may be from the exact value.
double bound(const Product& p, std::int64_t i) {
  const LinearWeight weight{{}, p.w};
  const Eigen::VectorXd x = reference::plain_row(p.x, i / p.n(), p.k(), Compute::bf16);
  const Eigen::VectorXd w = reference::weight_row(weight, i % p.n(), Compute::bf16);
  return tolerance(p.k(), x.cwiseAbs().dot(w.cwiseAbs()), Compute::bf16);
}

}  // namespace

TEST_CASE("CUDA linear_4bit in the f32 order gives the bits of the CPU backend") {
  const auto cpu = make_cpu_backend();
  for (const QuantType type : {QuantType::nf4, QuantType::fp4})
    for (const std::int64_t k : {1, 33, 64, 96, 100, 1120})
      for (const std::int64_t m : {1, 3, 9})
        for (const bool twice : {false, true}) {
          INFO(name_of(type) << " K " << k << " M " << m << (twice ? " double" : ""));
          const Product p =
              random_product(m, 19, k, {.type = type, .blocksize = 32, .double_quant = twice});
          Tensor same = Tensor::empty(DType::f32, {m, 19});
          cpu->linear(same, p.x, {{}, p.w}, {}, Compute::f32);
          CHECK(different_bits(f32_order(p), same) == "");
        }
}

TEST_CASE("CUDA linear_4bit is exact on whole numbers, with bias and residual") {
  for (const std::int64_t blocksize : {32, 64, 128})
    for (const std::int64_t k : {96, 128, 50, 640})
      for (const std::int64_t m : {1, 12, 20}) {
        INFO("block " << blocksize << " K " << k << " M " << m);
        const Product p = integer_product(m, 18, k, blocksize);
        CHECK(different_bits(bf16_order(p), exact(p)) == "");
        if (m < 20) CHECK(different_bits(f32_order(p), exact(p)) == "");
      }
}

TEST_CASE("CUDA linear_4bit in the bf16 order is the reference's within rounding") {
  for (const QuantType type : {QuantType::nf4, QuantType::fp4})
    for (const std::int64_t k : {64, 37, 320, 1088})
      for (const std::int64_t m : {1, 17}) {
        INFO(name_of(type) << " K " << k << " M " << m);
        const Product p = random_product(m, 17, k, {.type = type, .double_quant = k == 320});
        CHECK(beyond(bf16_order(p), expected(p, Compute::bf16),
                     [&](std::int64_t i) { return bound(p, i); }) == "");
      }
}

TEST_CASE("CUDA linear_4bit in the bf16 order does not depend on how rows are grouped") {
  for (const std::int64_t blocksize : {32, 64, 128})
    for (const bool twice : {false, true})
      for (const std::int64_t k : {384, 70, 2624}) {
        INFO("block " << blocksize << " K " << k << (twice ? " double" : ""));
        const Product p =
            random_product(18, k == 2624 ? 17 : 35, k,
                           {.type = QuantType::nf4, .blocksize = blocksize, .double_quant = twice});
        const Tensor all = bf16_order(p);
        for (const std::int64_t most : {1, 7, 11})
          CHECK(different_bits(bf16_order(p.rows(18 - most, 18)), all.slice(18 - most, 18)) == "");
      }
}
