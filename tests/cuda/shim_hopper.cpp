// Tests of the shim's byte-counting barriers, TMA and wgmma: each rule that a kernel can break is
// broken once and must be detected, and the instructions are compared with their specification.
#include <algorithm>

#include "cuda/hopper.cuh"
#include "cuda/launch.cuh"
#include "cuda/tensor_map.cuh"
#include "support/catch.hpp"
#include "support/cuda_on_cpu/failure_of.hpp"
#include "support/cuda_on_cpu/orders.hpp"

using namespace idefics;
using namespace idefics::cuda;
using cuda_on_cpu::failure_of;
using cuda_on_cpu::has;
using cuda_on_cpu::with_lane_orders;

namespace {

/// Small integers in bf16, in memory from cudaMalloc.
struct Matrix {
  Matrix(std::int64_t of_rows, std::int64_t of_width, int seed) : rows(of_rows), width(of_width) {
    cudaMalloc(reinterpret_cast<void**>(&values), static_cast<std::size_t>(rows * width) * 2);
    for (std::int64_t i = 0; i < rows * width; ++i)
      values[i] = to_bf16(static_cast<float>((i * 7 + seed * 5 + i / 13) % 17 - 8));
  }
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;
  ~Matrix() { cudaFree(values); }
  float at(std::int64_t row, std::int64_t column) const {
    return row < rows && column < width ? to_f32(values[row * width + column]) : 0.0f;
  }
  TensorMap boxes(unsigned box_rows) const { return tensor_map(values, rows, width, box_rows); }

