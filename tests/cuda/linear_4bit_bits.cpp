// One order, many kernels: products with 4-bit weights in the bf16 order have the same bits in the
// kernel for few rows, in tiles of mma.sync and in tiles of wgmma.
#include "cuda/linear_4bit_hopper.cuh"

#include <bit>

#include <idefics/backend/cpu/quantize.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

constexpr std::int64_t outputs = 19;

struct Operands {
  Tensor x;           // [M,K] in bf16
  QuantizedTensor w;  // [19,K]
  Codebook table;
  Tensor bias, residual;

  Operands(std::int64_t m, std::int64_t k, const QuantizeOptions& options)
      : x(stored(DType::bf16, {m, k}, normals(m * k, 1))),
        w(quantize_4bit(tensor({outputs, k}, normals(outputs * k, 2)), options)),
        table(w.table()),
        bias(stored(DType::f16, {outputs}, normals(outputs, 3))),
        residual(tensor({m, outputs}, normals(m * outputs, 4))) {}

  std::int64_t m() const { return x.dim(0); }
  std::int64_t k() const { return x.dim(1); }
  const bf16_t* row(std::int64_t m) const { return x.as<bf16_t>().data() + m * k(); }
  cuda::LinearEnd end(std::int64_t m = 0) const {
    return {floats(bias), data(residual) + m * outputs};
  }
  cuda::FourBitMatrix matrix() const {
    cuda::FourBitMatrix made;
    made.codes = reinterpret_cast<const std::uint8_t*>(w.codes.raw());
    made.absmax = w.absmax.raw();
    if (w.double_quant()) {
      made.nested = data(w.nested.absmax);
      made.map = data(w.nested.map);
      made.offset = w.nested.offset;
    }
    made.block_shift = std::countr_zero(static_cast<std::uint64_t>(w.blocksize));
    made.width = k();
    made.table = table.data();
    return made;
  }
};

/// Rows in groups of `most`: 16 by the kernel for few rows, all by tiles.
Tensor in_groups(const Operands& o, std::int64_t most, cuda::Hopper hopper = {}) {
  return cuda_result({o.m(), outputs}, [&](float* out) {
    Tensor permuted = Tensor::empty(DType::bf16, {o.m(), o.k()});
    for (std::int64_t m = 0; m < o.m(); m += most) {
      const std::int64_t count = std::min(most, o.m() - m);
      cuda::linear_4bit_bf16(at_once(), out + m * outputs, nullptr, const_cast<bf16_t*>(o.row(m)),
                             permuted.as_mutable<bf16_t>().data(), o.matrix(), o.end(m), count,
                             outputs, hopper);
    }
  });
}

}  // namespace

TEST_CASE("CUDA linear_4bit in the bf16 order has the same bits in every kernel") {
  struct Case {
    std::int64_t m, k, blocksize;
  };
  for (const auto [m, k, blocksize] :
       {Case{17, 128, 32}, {17, 1280, 64}, {70, 384, 128}, {136, 640, 64}}) {
    INFO("M " << m << " K " << k << " block " << blocksize);
    const Operands o(m, k, {.blocksize = blocksize, .double_quant = k == 1280});
    const Tensor few = in_groups(o, 16);
    CHECK(different_bits(in_groups(o, m), few) == "");
    CHECK(different_bits(in_groups(o, m, {true, 132}), few) == "");
    CHECK(different_bits(in_groups(o, m, {true, 1}), few) == "");  // tiles of 128
  }
}
