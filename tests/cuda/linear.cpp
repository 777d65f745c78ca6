// Tests of the CUDA kernels for linear layers, run on the CPU by tests/support/cuda_on_cpu/.
#include "cuda/find_hopper.hpp"

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/reference/linear.hpp>

#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

struct Product {
  Tensor x, weight, bias, residual;  // [M,K], [N,K], [N] or empty, [M,N] or empty

  std::int64_t m() const { return x.dim(0); }
  std::int64_t n() const { return weight.dim(0); }
  std::int64_t k() const { return x.dim(1); }
  cuda::LinearEnd end() const { return {floats(bias), residual ? data(residual) : nullptr}; }
  Product rows(std::int64_t begin, std::int64_t end) const {
    return {x.slice(begin, end), weight, bias, residual ? residual.slice(begin, end) : Tensor()};
  }
};

/// `make(count, seed)` returns the values; the weights start `offset` elements after a cache line.
template <class Make>
Product product(std::int64_t m, std::int64_t n, std::int64_t k, DType dtype, const Make& make,
                std::size_t offset = 0, bool ends = true) {
  return {tensor({m, k}, make(m * k, 1)),
          stored(dtype, {n, k}, make(n * k, 2), offset * size_of(dtype)),
          ends ? stored(dtype, {n}, make(n, 3), size_of(dtype)) : Tensor(),
          ends ? tensor({m, n}, make(m * n, 4)) : Tensor()};
}
Values some_integers(std::int64_t count, unsigned seed) { return integers(count, 8, seed); }
Values some_normals(std::int64_t count, unsigned seed) { return normals(count, seed); }

Tensor f32_order(const Product& p) {
  return cuda_result({p.m(), p.n()}, [&](float* out) {
    cuda::linear_f32(at_once(), out, data(p.x), floats(p.weight), p.end(), p.m(), p.n(), p.k());
  });
}

/// Scratch for the rows of x in bf16.
Tensor rounded_rows(const Product& p) {
  return Tensor::empty(DType::bf16, {p.m(), cuda::rounded_width(p.k())});
}

Tensor bf16_order(const Product& p) {
  return cuda_result({p.m(), p.n()}, [&](float* out) {
    Tensor rounded = rounded_rows(p);
    cuda::linear_bf16(at_once(), out, data(p.x), rounded.as_mutable<bf16_t>().data(),
                      floats(p.weight), p.end(), p.m(), p.n(), p.k());
  });
}

/// The kernel for many rows with a tile of this kind, on any number of rows.
template <class Tile>
Tensor bf16_tiles(const Product& p) {
  return cuda_result({p.m(), p.n()}, [&](float* out) {
    Tensor rounded = rounded_rows(p);
    bf16_t* const x = rounded.as_mutable<bf16_t>().data();
    cuda::round_rows(at_once(), x, data(p.x), p.m(), p.k());
    cuda::with_float_type(floats(p.weight), [&](const auto* w) {
      cuda::detail::launch_gemm_bf16<Tile>(at_once(), out, x, w, p.end(), p.m(), p.n(), p.k());
    });
  });
}

/// wgmma with its best tile on a GPU of `processors` multiprocessors; x and the weights must suit
/// it.
Tensor bf16_wgmma(const Product& p, int processors) {
  REQUIRE(cuda::Hopper{true, processors}.supports(p.weight.as<bf16_t>().data(), p.k()));
  return cuda_result({p.m(), p.n()}, [&](float* out) {
    Tensor rounded = rounded_rows(p);
    cuda::linear_bf16(at_once(), out, data(p.x), rounded.as_mutable<bf16_t>().data(),
                      floats(p.weight), p.end(), p.m(), p.n(), p.k(), {true, processors});
  });
}

