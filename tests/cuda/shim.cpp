// Tests of the shim itself: each rule that a kernel can break is broken once and must be detected,
// and what the instructions do is compared with their specification.
#include <algorithm>
#include <numeric>

#include "cuda/instructions.cuh"
#include "cuda/launch.cuh"
#include "support/catch.hpp"
#include "support/cuda_on_cpu/failure_of.hpp"
#include "support/cuda_on_cpu/orders.hpp"

using namespace idefics;
using namespace idefics::cuda;
using cuda_on_cpu::failure_of;
using cuda_on_cpu::has;
using cuda_on_cpu::with_lane_orders;

namespace {

using Words = std::vector<unsigned>;

__device__ float warp_sum(float x) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(all_lanes, x, distance);
  return x;
}

/// Sums of blocks of 256, through shuffles and shared memory, with or without the `barrier` needed.
__global__ void block_sums(float* out, const float* x, std::int64_t count, bool barrier) {
  SHARED_ARRAY(float, of_warp, 8);
  const std::int64_t i = thread_of_grid();
  const float sum = warp_sum(i < count ? x[i] : 0.0f);
  if (lane_of_warp() == 0) of_warp[warp_of_block()] = sum;
  if (barrier) __syncthreads();
  if (thread_of_block() != 0) return;
  float total = 0.0f;
  for (const float part : of_warp) total += part;
  out[blockIdx.x] = total;
}

std::vector<float> block_sums_of(std::size_t count, bool barrier) {
  std::vector<float> x(count), sums((count + 255) / 256);
  std::iota(x.begin(), x.end(), 1.0f);
  launch(nullptr, blocks_for(static_cast<std::int64_t>(count), 256), 256, 0, block_sums,
         sums.data(), x.data(), static_cast<std::int64_t>(count), barrier);
  return sums;
}

__global__ void reversed_through_shared(int* out, bool race) {
  SHARED_ARRAY(int, kept, 64);
  const int t = thread_of_block();
  kept[t] = 0;
  __syncthreads();
  kept[t] = t;
  if (!race) __syncthreads();
  out[t] = kept[63 - t];
}

__global__ void last_writer_wins(int* out) { *out = thread_of_block(); }
__global__ void count_up(int* out) { atomicAdd(out, 1); }

__global__ void barrier_of_some(int* out) {
  if (thread_of_block() % 2 == 0) __syncthreads();
  out[thread_of_block()] = 1;
}

__global__ void two_barriers(int* out) {
  if (thread_of_block() % 2 == 0)
    __syncthreads();
  else
    __syncthreads();
  out[thread_of_block()] = 1;
}

__global__ void divergent_shuffle(int* out) {
  const int lane = lane_of_warp();
  if (lane < 16) out[lane] = __shfl_xor_sync(all_lanes, lane, 1);
}
__global__ void two_shuffles(int* out) {
  const int lane = lane_of_warp();
  if (lane < 16)
    out[lane] = __shfl_xor_sync(all_lanes, lane, 1);
  else
    out[lane] = __shfl_sync(all_lanes, lane, 1);
}
__global__ void overlapping_masks(int* out) {
  const int lane = lane_of_warp();
  out[lane] = __shfl_xor_sync(lane < 16 ? 0x1ffffu : all_lanes, lane, 1);
}
__global__ void halves(unsigned* out) {
  const int lane = lane_of_warp();
  const unsigned value = static_cast<unsigned>(lane);
  if (lane < 16)
    out[lane] = __shfl_down_sync(0xffffu, value, 1u, 16);
  else
    out[lane] = __ballot_sync(0xffff0000u, lane % 2);
}

__global__ void vector_at(float* out, const float* x, int offset) {
  store_vector(out, load_vector<float4>(x + offset));
}

__global__ void never_written(float* out, bool dynamic) {
  SHARED_ARRAY(float, kept, 32);
  float* from = dynamic ? dynamic_shared<float>() : kept;
  out[thread_of_block()] = from[thread_of_block()];
}
__global__ void kept_from_last_block(float* out) {
  SHARED_ARRAY(float, kept, 1);
  if (blockIdx.x == 0) kept[0] = 1.0f;
  out[blockIdx.x] = kept[0];
}
__global__ void past_the_array(int count) {
  SHARED_ARRAY(float, kept, 32);
  if (thread_of_block() < count) const_cast<volatile float*>(kept)[thread_of_block()] = 0.0f;
}