  std::int64_t rows, width;
  bf16_t* values = nullptr;
};

enum class Fault {
  none,
  no_wait,            // reads what may not have arrived
  no_barrier,         // uses the mbarrier of another lane without a __syncthreads
  no_mbarrier_fence,  // does not make the mbarrier visible to TMA
  fewer_bytes,        // announces less than arrives
  all_lanes,          // each lane loads the same box
  misaligned,
  arrives_twice,
  written_over,  // the mbarrier
  no_wgmma_fence,
  no_wgmma_wait,
  early_read,    // of the sums
  early_write,   // to the sums
  early_target,  // loads a box over one that is still being multiplied
  stride,        // of the descriptor
  no_swizzle,    // in the descriptor
  no_proxy_fence,
  different_operands,
};

/// out [16 rows][64] = a box of the matrix as it is stored in shared memory.
__global__ void one_box(float* out, const TensorMap map, int column, int row, Fault fault) {
  SHARED_ARRAY(bf16_t, tile, 17 * 64);
  SHARED_ARRAY(std::uint64_t, barrier, 1);
  const bool leads = thread_of_block() == 5;
  if (leads) mbarrier_init(barrier, 1);
  if (leads && fault != Fault::no_mbarrier_fence) mbarrier_fence();
  if (fault != Fault::no_barrier) __syncthreads();
  if (leads && fault == Fault::written_over) barrier[0] = 0;
  if (leads) mbarrier_arrive_expect(barrier, fault == Fault::fewer_bytes ? 2040 : 2048);
  if (leads && fault == Fault::arrives_twice) mbarrier_arrive(barrier);
  if (leads || fault == Fault::all_lanes)
    tma_load(tile + (fault == Fault::misaligned ? 8 : 0), &map.map, column, row, barrier);
  if (fault != Fault::no_wait) mbarrier_wait(barrier, 0);
  for (int i = thread_of_block(); i < 16 * 64; i += 64) out[i] = to_float(tile[i]);
  if (fault == Fault::no_wait) __syncthreads();
  if (fault == Fault::no_wait) mbarrier_wait(barrier, 0);
}

std::vector<float> box_of(const Matrix& matrix, int column, int row, Fault fault = Fault::none) {
  std::vector<float> out(16 * 64);
  launch(nullptr, 1, 64, 0, one_box, out.data(), matrix.boxes(16), column, row, fault);
  return out;
}

/// Sums steps of 64 columns through a ring of two stages: warp 0 loads, warp 1 adds. `patient`:
/// warp 0 waits until warp 1 has finished with a stage.
__global__ void ring(float* out, const TensorMap map, int steps, bool patient) {
  SHARED_ARRAY(bf16_t, tiles, 2 * 8 * 64);
  SHARED_ARRAY(std::uint64_t, full, 2);
  SHARED_ARRAY(std::uint64_t, empty, 2);
  if (thread_of_block() == 0) {
    for (int i = 0; i < 2; ++i) mbarrier_init(full + i, 1), mbarrier_init(empty + i, 1);
    mbarrier_fence();
  }
  __syncthreads();
  float sum = 0;
  for (int step = 0; step < steps; ++step) {
    const int stage = step % 2;
    const unsigned parity = static_cast<unsigned>(step / 2 % 2);
    if (thread_of_block() == 0) {
      if (patient) mbarrier_wait(empty + stage, parity ^ 1);
      mbarrier_arrive_expect(full + stage, 1024);
      tma_load(tiles + stage * 512, &map.map, 64 * step, 0, full + stage);
    } else if (warp_of_block() == 1) {
      mbarrier_wait(full + stage, parity);
      for (int i = 0; i < 16; ++i) sum += to_float(tiles[stage * 512 + 16 * lane_of_warp() + i]);
      __syncwarp();
      if (lane_of_warp() == 0) mbarrier_arrive(empty + stage);
    }
  }
  if (warp_of_block() == 1) out[lane_of_warp()] = sum;
}

/// d [64, n] = a [64, k] b [n, k]^T, k a multiple of 64; TMA loads steps of 64, one after another.
template <int n>
__global__ void product(float* out, const TensorMap a, const TensorMap b, int k, Fault fault) {
  bf16_t* const a_tile = dynamic_shared<bf16_t>();
  bf16_t* const b_tile = a_tile + 64 * 64;
  SHARED_ARRAY(std::uint64_t, barrier, 1);
  if (thread_of_block() == 0) mbarrier_init(barrier, 1), mbarrier_fence();
  float d[n / 2] = {};
  const auto load = [&](int step) {
    if (thread_of_block() != 0) return;
    mbarrier_arrive_expect(barrier, 128 * (64 + n));
    tma_load(a_tile, &a.map, 64 * step, 0, barrier);
    tma_load(b_tile, &b.map, 64 * step, 0, barrier);
  };
  for (int step = 0; step < k / 64; ++step) {
    __syncthreads();
    if (step == 0 || fault != Fault::early_target) load(step);
    mbarrier_wait(barrier, static_cast<unsigned>(step % 2));
    if (fault != Fault::no_wgmma_fence) wgmma_fence(d);
    std::uint64_t from = describe_tile(b_tile);
    if (fault == Fault::stride) from ^= std::uint64_t{(1024 ^ 512) >> 4} << 32;
    if (fault == Fault::no_swizzle) from ^= std::uint64_t{1} << 62;
    if (fault == Fault::different_operands && lane_of_warp() == 3) from += 2;
    for (unsigned i = 0; i < 4; ++i) wgmma<n>(d, describe_tile(a_tile) + 2 * i, from + 2 * i);
    wgmma_commit();
    if (fault == Fault::early_write) d[1] = 0;
    if (fault == Fault::early_read) break;
    __syncthreads();
    if (fault == Fault::early_target && step == 0) load(1);
    if (fault != Fault::no_wgmma_wait) wgmma_wait_for(d);
  }
  for (int i = 0; i < n / 2; ++i) {
    const int row = warp_of_block() * 16 + lane_of_warp() / 4 + i / 2 % 2 * 8;
    out[row * n + i / 4 * 8 + lane_of_warp() % 4 * 2 + i % 2] = d[i];
  }
  if (fault == Fault::early_read) wgmma_wait_for(d);
}

template <int n>
std::vector<float> product_of(const Matrix& a, const Matrix& b, Fault fault = Fault::none) {
  std::vector<float> out(64 * n);
  launch(nullptr, 1, 128, 128 * (64 + n), product<n>, out.data(), a.boxes(64), b.boxes(n),
         static_cast<int>(a.width), fault);
  return out;
}

template <int n>
void check_product() {
  const Matrix a(64, 128, 1), b(n, 128, 2);
  const auto out = with_lane_orders(16, [&] { return product_of<n>(a, b); });
  for (std::int64_t row = 0; row < 64; ++row)
    for (std::int64_t column = 0; column < n; ++column) {
      float sum = 0;
      for (std::int64_t k = 0; k < 128; ++k) sum += a.at(row, k) * b.at(column, k);
      REQUIRE(out[static_cast<std::size_t>(row * n + column)] == sum);
    }
}

/// d [64, 64] of tiles that lanes have filled with cp.async.
__global__ void product_of_copies(float* out, const bf16_t* x, Fault fault) {
  SHARED_ARRAY(bf16_t, tile, 64 * 64);
  for (int i = thread_of_block(); i < 512; i += 128)
    cp_async16(tile + i / 8 * 64 + (i % 8 ^ i / 8 % 8) * 8, x + i * 8);
  cp_async_commit();
  cp_async_wait<0>();
  if (fault != Fault::no_proxy_fence) async_proxy_fence();
  __syncthreads();
  float d[32] = {};
  wgmma_fence(d);
  wgmma<64>(d, describe_tile(tile), describe_tile(tile));
  wgmma_commit();
  wgmma_wait_for(d);
  if (lane_of_warp() == 0) out[warp_of_block()] = d[0];
}

}  // namespace