/// wgmma with this tile, on any number of rows, in one order of lanes.
template <int tile_m>
Tensor wgmma_tiles(const Product& p) {
  Tensor rounded = rounded_rows(p), out = Tensor::empty(DType::f32, {p.m(), p.n()});
  bf16_t* const x = rounded.as_mutable<bf16_t>().data();
  cuda::round_rows(at_once(), x, data(p.x), p.m(), p.k());
  cuda::launch_gemm_wgmma<cuda::WgmmaTile<tile_m>>(at_once(), out.as_mutable<float>().data(), x,
                                                   p.weight.as<bf16_t>().data(), p.end(), p.m(),
                                                   p.n(), p.k());
  return out;
}

Tensor expected(const Product& p, Compute compute) {
  Tensor out = Tensor::empty(DType::f32, {p.m(), p.n()});
  reference::linear(out, p.x, {p.weight, {}}, p.bias, compute);
  if (p.residual) {
    const auto sums = out.as_mutable<float>();
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += p.residual.as<float>()[i];
  }
  return out;
}

/// How far element i may be from the exact value.
double bound(const Product& p, Compute compute, std::int64_t i) {
  const std::int64_t m = i / p.n(), n = i % p.n();
  const Eigen::VectorXd x = reference::plain_row(p.x, m, p.k(), compute);
  const Eigen::VectorXd w = reference::plain_row(p.weight, n, p.k(), compute);
  const double ends =
      p.bias ? std::abs(reference::value(p.bias, n)) + std::abs(reference::value(p.residual, i))
             : 0.0;
  return tolerance(p.k() + 2, x.cwiseAbs().dot(w.cwiseAbs()) + ends, compute);
}

constexpr std::int64_t odd_widths[] = {1, 5, 16, 33, 100};

}  // namespace

TEST_CASE("CUDA linear in the f32 order gives the bits of the CPU backend") {
  const auto cpu = make_cpu_backend();
  for (const DType dtype : weight_dtypes)
    for (const std::int64_t k : odd_widths)
      for (const std::int64_t m : {1, 2, 3, 8, 9, 35})
        for (const std::size_t offset : {0u, 1u}) {
          INFO(name_of(dtype) << " K " << k << " M " << m << " offset " << offset);
          const Product p = product(m, 19, k, dtype, some_normals, offset, false);
          const Tensor same = Tensor::empty(DType::f32, {m, 19});
          cpu->linear(same, p.x, {p.weight, {}}, {}, Compute::f32);
          CHECK(different_bits(f32_order(p), same) == "");
        }
}

TEST_CASE("CUDA linear is exact on whole numbers, with bias and residual") {
  for (const DType dtype : weight_dtypes)
    for (const std::int64_t k : {7, 64, 200})
      for (const std::int64_t m : {1, 3, 17}) {
        INFO(name_of(dtype) << " K " << k << " M " << m);
        const Product p = product(m, 21, k, dtype, some_integers);
        CHECK(different_bits(f32_order(p), expected(p, Compute::f32)) == "");
        CHECK(different_bits(bf16_order(p), expected(p, Compute::bf16)) == "");
      }
}

TEST_CASE("CUDA linear in the bf16 order is the reference's within rounding") {
  for (const DType dtype : weight_dtypes)
    for (const std::int64_t k : {1, 8, 63, 72, 520, 1030})
      for (const std::int64_t m : {1, 9, 20}) {
        INFO(name_of(dtype) << " K " << k << " M " << m);
        const Product p = product(m, 18, k, dtype, some_normals, k == 72 ? 1 : 0);
        CHECK(beyond(bf16_order(p), expected(p, Compute::bf16),
                     [&](std::int64_t i) { return bound(p, Compute::bf16, i); }) == "");
      }
}