__global__ void copied(float* out, const float* x, int groups_left, int read) {
  SHARED_ARRAY(float, kept, 8);
  cp_async16(kept, x);
  cp_async_commit();
  cp_async16(kept + 4, x + 4, read);
  cp_async_commit();
  if (groups_left == 0) cp_async_wait<0>();
  if (groups_left == 1) cp_async_wait<1>();
  for (int i = 0; i < 8; ++i) out[i] = kept[i];
  if (groups_left == 1) cp_async_wait<0>();
}

__global__ void producer_and_consumer(int* out) {
  SHARED_ARRAY(int, kept, 32);
  if (warp_of_block() == 0) {
    kept[lane_of_warp()] = lane_of_warp();
    named_barrier_arrive(1, 64);
  } else {
    named_barrier_sync(1, 64);
    out[lane_of_warp()] = kept[31 - lane_of_warp()];
  }
}

/// d[16,8] = a[16,16] b[8,16]^T, all row-major.
template <class T>
__global__ void one_product(float* d, const T* a, const T* b) {
  SHARED_ARRAY(T, tile_a, 256);
  SHARED_ARRAY(T, tile_b, 128);
  const int lane = lane_of_warp();
  for (int i = lane; i < 256; i += 32) tile_a[i] = a[i];
  for (int i = lane; i < 128; i += 32) tile_b[i] = b[i];
  __syncwarp();
  std::uint32_t ra[4], rb[2];
  float rd[4] = {};
  ldmatrix_x4(ra, tile_a + lane % 16 * 16 + lane / 16 * 8);
  ldmatrix_x2(rb, tile_b + lane % 8 * 16 + lane / 8 % 2 * 8);
  mma_m16n8k16(rd, ra, rb, T{});
  for (int r = 0; r < 4; ++r) d[(lane / 4 + r / 2 * 8) * 8 + 2 * (lane % 4) + r % 2] = rd[r];
}

__global__ void transposed(std::uint32_t* out, const std::uint16_t* x) {
  SHARED_ARRAY(std::uint16_t, tile, 256);
  const int lane = lane_of_warp();
  for (int i = lane; i < 256; i += 32) tile[i] = x[i];
  __syncwarp();
  std::uint32_t r[4];
  ldmatrix_x4_trans(r, tile + 8 * lane);
  for (int j = 0; j < 4; ++j) out[4 * lane + j] = r[j];
}

template <class T>
void check_product() {
  std::vector<T> a(256), b(128);
  for (std::size_t i = 0; i < a.size(); ++i)
    a[i] = from_f32<T>(static_cast<float>(i * 7 % 23) - 11);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = from_f32<T>(static_cast<float>(i * 5 % 19) - 9);
  const auto d = with_lane_orders(16, [&] {
    std::vector<float> out(128);
    launch(nullptr, 1, 32, 0, one_product<T>, out.data(), a.data(), b.data());
    return out;
  });
  for (std::size_t m = 0; m < 16; ++m)
    for (std::size_t n = 0; n < 8; ++n) {
      float sum = 0.0f;
      for (std::size_t k = 0; k < 16; ++k) sum += to_f32(a[m * 16 + k]) * to_f32(b[n * 16 + k]);
      REQUIRE(d[m * 8 + n] == sum);
    }
}

}  // namespace

TEST_CASE("shuffles, votes and barriers give sums in every order of lanes") {
  const auto sums = with_lane_orders(16, [] { return block_sums_of(1000, true); });
  CHECK(sums == std::vector<float>{32896.0f, 98432.0f, 163968.0f, 205204.0f});
  Words out(32);
  launch(nullptr, 1, 32, 0, halves, out.data());
  CHECK(out[0] == 1);
  CHECK(out[15] == 15);  // no source lane: its own value
  CHECK(out[16] == 0xaaaa0000u);
}