TEST_CASE("TMA loads boxes in their swizzled layout, with zeros outside the matrix") {
  const Matrix matrix(40, 136, 3);
  for (const auto& [column, row] : {std::pair{0, 0}, {64, 7}, {128, 30}}) {
    INFO("column " << column << " row " << row);
    const auto out = with_lane_orders(16, [&] { return box_of(matrix, column, row); });
    for (int r = 0; r < 16; ++r)
      for (int c = 0; c < 64; ++c) {
        const auto at = static_cast<std::size_t>(r * 64 + (c / 8 ^ r % 8) * 8 + c % 8);
        REQUIRE(out[at] == matrix.at(row + r, column + c));
      }
  }
}

TEST_CASE("mistakes with byte-counting barriers and TMA are detected") {
  const Matrix matrix(40, 128, 3);
  const auto found = [&](Fault fault) {
    return failure_of([&] { with_lane_orders(4, [&] { return box_of(matrix, 0, 0, fault); }); });
  };
  CHECK(found(Fault::none) == "nothing");
  CHECK(has(found(Fault::no_barrier), "there is no mbarrier"));
  CHECK(has(found(Fault::written_over), "there is no mbarrier any more"));
  CHECK(has(found(Fault::no_mbarrier_fence), "the mbarrier is not fenced"));
  CHECK(has(found(Fault::fewer_bytes), "wait at mbarrier_wait at shim_hopper.cpp:"));
  CHECK(has(found(Fault::fewer_bytes), "phase 0: 0 of 1 arrivals and -8 bytes to come"));
  CHECK(has(found(Fault::all_lanes), "bytes to come"));
  CHECK(has(found(Fault::misaligned), "misaligned access to 128 bytes"));
  CHECK(has(found(Fault::arrives_twice), "an arrival too many"));
  CHECK(std::isnan(box_of(matrix, 0, 0, Fault::no_wait)[700]));
}

TEST_CASE("a ring of stages needs both of its barriers") {
  const Matrix matrix(8, 5 * 64, 4);
  const auto run = [&](bool patient) {
    return failure_of([&] {
      std::vector<float> out(32);
      launch(nullptr, 1, 64, 0, ring, out.data(), matrix.boxes(8), 5, patient);
      float sum = 0, expected = 0;
      for (const float part : out) sum += part;
      for (std::int64_t i = 0; i < 8 * 5 * 64; ++i) expected += matrix.at(i / 320, i % 320);
      if (sum != expected) throw cuda_on_cpu::Failure("a wrong sum");
    });
  };
  CHECK(run(true) == "nothing");
  CHECK(run(false) != "nothing");
}

TEST_CASE("wgmma is exact on whole numbers, in every order of lanes") {
  check_product<64>();
  check_product<88>();
}

TEST_CASE("mistakes with wgmma are detected") {
  const Matrix a(64, 128, 1), b(64, 128, 2);
  const auto right = product_of<64>(a, b);
  const auto found = [&](Fault fault) { return failure_of([&] { product_of<64>(a, b, fault); }); };
  CHECK(product_of<64>(a, b, Fault::stride) != right);
  CHECK(std::isnan(product_of<64>(a, b, Fault::early_read)[0]));
  CHECK(has(found(Fault::no_wgmma_fence), "without wgmma_fence"));
  CHECK(has(found(Fault::no_wgmma_wait), "products by wgmma had been waited for"));
  CHECK(has(found(Fault::early_write), "its sums were written to before they were complete"));
  CHECK(has(found(Fault::early_target), "an operand changed while it was being read"));
  CHECK(has(found(Fault::no_swizzle), "not that of a tile swizzled by 128 bytes"));
  CHECK(has(found(Fault::different_operands), "lanes describe different operands"));
}

TEST_CASE("wgmma reads what lanes wrote only after fence.proxy.async") {
  const Matrix x(64, 64, 5);
  const auto run = [&](Fault fault) {
    std::vector<float> out(4);
    launch(nullptr, 1, 128, 0, product_of_copies, out.data(), x.values, fault);
    return out[1];
  };
  float sum = 0;
  for (int k = 0; k < 16; ++k) sum += x.at(16, k) * x.at(0, k);
  CHECK(run(Fault::none) == sum);
  CHECK(has(failure_of([&] { run(Fault::no_proxy_fence); }), "without fence.proxy.async"));
}

TEST_CASE("a matrix that TMA cannot read is refused") {
  const Matrix matrix(16, 68, 6);
  CHECK_THROWS_AS(tensor_map(matrix.values, 16, 68, 16), Error);      // rows of 136 bytes
  CHECK_THROWS_AS(tensor_map(matrix.values + 1, 16, 64, 16), Error);  // begins at 2
  CHECK_THROWS_AS(tensor_map(matrix.values, 16, 64, 257), Error);
}
