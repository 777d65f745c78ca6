// Matrices that multiply the same x in one launch give the bits of single products.
#include "cuda/elementwise.cuh"
#include "cuda/linear.cuh"
#include "cuda/linear_4bit.cuh"
#include "cuda/norm.cuh"

#include <bit>
#include <vector>

#include <idefics/backend/cpu/quantize.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

constexpr std::int64_t heights[] = {35, 16, 5};  // N of each matrix

/// Compares three matrices multiplied one by one, x rounded beforehand, and in one launch, x in f32 if
/// it has few rows, each block with several bands of weight rows.
template <class Matrix, class Run>
void check_group(std::int64_t m, std::int64_t k, const std::array<Matrix, 3>& weights,
                 const Run& run) {
  INFO("M " << m << " K " << k);
  const std::int64_t rows = heights[0] + heights[1] + heights[2];
  const Tensor x = tensor({m, k}, normals(m * k, 1)),
               residual = tensor({m, rows}, normals(m * rows, 5));
  const auto parts = [&](float* out) {
    std::array<cuda::GemvPart<Matrix>, 3> all;
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const float* const added = i == 1 ? data(residual) + m * begin : nullptr;
      all[i] = {out + m * begin, weights[i], {{}, added}, heights[i]};
      begin += heights[i];
    }
    return all;
  };
  Tensor rounded = Tensor::empty(DType::bf16, {m, cuda::rounded_width(k)});
  bf16_t* const xs = rounded.as_mutable<bf16_t>().data();
  cuda::round_rows(at_once(), xs, data(x), m, k);
  const auto in_bf16 = cuda::gemv_rows(std::as_const(xs), m, k);
  const Tensor alone = cuda_result({m * rows}, [&](float* out) {
    const auto all = parts(out);
    for (const auto& part : all)
      run(std::span<const cuda::GemvPart<Matrix>>(&part, 1), in_bf16, cuda::gemv_least_blocks);
  });
  const Tensor together = cuda_result({m * rows}, [&](float* out) {
    const auto all = parts(out);
    const std::span<const cuda::GemvPart<Matrix>> some(all);
    if (m > 8) return run(some, in_bf16, 2);
    run(some, cuda::gemv_rows(data(x), m, k), 2);
  });
  CHECK(different_bits(together, alone) == "");
}

/// Quantized matrices of the three heights.
struct FourBitParts {
  std::array<QuantizedTensor, 3> quantized;
  Codebook table = codebook(QuantType::nf4);
  std::array<cuda::FourBitMatrix, 3> weights;

  explicit FourBitParts(std::int64_t k, const std::array<QuantizeOptions, 3>& options) {
    for (std::size_t i = 0; i < 3; ++i) {
      const std::int64_t n = heights[i];
      quantized[i] =
          quantize_4bit(tensor({n, k}, normals(n * k, static_cast<unsigned>(i) + 2)), options[i]);
      const QuantizedTensor& q = quantized[i];
      weights[i].codes = reinterpret_cast<const std::uint8_t*>(q.codes.raw());
      weights[i].absmax = q.absmax.raw();
      if (q.double_quant()) {
        weights[i].nested = data(q.nested.absmax), weights[i].map = data(q.nested.map);
        weights[i].offset = q.nested.offset;
      }
      weights[i].block_shift = std::countr_zero(static_cast<std::uint64_t>(q.blocksize));
      weights[i].width = k;
      weights[i].table = table.data();
    }
  }
};

}  // namespace

TEST_CASE("plain matrices in one launch have the bits of single products") {
  for (const std::int64_t k : {192, 1152, 200}) {
    std::array<Tensor, 3> tensors;
    std::array<const bf16_t*, 3> weights;
    for (std::size_t i = 0; i < 3; ++i) {
      tensors[i] = stored(DType::bf16, {heights[i], k},
                          normals(heights[i] * k, static_cast<unsigned>(i) + 2));
      weights[i] = tensors[i].as<bf16_t>().data();
    }
    for (const std::int64_t m : {1, 8, 13})
      check_group<const bf16_t*>(m, k, weights,
                                 [k](auto parts, const auto& x, std::int64_t least_blocks) {
                                   cuda::gemv_bf16<bf16_t>(at_once(), parts, x, k, least_blocks);
                                 });
  }
}