TEST_CASE("a missing barrier is detected") {
  CHECK(has(failure_of([] { with_lane_orders(16, [] { return block_sums_of(256, false); }); }),
            "a race"));
  const auto reversed = [](bool race) {
    return with_lane_orders(16, [race] {
      std::vector<int> out(64);
      launch(nullptr, 1, 64, 0, reversed_through_shared, out.data(), race);
      return out;
    });
  };
  CHECK(reversed(false)[0] == 63);
  CHECK(has(failure_of([&] { reversed(true); }), "a race"));
}

TEST_CASE("writes of several lanes to one place are detected, atomic sums are not") {
  const auto result_of = [](void (*kernel)(int*)) {
    return with_lane_orders(16, [kernel] {
      int out = 0;
      launch(nullptr, 3, 64, 0, kernel, &out);
      return out;
    });
  };
  CHECK(has(failure_of([&] { result_of(last_writer_wins); }), "a race"));
  CHECK(result_of(count_up) == 192);
}

TEST_CASE("a barrier that not all lanes reach is detected, with where they are") {
  std::vector<int> out(64);
  const std::string found =
      failure_of([&] { launch(nullptr, 1, 4, 0, barrier_of_some, out.data()); });
  CHECK(has(found, "deadlock in block 0,0,0"));
  CHECK(has(found, "lanes 0 2 wait at __syncthreads at shim.cpp:"));
  CHECK(has(found, "(generation 0)"));
  CHECK(has(found, "lanes 1 3 returned"));
  CHECK(has(failure_of([&] { launch(nullptr, 1, 4, 0, two_barriers, out.data()); }),
            "__syncthreads at shim.cpp:"));
  CHECK(failure_of([&] { block_sums_of(256, true); }) == "nothing");  // failures leave no state
}

TEST_CASE("divergent collectives are detected, with both places") {
  std::vector<int> out(32);
  const auto run = [&](void (*kernel)(int*)) {
    return failure_of([&] { launch(nullptr, 1, 32, 0, kernel, out.data()); });
  };
  CHECK(has(run(divergent_shuffle), "wait at __shfl_xor_sync at shim.cpp:"));
  CHECK(has(run(two_shuffles), "__shfl_sync at shim.cpp:"));
  CHECK(has(run(two_shuffles), "wait at __shfl_xor_sync at shim.cpp:"));
  CHECK(has(run(overlapping_masks), "meets lanes of its warp"));
}

TEST_CASE("misaligned vectors are detected") {
  alignas(16) float x[8] = {0, 1, 2, 3, 4, 5, 6, 7}, out[4];
  launch(nullptr, 1, 1, 0, vector_at, out, x, 4);
  CHECK(out[3] == 7.0f);
  CHECK(has(failure_of([&] { launch(nullptr, 1, 1, 0, vector_at, out, x, 1); }),
            "misaligned access to 16 bytes at shim.cpp:"));
}

TEST_CASE("shared memory begins as NaN in each block") {
  std::vector<float> out(32);
  for (const bool dynamic : {false, true}) {
    launch(nullptr, 1, 32, 128, never_written, out.data(), dynamic);
    CHECK(std::ranges::all_of(out, [](float x) { return std::isnan(x); }));
  }
  launch(nullptr, 2, 1, 0, kept_from_last_block, out.data());
  CHECK(out[0] == 1.0f);
  CHECK(std::isnan(out[1]));
}

#if !defined(CUDA_ON_CPU_ASAN)  // which ends the program at the write
TEST_CASE("a write past a shared array is detected") {
  CHECK(failure_of([] { launch(nullptr, 1, 64, 0, past_the_array, 32); }) == "nothing");
  CHECK(has(failure_of([] { launch(nullptr, 1, 64, 0, past_the_array, 33); }),
            "wrote past a shared array"));
}
#endif

