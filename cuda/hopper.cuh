// Instructions that only compute capability 9.0 has: barriers that count bytes, tiles loaded by the
// tensor memory accelerator (TMA), products of four warps that read them from shared memory (wgmma),
// and clusters of blocks that read the shared memory of one another. Each is one function, in PTX for sm_90a, empty for other architectures, and on the CPU
// as tests/support/cuda_on_cpu/ executes it.
//
// Rules that the shim enforces, in addition to those of device.cuh:
//   * one thread initializes an mbarrier and calls mbarrier_fence; others use it after a barrier of
//     the block;
//   * after tma_load, no thread reads the target until its mbarrier_wait has seen the end of the
//     phase for which the bytes were announced;
//   * wgmma_fence, products, wgmma_commit, wgmma_wait: in this order, by all warps; until the wait,
//     no thread touches the sums or the operands;
//   * wgmma sees what threads wrote to shared memory after their async_proxy_fence and a barrier;
//   * no block of a cluster ends while another one may access its shared memory.
#pragma once

#include <cuda.h>

#include "instructions.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// The descriptor that tells wgmma about a tile loaded by TMA: its address, eight rows every 1024
/// bytes, rows of 128 bytes, swizzled by 128 bytes. Tiles begin at multiples of 1024; adding 2,
/// which is 32 bytes, advances by 16 k.
__host__ __device__ inline std::uint64_t describe_tile(std::uint64_t at) {
  return (at >> 4 & 0x3fff) | std::uint64_t{1} << 16 | std::uint64_t{1024 >> 4} << 32 |
         std::uint64_t{1} << 62;
}

#if defined(__CUDACC__)

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER(...) asm volatile(__VA_ARGS__)
#else
#define HOPPER(...)
#endif

