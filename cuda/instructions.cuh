// Instructions that C++ cannot express: copies into shared memory, matrix products, barriers of
// some warps. Each is one function, in PTX or as tests/support/cuda_on_cpu/warp.hpp executes it.
#pragma once

#include "device.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

#if defined(__CUDACC__)

__device__ inline unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

/// Starts copying 16 bytes into shared memory; both addresses are multiples of 16. Only the first
/// `read` bytes of the source are accessed; the rest of the target becomes zero.
__device__ inline void cp_async16(void* to, const void* from, int read = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(read)
               : "memory");
}
/// Groups this thread's copies since the last commit.
__device__ inline void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits for all of this thread's groups but the newest `left`.
template <int left>
__device__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}

/// Loads four 8 x 8 matrices of 16-bit elements: lane 8 j + i passes the address of row i of matrix
/// j, and receives elements 2 (lane % 4) and the next of row lane / 4 of each matrix (transposed:
/// of column lane / 4).
__device__ inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared_row))
               : "memory");
}
__device__ inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared_row))
               : "memory");
}
/// Loads two matrices: lanes 0 to 15 pass addresses.
__device__ inline void ldmatrix_x2(std::uint32_t (&r)[2], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(shared_row))
               : "memory");
}

/// d[16,8] += a[16,16] b[16,8] in f32. With g = lane / 4 and t = 2 (lane % 4), a lane holds of a:
/// rows g, g + 8 at columns t, t + 1, then the same rows 8 columns further on; of b: rows t, t + 1,
/// then t + 8, t + 9, at column g; of d: row g, then g + 8, at columns t, t + 1. The type of the
/// last argument selects that of a and b.
__device__ inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4],
                                    const std::uint32_t (&b)[2], bf16_t) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4],
                                    const std::uint32_t (&b)[2], f16_t) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// thread_of_block, read where it is called: what depends on it occupies no registers before.
__device__ inline int thread_read_here() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}

/// The same address in shared memory, as a value of its own: the compiler adds offsets to it, instead
/// of computing it anew from its parts at every use.
template <class T>
__device__ const T* opaque_shared(const T* p) {
  asm("" : "+l"(p));
  __builtin_assume(__isShared(p));
  return p;
}

/// Byte `i` of four.
template <int i>
__device__ std::uint32_t byte_of(std::uint32_t bytes) {
  return __byte_perm(bytes, 0, 0x4440 + i);
}

/// Waits until `threads` threads, in whole warps, are at barrier `id`, 1 to 15 (0: __syncthreads).
__device__ inline void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/// Counts as an arrival there, without waiting.
__device__ inline void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#else

using cuda_on_cpu::Site;

inline void cp_async16(void* to, const void* from, int read = 16, Site site = Site::current()) {
  cuda_on_cpu::copy_async(to, from, 16, static_cast<std::size_t>(read), site);
}
inline void cp_async_commit() { cuda_on_cpu::commit_copies(); }
template <int left>
void cp_async_wait() {
  cuda_on_cpu::wait_for_copies(left);
}

inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* shared_row,
                        Site site = Site::current()) {
  cuda_on_cpu::load_matrices(r, 4, false, shared_row, site);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* shared_row,
                              Site site = Site::current()) {
  cuda_on_cpu::load_matrices(r, 4, true, shared_row, site);
}
inline void ldmatrix_x2(std::uint32_t (&r)[2], const void* shared_row,
                        Site site = Site::current()) {
  cuda_on_cpu::load_matrices(r, 2, false, shared_row, site);
}

inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                         bf16_t, Site site = Site::current()) {
  cuda_on_cpu::multiply_matrices<bf16_t>("mma.m16n8k16.bf16", d, a, b, site);
}
inline void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                         f16_t, Site site = Site::current()) {
  cuda_on_cpu::multiply_matrices<f16_t>("mma.m16n8k16.f16", d, a, b, site);
}

inline int thread_read_here() { return thread_of_block(); }

template <class T>
const T* opaque_shared(const T* p) {
  return p;
}

template <int i>
std::uint32_t byte_of(std::uint32_t bytes) {
  return bytes >> 8 * i & 255;
}

inline void named_barrier_sync(int id, int threads, Site site = Site::current()) {
  cuda_on_cpu::block().barrier(static_cast<unsigned>(id), static_cast<unsigned>(threads), true,
                               false, "named_barrier_sync", site);
}
inline void named_barrier_arrive(int id, int threads, Site site = Site::current()) {
  cuda_on_cpu::block().barrier(static_cast<unsigned>(id), static_cast<unsigned>(threads), false,
                               false, "named_barrier_arrive", site);
}

#endif

}}}  // namespace idefics::v0::cuda