TEST_CASE("copies by cp.async have arrived after the wait, not earlier") {
  alignas(16) float x[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  float out[8];
  const auto run = [&](int groups_left, int read) {
    launch(nullptr, 1, 1, 0, copied, out, x, groups_left, read);
  };
  run(0, 16);
  CHECK(out[7] == 7.0f);
  run(0, 4);
  CHECK(out[4] == 4.0f);
  CHECK(out[5] == 0.0f);
  run(1, 16);
  CHECK(out[3] == 3.0f);
  CHECK(std::isnan(out[4]));
  CHECK(has(failure_of([&] { run(2, 16); }), "before copies by cp.async had ended"));
}

TEST_CASE("named barriers join warps that wait and warps that do not") {
  const auto out = with_lane_orders(16, [] {
    std::vector<int> reversed(32);
    launch(nullptr, 1, 64, 0, producer_and_consumer, reversed.data());
    return reversed;
  });
  CHECK(out[0] == 31);
}

TEST_CASE("matrix products of whole numbers are exact") {
  check_product<bf16_t>();
  check_product<f16_t>();
}

TEST_CASE("transposed matrices are loaded by columns") {
  std::vector<std::uint16_t> x(256);
  std::iota(x.begin(), x.end(), std::uint16_t{0});
  std::vector<std::uint32_t> out(128);
  launch(nullptr, 1, 32, 0, transposed, out.data(), x.data());
  for (std::uint32_t lane = 0; lane < 32; ++lane)
    for (std::uint32_t j = 0; j < 4; ++j) {
      const std::uint32_t first = 64 * j + 2 * (lane % 4) * 8 + lane / 4;
      REQUIRE(out[4 * lane + j] == (first | (first + 8) << 16));
    }
}

TEST_CASE("launches beyond the limits are detected") {
  float out[32];
  CHECK(has(failure_of([&] { launch(nullptr, 1, 1025, 0, past_the_array, 0); }), "1024 threads"));
  CHECK(has(failure_of([&] { launch(nullptr, 1, 32, 232449, never_written, out, false); }),
            "dynamic shared memory"));
  CHECK(failure_of([&] { launch(nullptr, 0, 32, 0, past_the_array, 0); }) == "nothing");
}

TEST_CASE("the work of a stream runs when the host waits for it") {
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  int out = 0;
  launch(stream, 1, 32, 0, count_up, &out);
  CHECK(out == 0);
  cudaStreamSynchronize(stream);
  CHECK(out == 32);
  cudaStreamDestroy(stream);
}

TEST_CASE("work for a device that is not current is detected, and memory is counted per device") {
  const auto before = cuda_on_cpu::simulated;
  cuda_on_cpu::simulated.devices = 2;
  cudaStream_t stream;
  cudaEvent_t event;
  void *near = nullptr, *far = nullptr;
  cudaMalloc(&near, 100);
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
  REQUIRE(cudaSetDevice(1) == cudaSuccess);
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaMalloc(&far, 200);
  CHECK(cuda_on_cpu::simulated.used[0] == before.used[0] + 100);
  CHECK(cuda_on_cpu::simulated.used[1] == before.used[1] + 200);
  int out = 0;
  const auto start = [&] { launch(stream, 1, 32, 0, count_up, &out); };
  const auto copy = [&](void* to) { cudaMemcpyAsync(to, &out, 4, cudaMemcpyHostToDevice, stream); };
  CHECK(failure_of(start) == "nothing");
  CHECK(failure_of([&] { copy(far); }) == "nothing");
  CHECK(has(failure_of([&] { copy(near); }), "memory of device 0 in a stream of device 1"));
  cudaSetDevice(0);
  CHECK(has(failure_of(start), "stream of device 1 while device 0 is current"));
  CHECK(has(failure_of([&] { copy(far); }), "stream of device 1 while device 0 is current"));
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  CHECK(has(failure_of([&] { cudaEventRecord(event, stream); }), "event of device 0"));
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);  // whichever device is current
  CHECK(out == 32);
  cudaEventDestroy(event);
  cudaStreamDestroy(stream);
  cudaFree(near);
  cudaFree(far);
  cuda_on_cpu::simulated = before;
}

TEST_CASE("16-bit elements convert as core/dtype.hpp does") {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const bf16_t b{static_cast<std::uint16_t>(bits)};
    const f16_t h{static_cast<std::uint16_t>(bits)};
    const float2 pair = unpack_pair<f16_t>(pack_pair<f16_t>(to_float(h), 1.0f));
    REQUIRE((std::isnan(to_float(h)) || pair.x == to_f32(h)));
    REQUIRE((std::isnan(to_float(b)) || from_float<bf16_t>(to_float(b)).bits == bits));
  }
}