TEST_CASE("4-bit matrices in one launch have the bits of single products") {
  const QuantizeOptions plain{}, twice{.double_quant = true}, wide{.blocksize = 128};
  for (const std::array<QuantizeOptions, 3>& options :
       {std::array{plain, plain, plain}, std::array{twice, twice, twice},
        std::array{plain, twice, plain}, std::array{plain, wide, twice}}) {
    const std::int64_t k = 1152;
    const FourBitParts parts(k, options);
    for (const std::int64_t m : {1, 8, 13})
      check_group<cuda::FourBitMatrix>(m, k, parts.weights,
                                       [](auto some, const auto& x, std::int64_t least_blocks) {
                                         cuda::gemv_4bit(at_once(), some, x, least_blocks);
                                       });
  }
}

TEST_CASE("norms, gated units and gates in products have the bits of kernels of their own") {
  const std::int64_t n = 35;
  for (const std::int64_t k : {192, 1152, 200})
    for (const std::int64_t m : {1, 2, 8}) {
      INFO("M " << m << " K " << k);
      const Tensor x = tensor({m, k}, normals(m * k, 1)), norm = tensor({k}, normals(k, 2)),
                   gate = stored(DType::bf16, {n, k}, normals(n * k, 3, 0.3f)),
                   up = stored(DType::bf16, {n, k}, normals(n * k, 4, 0.3f)),
                   residual = tensor({m, n}, normals(m * n, 5)), alpha = tensor({n}, normals(n, 6));
      const Tensor normed = cuda_result({m, k}, [&](float* out) {
        cuda::rms_norm(at_once(), out, data(x), floats(norm), m, k, 1e-5f);
      });
      using Part = cuda::GemvPart<const bf16_t*>;
      const auto multiply = [&](float* out, const auto& weights, const cuda::LinearEnd& end,
                                const auto& rows) {
        std::vector<Part> parts;
        for (const Tensor& weight : weights)
          parts.push_back({out, weight.template as<bf16_t>().data(), end, n});
        cuda::gemv_bf16<bf16_t>(at_once(), std::span<const Part>(parts), rows, k, 2,
                                parts.size() == 2);
      };
      const auto alone = [&](const Tensor& weight) {
        return cuda_result({m, n}, [&](float* out) {
          multiply(out, std::array{weight}, {}, cuda::gemv_rows(data(normed), m, k));
        });
      };
      const Tensor of_gate = alone(gate), of_up = alone(up);
      const auto rows = cuda::gemv_rows(data(x), m, k, data(norm), 1e-5f);
      const Tensor unit = cuda_result({m, n}, [&](float* out) {
        cuda::gated_activation(at_once(), out, data(of_gate), data(of_up), m * n, Activation::silu);
      });
      CHECK(different_bits(cuda_result({m, n},
                                       [&](float* out) {
                                         multiply(out, std::array{gate, up}, {}, rows);
                                       }),
                           unit) == "");
      for (const std::int64_t alphas : {std::int64_t{1}, n}) {
        const cuda::LinearEnd end{
            .residual = data(residual), .alpha = floats(alpha), .one_alpha = alphas == 1};
        const auto add = [&](float* in_out) {
          cuda::gated_add(at_once(), in_out, data(of_gate), floats(alpha), alphas, m, n);
        };
        const Tensor sum = cuda_result({m, n}, add, values_of(residual));
        CHECK(different_bits(
                  cuda_result({m, n},
                              [&](float* out) { multiply(out, std::array{gate}, end, rows); }),
                  sum) == "");
      }
    }
}

TEST_CASE("a norm in bf16 has the rounded values of one in f32") {
  for (const std::int64_t d : {64, 1152, 8256}) {
    const std::int64_t m = 3;
    const Tensor x = tensor({m, d}, normals(m * d, 1)), weight = tensor({d}, normals(d, 2));
    const Tensor exact = cuda_result({m, d}, [&](float* out) {
      cuda::rms_norm(at_once(), out, data(x), floats(weight), m, d, 1e-5f);
    });
    Tensor expected = Tensor::empty(DType::bf16, {m, d}),
           rounded = Tensor::empty(DType::bf16, {m, d});
    std::ranges::transform(exact.as<float>(), expected.as_mutable<bf16_t>().begin(), to_bf16);
    cuda_on_cpu::with_lane_orders(16, [&] {
      cuda::rms_norm(at_once(), rounded.as_mutable<bf16_t>().data(), data(x), floats(weight), m, d,
                     1e-5f);
      return 0;
    });
    CHECK(different_bits(rounded, expected) == "");
  }
}
