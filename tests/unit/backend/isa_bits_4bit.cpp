// 4-bit weights: the same bits for every instruction set, number of threads and number of rows; in
// f32 those of the dequantized matrix, in the bf16 order those that docs/determinism.md defines.
#include <array>
#include <cmath>
#include <cstring>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cpu/quantize.hpp>
#include <idefics/backend/reference/reference_backend.hpp>

#include "support/catch.hpp"
#include "support/random_tensors.hpp"

using namespace idefics;

namespace four_bit {

struct Case {
  std::int64_t n, k;
  QuantizeOptions options;
  float scale = 0.1f;
};

/// Rows of full blocks, small, short and long; rows with an odd number of 64-value groups, in small
/// and in long blocks; blocks that span the ends of rows, of even and odd width; blocks of several
/// rows; constants that are made of subnormal numbers.
std::vector<Case> cases() {
  std::vector<Case> all;
  const auto nf4 = QuantType::nf4, fp4 = QuantType::fp4;
  for (const bool twice : {false, true}) {
    all.push_back({21, 128, {nf4, 64, twice}});
    all.push_back({9, 1024, {fp4, 32, twice}});
    all.push_back({5, 2304, {nf4, 256, twice}});
    all.push_back({4, 4096, {nf4, 2048, twice}});
    all.push_back({11, 320, {nf4, 64, twice}});
    all.push_back({7, 192, {fp4, 256, twice}});
    all.push_back({23, 96, {fp4, 64, twice}});
    all.push_back({13, 53, {nf4, 32, twice}});
    all.push_back({17, 42, {fp4, 128, twice}});
    all.push_back({9, 256, {nf4, 64, twice}, 1e-37f});
  }
  return all;
}

LinearWeight quantized(const Case& c) {
  const auto values = testing::normals(c.n * c.k, 3, c.scale);
  LinearWeight weight;
  weight.packed = quantize_4bit(testing::tensor({c.n, c.k}, values), c.options);
  return weight;
}

Tensor product(Backend& backend, const Tensor& x, const LinearWeight& weight, const Tensor& bias,
               Compute compute) {
  Tensor out = Tensor::empty(DType::f32, {x.dim(0), weight.rows()});
  backend.linear(out, x, weight, bias, compute);
  return out;
}

bool equal(const Tensor& a, const Tensor& b) {
  return a.count() == b.count() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

float flushed(float x) { return std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

/// What lane l of one chunk adds to `total`: the pairs of its eight values, upper one first, scaled
/// by the absmax of their block. Where the values span two blocks, `second` selects the second one.
float lane_total(const float* x, const QuantizedTensor& q, std::int64_t row, std::int64_t at,
                 bool second, float total) {
  const std::int64_t k = q.shape[1], first = row * k;
  const std::int64_t block = (first + at) / q.blocksize + (second ? 1 : 0);
  const Codebook table = q.table();
  const auto* codes = reinterpret_cast<const std::uint8_t*>(q.codes.raw());
  const auto rounded = [](float v) { return flushed(to_f32(to_bf16(v))); };
  float sum = 0, absmax = 0;
  for (std::int64_t j = 0; j < 4; ++j)
    for (const std::int64_t i : {at + 4 + j, at + j}) {
      const std::int64_t flat = first + i;
      const bool inside = i < k && flat / q.blocksize == block;
      const int code = inside ? (flat % 2 == 0 ? codes[flat / 2] >> 4 : codes[flat / 2] & 15) : 0;
      const float w = inside ? table[static_cast<std::size_t>(code)] : 0.0f;
      sum = flushed(std::fma(i < k ? rounded(x[i]) : 0.0f, rounded(w), sum));
      if (inside) q.expand_absmax(block, {&absmax, 1});
    }
  return flushed(std::fma(sum, flushed(absmax), total));
}

/// The bf16 order of one output.
float in_order(const float* x, const QuantizedTensor& q, std::int64_t row) {
  std::array<float, 16> totals{};
  for (std::int64_t chunk = 0; chunk < q.shape[1]; chunk += 128)
    for (const bool second : {false, true})
      for (std::size_t l = 0; l < 16 && (!second || q.shape[1] % 8 != 0); ++l)
        totals[l] =
            lane_total(x, q, row, chunk + 8 * static_cast<std::int64_t>(l), second, totals[l]);
  for (std::size_t half = 8; half > 0; half /= 2)
    for (std::size_t l = 0; l < half; ++l) totals[l] = flushed(totals[l] + totals[l + half]);
  return totals[0];
}

Tensor in_order(const Tensor& x, const QuantizedTensor& q, const Tensor& bias) {
  Tensor out = Tensor::empty(DType::f32, {x.dim(0), q.shape[0]});
  for (std::int64_t m = 0; m < x.dim(0); ++m)
    for (std::int64_t n = 0; n < q.shape[0]; ++n)
      out.as_mutable<float>()[static_cast<std::size_t>(m * q.shape[0] + n)] = flushed(
          in_order(x.as<float>().data() + m * q.shape[1], q, n) + detail::element_as_f32(bias, n));
  return out;
}

}  // namespace four_bit

TEST_CASE("4-bit products in f32 are those of the dequantized matrix, bit for bit") {
  for (const auto& c : four_bit::cases()) {
    const LinearWeight packed = four_bit::quantized(c);
    const LinearWeight plain{.values = dequantize_4bit(packed.packed)};
    const Tensor bias = testing::tensor({c.n}, testing::normals(c.n, 5, 10 * c.scale));
    for (const std::int64_t m : {1, 3, 8, 13}) {
      const Tensor x = testing::tensor({m, c.k}, testing::normals(m * c.k, 7));
      const Tensor expected = four_bit::product(*make_cpu_backend(), x, plain, bias, Compute::f32);
      for (const Isa isa : available_isas())
        for (const int threads : {1, 3}) {
          set_num_threads(threads);
          CAPTURE(c.n, c.k, c.options.blocksize, c.options.double_quant, m, static_cast<int>(isa));
          CHECK(four_bit::equal(
              four_bit::product(*make_cpu_backend(isa), x, packed, bias, Compute::f32), expected));
        }
    }
  }
  set_num_threads(0);
}

TEST_CASE("4-bit products in the bf16 order scale the sums of blocks, bit for bit") {
  for (const auto& c : four_bit::cases()) {
    const LinearWeight packed = four_bit::quantized(c);
    const Tensor bias = testing::tensor({c.n}, testing::normals(c.n, 5, 10 * c.scale));
    for (const std::int64_t m : {1, 3, 8, 13}) {
      const Tensor x = testing::tensor({m, c.k}, testing::normals(m * c.k, 7));
      const Tensor expected = four_bit::in_order(x, packed.packed, bias);
      for (const Isa isa : available_isas())
        for (const int threads : {1, 3}) {
          set_num_threads(threads);
          CAPTURE(c.n, c.k, c.options.blocksize, c.options.double_quant, m, static_cast<int>(isa));
          CHECK(four_bit::equal(
              four_bit::product(*make_cpu_backend(isa), x, packed, bias, Compute::bf16), expected));
        }
    }
  }
  set_num_threads(0);
}

TEST_CASE("every instruction set quantizes and dequantizes to the same bits") {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const std::int64_t count : {1, 63, 64, 10007}) {
      auto values = testing::normals(count, 11);
      for (std::size_t i = 0; i < values.size(); i += 97) values[i] = i % 2 == 0 ? HUGE_VALF : NAN;
      const Tensor x = testing::stored(dtype, {count}, values, 1);
      for (const QuantType type : {QuantType::nf4, QuantType::fp4}) {
        const auto scalar = detail::cpu::kernels_for(Isa::scalar);
        const QuantizedTensor expected = quantize_4bit(x, {type, 64, false}, scalar);
        for (const Isa isa : available_isas()) {
          const auto kernels = detail::cpu::kernels_for(isa);
          const QuantizedTensor q = quantize_4bit(x, {type, 64, false}, kernels);
          CAPTURE(name_of(dtype), count, static_cast<int>(isa));
          CHECK(four_bit::equal(q.codes, expected.codes));
          CHECK(four_bit::equal(q.absmax, expected.absmax));
          CHECK(four_bit::equal(dequantize_4bit(q, kernels), dequantize_4bit(q, scalar)));
        }
      }
    }
}

TEST_CASE("4-bit products are the reference's within 1e-5") {
  for (const auto& c : four_bit::cases()) {
    const LinearWeight packed = four_bit::quantized(c);
    const Tensor x = testing::tensor({3, c.k}, testing::normals(3 * c.k, 7));
    for (const Compute compute : {Compute::f32, Compute::bf16}) {
      const Tensor ours = four_bit::product(*make_cpu_backend(), x, packed, {}, compute);
      const Tensor right = four_bit::product(*make_reference_backend(), x, packed, {}, compute);
      double worst = 0;
      for (std::size_t i = 0; i < ours.as<float>().size(); ++i)
        worst = std::max(worst,
                         static_cast<double>(std::abs(ours.as<float>()[i] - right.as<float>()[i])));
      CAPTURE(c.n, c.k, compute == Compute::bf16);
      CHECK(worst < 1e-5);
    }
  }
}
