// Matrices that multiply the same x in one launch give the bits of single products.
#include "cuda/linear.cuh"
#include "cuda/linear_4bit_gemm.cuh"

#include <bit>

#include <idefics/backend/cpu/quantize.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

constexpr std::int64_t k = 192, heights[] = {35, 16, 5};  // N of each matrix

/// Compares three matrices multiplied one by one, x rounded beforehand, and in one launch, x
/// rounded when loaded.
template <class Matrix, class Run>
void check_group(std::int64_t m, const std::array<Matrix, 3>& weights, const Run& run) {
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
  const Tensor alone = cuda_result({m * rows}, [&](float* out) {
    const auto all = parts(out);
    for (const auto& part : all)
      run(std::span<const cuda::GemvPart<Matrix>>(&part, 1),
          cuda::gemv_rows(std::as_const(xs), m, k));
  });
  const Tensor together = cuda_result({m * rows}, [&](float* out) {
    const auto all = parts(out);
    run(std::span<const cuda::GemvPart<Matrix>>(all), cuda::gemv_rows(data(x), m, k));
  });
  CHECK(different_bits(together, alone) == "");
}

}  // namespace

TEST_CASE("plain matrices in one launch have the bits of single products") {
  std::array<Tensor, 3> tensors;
  std::array<const bf16_t*, 3> weights;
  for (std::size_t i = 0; i < 3; ++i) {
    tensors[i] =
        stored(DType::bf16, {heights[i], k}, normals(heights[i] * k, static_cast<unsigned>(i) + 2));
    weights[i] = tensors[i].as<bf16_t>().data();
  }
  for (const std::int64_t m : {1, 8, 13})
    check_group<const bf16_t*>(m, weights, [](auto parts, const auto& x) {
      cuda::gemv_bf16<bf16_t>(at_once(), parts, x, k);
    });
}

TEST_CASE("4-bit matrices in one launch have the bits of single products") {
  std::array<QuantizedTensor, 3> quantized;
  std::array<cuda::FourBitMatrix, 3> weights;
  const Codebook table = codebook(QuantType::nf4);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::int64_t n = heights[i];
    quantized[i] = quantize_4bit(tensor({n, k}, normals(n * k, static_cast<unsigned>(i) + 2)), {});
    weights[i].codes = reinterpret_cast<const std::uint8_t*>(quantized[i].codes.raw());
    weights[i].absmax = quantized[i].absmax.raw();
    weights[i].block_shift = std::countr_zero(static_cast<std::uint64_t>(quantized[i].blocksize));
    weights[i].width = k;
    weights[i].table = table.data();
  }
  for (const std::int64_t m : {1, 8, 13})
    check_group<cuda::FourBitMatrix>(
        m, weights, [](auto parts, const auto& x) { cuda::gemv_4bit(at_once(), parts, x); });
}
