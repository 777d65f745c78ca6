// Tests of the shim's clusters: each rule that a kernel can break is broken once and must be detected.
#include <numeric>

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

enum class Fault {
  none,
  no_sync,    // reads what the other block may not have written
  early_end,  // ends while others read
  no_such_block,
  no_cluster_sync_of_barriers,  // uses an mbarrier that may not exist yet
  one_arrival,                  // of the two that a stage needs
};

Stream& at_once() {
  static Stream stream(nullptr);
  return stream;
}

/// out[block][lane] = the sums over lanes of what all blocks of its cluster wrote, in rank order.
__global__ void exchanged(float* out, Fault fault) {
  SHARED_ARRAY(float4, kept, 32);
  const int lane = lane_of_warp(), block = static_cast<int>(blockIdx.x);
  const float value = static_cast<float>(32 * block + lane);
  store_vector(kept + lane, make_float4(value, 0, 0, 0));
  if (fault != Fault::no_sync) cluster_sync();
  float sum = 0;
  const int blocks = cluster_size() + (fault == Fault::no_such_block ? 1 : 0);
  for (int rank = 0; rank < blocks; ++rank) sum = 2 * sum + load_from_block(kept + lane, rank).x;
  out[32 * block + lane] = sum;
  if (fault != Fault::early_end) cluster_sync();
}

std::vector<float> exchanged_of(unsigned blocks, unsigned cluster, Fault fault = Fault::none) {
  return with_lane_orders(16, [&] {
    std::vector<float> out(32 * blocks);
    launch_clusters(at_once(), dim3(blocks), dim3(32), dim3(cluster), 0, exchanged, out.data(),
                    fault);
    return out;
  });
}

/// Blocks of a cluster that return early, in one warp each, do not keep the others waiting.
__global__ void some_return(int* out) {
  if (warp_of_block() == 0) return;
  cluster_sync();
  if (lane_of_warp() == 0) out[blockIdx.x] = cluster_rank();
}

/// out[block][16 rows][64] = rows of a matrix, of which each of two blocks loads half for both, twice:
/// the second time when both blocks have finished with the first rows.
__global__ void shared_rows(float* out, const TensorMap map, Fault fault) {
  SHARED_ARRAY(bf16_t, tile, 16 * 64);
  SHARED_ARRAY(std::uint64_t, full, 1);
  SHARED_ARRAY(std::uint64_t, empty, 1);
  const int rank = cluster_rank();
  if (thread_of_block() == 0) {
    mbarrier_init(full, 1), mbarrier_init(empty, fault == Fault::one_arrival ? 1 : 2);
    mbarrier_fence();
  }
  fault == Fault::no_cluster_sync_of_barriers ? __syncthreads() : cluster_sync();
  float sum = 0;
  for (unsigned step = 0; step < 2; ++step) {
    if (thread_of_block() == 0) {
      mbarrier_wait(empty, step ^ 1);
      mbarrier_arrive_expect(full, 2048);
      tma_load_multicast(tile + rank * 8 * 64, &map.map, 0, static_cast<int>(step) * 16 + rank * 8,
                         full, 3);
    }
    mbarrier_wait(full, step);
    for (int i = 0; i < 32; ++i) sum += to_float(tile[32 * lane_of_warp() + i]);
    __syncwarp();
    if (lane_of_warp() == 0)
      for (int other = 0; other < (fault == Fault::one_arrival ? 1 : 2); ++other)
        mbarrier_arrive_at(empty, fault == Fault::one_arrival ? rank : other);
  }
  out[32 * blockIdx.x + threadIdx.x] = sum;
  cluster_sync();
}

std::vector<float> shared_rows_of(Fault fault = Fault::none) {
  bf16_t* values = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&values), 32 * 64 * 2);
  for (int i = 0; i < 32 * 64; ++i) values[i] = to_bf16(static_cast<float>(i % 13 + i / 100));
  struct Free {
    bf16_t* p;
    ~Free() { cudaFree(p); }
  } free{values};
  return with_lane_orders(16, [&] {
    std::vector<float> out(64);
    launch_clusters(at_once(), dim3(2), dim3(32), dim3(2), 0, shared_rows, out.data(),
                    tensor_map(values, 32, 64, 8), fault);
    return out;
  });
}

}  // namespace

TEST_CASE("blocks of a cluster read the shared memory of one another") {
  const auto out = exchanged_of(8, 4);
  for (int block = 0; block < 8; ++block)
    for (int lane = 0; lane < 32; ++lane) {
      float sum = 0;
      for (int rank = 0; rank < 4; ++rank)
        sum = 2 * sum + static_cast<float>(32 * (block / 4 * 4 + rank) + lane);
      REQUIRE(out[static_cast<std::size_t>(32 * block + lane)] == sum);
    }
}

TEST_CASE("mistakes with clusters are detected") {
  const auto found = [](Fault fault) { return failure_of([&] { exchanged_of(4, 2, fault); }); };
  CHECK(found(Fault::none) == "nothing");
  CHECK(has(found(Fault::no_sync), "a race"));
  CHECK(has(found(Fault::early_end), "of the cluster has ended"));
  CHECK(has(found(Fault::no_such_block), "the cluster has no block 2"));
  CHECK(has(failure_of([] { exchanged_of(3, 2); }), "does not consist of whole clusters"));
  CHECK(has(failure_of([] { exchanged_of(9, 9); }), "more than 8 blocks"));
}

TEST_CASE("lanes that have returned do not count at the barrier of a cluster") {
  std::vector<int> out(4, -1);
  launch_clusters(at_once(), dim3(4), dim3(64), dim3(2), 0, some_return, out.data());
  CHECK(out == std::vector<int>{0, 1, 0, 1});
}

TEST_CASE("TMA multicast fills two blocks, whose stages both must be empty") {
  const auto out = shared_rows_of();
  for (std::size_t lane = 0; lane < 32; ++lane) {
    float sum = 0;
    for (std::size_t step = 0; step < 2; ++step)
      for (std::size_t i = 0; i < 32; ++i) {
        const std::size_t row = lane / 2, at = (step * 16 + row) * 64;
        const std::size_t column = lane % 2 * 32 + i, chunk = column / 8 ^ row % 8;
        sum += to_f32(to_bf16(static_cast<float>((at + chunk * 8 + column % 8) % 13 +
                                                 (at + chunk * 8 + column % 8) / 100)));
      }
    REQUIRE(out[lane] == sum);
    REQUIRE(out[32 + lane] == sum);
  }
  CHECK(has(failure_of([] { shared_rows_of(Fault::no_cluster_sync_of_barriers); }),
            "there is no mbarrier"));
  CHECK(failure_of([] { shared_rows_of(Fault::one_arrival); }) != "nothing");
}