/// Initializes a barrier whose phases end after `arrivals` arrivals and all bytes they announced.
__device__ inline void mbarrier_init([[maybe_unused]] std::uint64_t* barrier,
                                     [[maybe_unused]] unsigned arrivals) {
  HOPPER("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
         : "memory");
}
/// Makes the barriers that this thread has initialized visible to TMA.
__device__ inline void mbarrier_fence() {
  HOPPER("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void mbarrier_arrive([[maybe_unused]] std::uint64_t* barrier) {
  HOPPER("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
/// Arrives, and announces bytes that TMA will write in this phase.
__device__ inline void mbarrier_arrive_expect([[maybe_unused]] std::uint64_t* barrier,
                                              [[maybe_unused]] unsigned bytes) {
  HOPPER("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
         "r"(bytes)
         : "memory");
}
/// Waits until the phase of this parity has ended. On a fresh barrier, parity 1 counts as ended.
__device__ inline void mbarrier_wait([[maybe_unused]] std::uint64_t* barrier,
                                     [[maybe_unused]] unsigned parity) {
  unsigned ended = 1;
  do {
    HOPPER(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
        "selp.u32 %0, 1, 0, p; }"
        : "=r"(ended)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
  } while (ended == 0);
}

/// Starts loading the box of `map` at (row, column) into shared memory; when its bytes have
/// arrived, they are subtracted from those pending at `barrier`. One thread suffices.
__device__ inline void tma_load([[maybe_unused]] void* to, [[maybe_unused]] const CUtensorMap* map,
                                [[maybe_unused]] int column, [[maybe_unused]] int row,
                                [[maybe_unused]] std::uint64_t* barrier) {
  HOPPER(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
}

/// The number of this block in its cluster, and how many blocks that has.
__device__ inline int cluster_rank() {
  int rank = 0;
  HOPPER("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ inline int cluster_size() {
  int size = 1;
  HOPPER("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
}
/// Waits until all threads of the cluster that have not returned are here. What they wrote to shared
/// memory is visible afterwards.
__device__ inline void cluster_sync() {
  HOPPER("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
}
/// What block `rank` of the cluster has at the place that `own` is in this block.
__device__ inline float4 load_from_block([[maybe_unused]] const float4* own,
                                         [[maybe_unused]] int rank) {
  float4 v{};
  HOPPER(
      "{ .reg .b32 at; mapa.shared::cluster.u32 at, %4, %5; "
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [at]; }"
      : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
      : "r"(shared_address(own)), "r"(rank)
      : "memory");
  return v;
}
/// An arrival at the mbarrier that block `rank` has in the same place.
__device__ inline void mbarrier_arrive_at([[maybe_unused]] std::uint64_t* own,
                                          [[maybe_unused]] int rank) {
  HOPPER(
      "{ .reg .b32 at; mapa.shared::cluster.u32 at, %0, %1; "
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [at]; }" ::"r"(shared_address(own)),
      "r"(rank)
      : "memory");
}
/// tma_load for each block of the cluster in the mask `ranks`, at the same places in all of them.
__device__ inline void tma_load_multicast([[maybe_unused]] void* to,
                                          [[maybe_unused]] const CUtensorMap* map,
                                          [[maybe_unused]] int column, [[maybe_unused]] int row,
                                          [[maybe_unused]] std::uint64_t* barrier,
                                          [[maybe_unused]] unsigned ranks) {
  HOPPER(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)),
      "h"(static_cast<std::uint16_t>(ranks))
      : "memory");
}

/// Makes what this thread has written to shared memory, also by cp.async, visible to TMA and wgmma.
__device__ inline void async_proxy_fence() {
  HOPPER("fence.proxy.async.shared::cta;" ::: "memory");
}

/// The descriptor for wgmma of a tile, anywhere in shared memory.
__device__ inline std::uint64_t describe_tile(const void* tile) {
  return describe_tile(std::uint64_t{shared_address(tile)});
}

/// Makes the compiler treat `d` as complete before this point and as unknown after it.
template <int count>
__device__ void pin_registers([[maybe_unused]] float (&d)[count]) {
  UNROLL
  for (int i = 0; i < count; ++i) HOPPER("" : "+f"(d[i])::"memory");
}
/// Makes the registers of d ready for the products that follow. To be called before the first
/// product and after every wait.
template <int count>
__device__ void wgmma_fence(float (&d)[count]) {
  pin_registers(d);
  HOPPER("wgmma.fence.sync.aligned;" ::: "memory");
}
/// Groups the products since the last commit.
__device__ inline void wgmma_commit() { HOPPER("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits for all groups but the newest `left`, whose sums must not be touched.
template <int left>
__device__ void wgmma_wait() {
  HOPPER("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
}
/// Waits for all products; d holds their sums.
template <int count>
__device__ void wgmma_wait_for(float (&d)[count]) {
  wgmma_wait<0>();
  pin_registers(d);
}

/// Releases registers of this thread, or acquires more; called by all threads of a warpgroup.
template <int registers>
__device__ void fewer_registers() {
  HOPPER("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ void more_registers() {
  HOPPER("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

// Operands %0 to %99 by tens: NAMES10(3) is "%30, %31, …, %39", and SUMS10(3) the constraints of
// these. An empty argument denotes the first ten.
#define NAMES2(t) "%" #t "0, %" #t "1"
#define NAMES4(t) NAMES2(t) ", %" #t "2, %" #t "3"
#define NAMES6(t) NAMES4(t) ", %" #t "4, %" #t "5"
#define NAMES8(t) NAMES6(t) ", %" #t "6, %" #t "7"
#define NAMES10(t) NAMES8(t) ", %" #t "8, %" #t "9"
#define NAMES30 NAMES10() ", " NAMES10(1) ", " NAMES10(2)
#define NAMES60 NAMES30 ", " NAMES10(3) ", " NAMES10(4) ", " NAMES10(5)
#define SUMS2(t) "+f"(d[t##0]), "+f"(d[t##1])
#define SUMS4(t) SUMS2(t), "+f"(d[t##2]), "+f"(d[t##3])
#define SUMS6(t) SUMS4(t), "+f"(d[t##4]), "+f"(d[t##5])
#define SUMS8(t) SUMS6(t), "+f"(d[t##6]), "+f"(d[t##7])
#define SUMS10(t) SUMS8(t), "+f"(d[t##8]), "+f"(d[t##9])
#define SUMS30 SUMS10(), SUMS10(1), SUMS10(2)
#define SUMS60 SUMS30, SUMS10(3), SUMS10(4), SUMS10(5)
/// `names` are the operands of d, `of_a` and `of_b` those of the descriptors; the rest are the
/// constraints of d.
#define WGMMA(columns, names, of_a, of_b, ...)                                             \
  HOPPER("{ .reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned.m64n" #columns \
         "k16.f32.bf16.bf16 {" names "}, " of_a ", " of_b ", p, 1, 1, 0, 0; }"             \
         : __VA_ARGS__                                                                     \
         : "l"(a), "l"(b))

/// Starts d[64,n] += a[64,16] b[n,16]^T in bf16 with f32 sums; a and b are descriptors. Warp v of
/// four has rows 16 v to 16 v + 15; its lanes hold d as in mma_m16n8k16, one group of eight columns
/// after another.
template <int n>
__device__ void wgmma([[maybe_unused]] float (&d)[n / 2], [[maybe_unused]] std::uint64_t a,
                      [[maybe_unused]] std::uint64_t b) {
  if constexpr (n == 64) {
    WGMMA(64, NAMES30 ", " NAMES2(3), "%32", "%33", SUMS30, SUMS2(3));
  } else if constexpr (n == 88) {
    WGMMA(88, NAMES30 ", " NAMES10(3) ", " NAMES4(4), "%44", "%45", SUMS30, SUMS10(3), SUMS4(4));
  } else if constexpr (n == 128) {
    WGMMA(128, NAMES60 ", " NAMES4(6), "%64", "%65", SUMS60, SUMS4(6));
  } else if constexpr (n == 136) {
    WGMMA(136, NAMES60 ", " NAMES8(6), "%68", "%69", SUMS60, SUMS8(6));
  } else {
    static_assert(n == 192, "write out a wgmma of this width");
    WGMMA(192, NAMES60 ", " NAMES10(6) ", " NAMES10(7) ", " NAMES10(8) ", " NAMES6(9), "%96", "%97",
          SUMS60, SUMS10(6), SUMS10(7), SUMS10(8), SUMS6(9));
  }
}

#else

inline void mbarrier_init(std::uint64_t* barrier, unsigned arrivals, Site site = Site::current()) {
  cuda_on_cpu::mbarrier_init(barrier, arrivals, site);
}
inline void mbarrier_fence() {
  cuda_on_cpu::mbarrier_fence();
  cuda_on_cpu::block().async_proxy().fence(cuda_on_cpu::block().current());
}
inline void mbarrier_arrive(std::uint64_t* barrier, Site site = Site::current()) {
  cuda_on_cpu::mbarrier_arrive(barrier, 0, "mbarrier_arrive", site);
}
inline void mbarrier_arrive_expect(std::uint64_t* barrier, unsigned bytes,
                                   Site site = Site::current()) {
  cuda_on_cpu::mbarrier_arrive(barrier, bytes, "mbarrier_arrive_expect", site);
}
inline void mbarrier_wait(std::uint64_t* barrier, unsigned parity, Site site = Site::current()) {
  cuda_on_cpu::mbarrier_wait(barrier, parity, site);
}
inline void tma_load(void* to, const CUtensorMap* map, int column, int row, std::uint64_t* barrier,
                     Site site = Site::current()) {
  cuda_on_cpu::tma_load(to, map, column, row, barrier, site);
}
inline int cluster_rank() { return static_cast<int>(cuda_on_cpu::block().rank()); }
inline int cluster_size() { return static_cast<int>(cuda_on_cpu::block().cluster_size()); }
inline void cluster_sync(Site site = Site::current()) {
  cuda_on_cpu::block().cluster_barrier(site);
}
inline float4 load_from_block(const float4* own, int rank, Site site = Site::current()) {
  return cuda_on_cpu::load_from_block(own, static_cast<unsigned>(rank), site);
}
inline void mbarrier_arrive_at(std::uint64_t* own, int rank, Site site = Site::current()) {
  cuda_on_cpu::mbarrier_arrive_at(own, static_cast<unsigned>(rank), site);
}
inline void tma_load_multicast(void* to, const CUtensorMap* map, int column, int row,
                               std::uint64_t* barrier, unsigned ranks,
                               Site site = Site::current()) {
  cuda_on_cpu::tma_load_multicast(to, map, column, row, barrier, ranks, site);
}
inline void async_proxy_fence() {
  cuda_on_cpu::block().async_proxy().fence(cuda_on_cpu::block().current());
}

inline std::uint64_t describe_tile(const void* tile) {
  return describe_tile(std::uint64_t{cuda_on_cpu::block().shared().offset_of(tile)});
}
template <int count>
void wgmma_fence(float (&)[count], Site site = Site::current()) {
  cuda_on_cpu::wgmma_fence(site);
}
inline void wgmma_commit(Site site = Site::current()) { cuda_on_cpu::wgmma_commit(site); }
template <int left>
void wgmma_wait(Site site = Site::current()) {
  cuda_on_cpu::wgmma_wait(left, site);
}
template <int count>
void wgmma_wait_for(float (&)[count], Site site = Site::current()) {
  cuda_on_cpu::wgmma_wait(0, site);
}
template <int registers>
void fewer_registers() {}
template <int registers>
void more_registers() {}

template <int n>
void wgmma(float (&d)[n / 2], std::uint64_t a, std::uint64_t b, Site site = Site::current()) {
  cuda_on_cpu::wgmma<bf16_t>(d, n, a, b, site);
}

#endif

}}}  // namespace idefics::v0::cuda
