// One order, many kernels: products in the bf16 order have the same bits in the kernel for few
// rows, in all tiles of mma.sync and in all tiles of wgmma, for the widths of real models.
#include "cuda/find_hopper.hpp"
#include "support/cuda_kernels.hpp"

using namespace idefics;
using namespace testing;

namespace {

constexpr std::int64_t rows[] = {1, 9, 17, 64, 88, 136, 257};
constexpr std::int64_t most_rows = 257, outputs = 19;

/// x [257,K] and weights [19,K] in bf16, with bias and residual.
struct Operands {
  Tensor x, weight, bias, residual;

  explicit Operands(std::int64_t k)
      : x(stored(DType::bf16, {most_rows, cuda::rounded_width(k)},
                 normals(most_rows * cuda::rounded_width(k), 1))),
        weight(stored(DType::bf16, {outputs, k}, normals(outputs * k, 2))),
        bias(stored(DType::bf16, {outputs}, normals(outputs, 3))),
        residual(tensor({most_rows, outputs}, normals(most_rows * outputs, 4))) {}

  const bf16_t* row(std::int64_t m) const { return x.as<bf16_t>().data() + m * x.dim(1); }
  const bf16_t* weights() const { return weight.as<bf16_t>().data(); }
  std::int64_t k() const { return weight.dim(1); }
  cuda::LinearEnd end(std::int64_t m = 0) const {
    return {floats(bias), data(residual) + m * outputs};
  }
};

/// What run(out) writes for rows [0, m).
template <class Run>
Tensor products(std::int64_t m, const Run& run) {
  Tensor out = Tensor::empty(DType::f32, {m, outputs});
  run(out.as_mutable<float>().data());
  return out;
}

/// All rows, up to 16 at a time.
Tensor by_few_rows(const Operands& o) {
  return products(most_rows, [&](float* out) {
    for (std::int64_t m = 0; m < most_rows; m += cuda::max_gemv_rows) {
      const std::int64_t count = std::min(cuda::max_gemv_rows, most_rows - m);
      const cuda::GemvPart<const bf16_t*> part{out + m * outputs, o.weights(), o.end(m), outputs};
      cuda::gemv_bf16<bf16_t>(at_once(), {&part, 1}, cuda::gemv_rows(o.row(m), count, o.k()),
                              o.k());
    }
  });
}

template <class Tile>
Tensor by_mma(const Operands& o, std::int64_t m) {
  return products(m, [&](float* out) {
    cuda::detail::launch_gemm_bf16<Tile>(at_once(), out, o.row(0), o.weights(), o.end(), m, outputs,
                                         o.k());
  });
}

Tensor by_wgmma(const Operands& o, std::int64_t m, const cuda::WgmmaPlan& plan) {
  return products(m, [&](float* out) {
    cuda::gemm_wgmma(at_once(), out, o.row(0), o.weights(), o.end(), m, outputs, o.k(), plan);
  });
}

std::string name_of(const cuda::WgmmaPlan& plan) {
  return "tile of " + std::to_string(plan.tile_m) + ", rows shared by " +
         std::to_string(plan.sharing) + ", K divided by " + std::to_string(plan.parts);
}

}  // namespace

TEST_CASE("CUDA linear in the bf16 order has the same bits in every kernel and tile") {
  for (const std::int64_t k : {1280, 4096, 11008}) {
    const Operands o(k);
    const Tensor few = by_few_rows(o);
    for (const std::int64_t m : rows) {
      INFO("K " << k << " M " << m);
      const Tensor expected = few.slice(0, m);
      CHECK(different_bits(by_mma<cuda::GemmTile<64, 64, 32, 32>>(o, m), expected) == "");
      CHECK(different_bits(by_mma<cuda::GemmTile<128, 128, 64, 32>>(o, m), expected) == "");
      for (const cuda::WgmmaPlan& plan : cuda::wgmma_plans) {
        if (plan.sharing * plan.parts > 1 && k != 4096) continue;  // they take longer here
        INFO(name_of(plan));
        CHECK(different_bits(by_wgmma(o, m, plan), expected) == "");
      }
    }
  }
}

TEST_CASE("CUDA linear by clusters has the same bits in every order of lanes and blocks") {
  const Operands o(1160);  // 7 slices, of which the last is short
  const Tensor few = by_few_rows(o);
  for (const cuda::WgmmaPlan& plan : cuda::wgmma_plans) {
    if (plan.sharing * plan.parts == 1) continue;
    INFO(name_of(plan));
    const std::int64_t m = plan.tile_m + 3;  // two tiles
    const Tensor out = cuda_result({m, outputs}, [&](float* to) {
      cuda::gemm_wgmma(at_once(), to, o.row(0), o.weights(), o.end(), m, outputs, o.k(), plan);
    });
    CHECK(different_bits(out, few.slice(0, m)) == "");
  }
}

TEST_CASE("clusters are chosen where tiles do not fill the GPU or the L2 cache is the limit") {
  const auto plan = [](std::int64_t m, std::int64_t n, std::int64_t k, int processors = 132) {
    return cuda::wgmma_plan(m, n, k, processors);
  };
  CHECK(plan(257, 1280, 5120).parts > 1);      // of vision: 50 tiles
  CHECK(plan(64, 4096, 11008).parts > 1);      // 32 tiles
  CHECK(plan(512, 11008, 4096).sharing == 2);  // of a prompt
  CHECK(plan(64, 32000, 4096).parts == 1);     // 250 tiles
  CHECK(plan(512, 11008, 4096, 16).sharing == 1);
  CHECK(plan(64, 4096, 11008, 16).parts == 1);
}

TEST_CASE("CUDA linear has the same bits in every tile where tensor cores add in halves") {
  const auto before = cuda_on_cpu::simulated;
  cuda_on_cpu::simulated.major = 8;
  const Operands o(1280);
  const Tensor few = by_few_rows(o);
  CHECK(different_bits(by_mma<cuda::GemmTile<64, 64, 32, 32>>(o, 88), few.slice(0, 88)) == "");
  cuda_on_cpu::simulated = before;
  CHECK(different_bits(by_few_rows(o), few) != "");
}

TEST_CASE("the description of a device tells which instruction it uses") {
  auto& device = cuda_on_cpu::simulated;
  const auto before = device;
  const auto text = [] { return cuda::describe_device(0, cuda::find_hopper()); };
  CHECK(text() == "compute capability 9.0, 132 multiprocessors, products of many rows by wgmma");
  device.wgmma_rounds_differently = true;
  CHECK(text() ==
        "compute capability 9.0, 132 multiprocessors, products of many rows by mma.sync, as this "
        "build is not for 90a or the bits of wgmma differ");
  device = before;
  device.major = 8, device.minor = 6, device.processors = 84;
  CHECK(text() == "compute capability 8.6, 84 multiprocessors, products of many rows by mma.sync");
  device = before;
}