TEST_CASE("CUDA linear in the bf16 order does not depend on how rows are grouped, nor on tiles") {
  for (const std::int64_t k : {72, 600, 1152}) {
    const Product p = product(20, 35, k, DType::bf16, some_normals);
    const Tensor all = bf16_order(p);
    CHECK(different_bits(bf16_tiles<cuda::GemmTile<128, 128, 64, 32>>(p), all) == "");
    for (const std::int64_t most : {1, 7, 8, 11}) {
      const Tensor some = bf16_order(p.rows(20 - most, 20));
      CHECK(different_bits(some, all.slice(20 - most, 20)) == "");
    }
  }
}

TEST_CASE("CUDA linear in the bf16 order does not depend on whether x fits into shared memory") {
  const Product p = product(8, 5, 4160, DType::bf16, some_normals);
  REQUIRE_FALSE(cuda::rounded_late(8, 4160));
  CHECK(different_bits(bf16_order(p.rows(0, 7)), bf16_order(p).slice(0, 7)) == "");
}

TEST_CASE("CUDA linear in the f32 order does not depend on how rows are grouped") {
  const Product p = product(12, 35, 70, DType::f16, some_normals);
  const Tensor all = f32_order(p);
  for (const std::int64_t most : {1, 2, 5})
    CHECK(different_bits(f32_order(p.rows(12 - most, 12)), all.slice(12 - most, 12)) == "");
}

TEST_CASE("CUDA linear by wgmma is exact on whole numbers, with bias and residual") {
  for (const std::int64_t k : {8, 64, 200}) {
    const Product p = product(17, 131, k, DType::bf16, some_integers);
    CHECK(different_bits(bf16_wgmma(p, 132), expected(p, Compute::bf16)) == "");
  }
}

TEST_CASE("CUDA linear by wgmma is the reference's within rounding, in the bits of few rows") {
  for (const std::int64_t k : {72, 520, 1032}) {
    INFO("K " << k);
    const Product p = product(20, 67, k, DType::bf16, some_normals);
    const Tensor out = bf16_wgmma(p, 132);
    CHECK(beyond(out, expected(p, Compute::bf16),
                 [&](std::int64_t i) { return bound(p, Compute::bf16, i); }) == "");
    for (const std::int64_t most : {1, 8, 16, 20})
      CHECK(different_bits(bf16_order(p.rows(20 - most, 20)), out.slice(20 - most, 20)) == "");
  }
}

TEST_CASE("CUDA linear by wgmma does not depend on its tiles") {
  const Product p = product(257, 130, 648, DType::bf16, some_normals);
  const Tensor out = wgmma_tiles<136>(p);
  CHECK(different_bits(wgmma_tiles<64>(p), out) == "");
  CHECK(different_bits(wgmma_tiles<88>(p), out) == "");
  CHECK(different_bits(wgmma_tiles<192>(p), out) == "");
  for (const std::int64_t row : {0, 63, 64, 135, 136, 256})
    CHECK(different_bits(bf16_order(p.rows(row, row + 1)), out.slice(row, row + 1)) == "");
}

TEST_CASE("wgmma is used only on Hopper, and only if it gives the bits of mma.sync") {
  auto& device = cuda_on_cpu::simulated;
  const auto before = device;
  CHECK(cuda::find_hopper().wgmma);
  CHECK(cuda::find_hopper().processors == device.processors);
  device.wgmma_rounds_differently = true;
  CHECK_FALSE(cuda::find_hopper().wgmma);
  device = before;
  for (const int major : {8, 10}) {
    device.major = major;
    CHECK_FALSE(cuda::find_hopper().wgmma);
    device = before;
  }
}

TEST_CASE("the tile of wgmma suits the number of rows") {
  const auto clocks = [](int tile_m, std::int64_t m, std::int64_t n) {
    return cuda::wgmma_clocks(tile_m, m, n, 132);
  };
  CHECK(clocks(136, 257, 5120) < clocks(192, 257, 5120));     // 2 x 136 is just over 257
  CHECK(clocks(192, 2048, 12288) < clocks(64, 2048, 12288));  // each loaded byte is used more often
  CHECK(clocks(64, 60, 4096) < clocks(192, 60, 4096));
}
