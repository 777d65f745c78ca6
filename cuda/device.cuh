// The vocabulary of the kernels, implemented once for GPUs and once for the CPU.
//
// Kernels use CUDA's own names (threadIdx, __syncthreads, __shfl_xor_sync, __ballot_sync, atomicAdd
// on integers, float4, uint4, …) and the functions below, which wrap everything that has no CUDA
// name or needs PTX. nvcc compiles them for a GPU. Any other compiler picks up <cuda_runtime.h>
// from tests/support/cuda_on_cpu/, which runs each lane on its own stack, so that kernels are
// tested on machines without a GPU.
//
// Rules that the shim enforces:
//   * every thread of a block reaches every __syncthreads, at the same line: none returns earlier;
//   * all lanes of a mask reach the same line with the same mask;
//   * shared arrays come from SHARED_ARRAY or dynamic_shared only; their initial contents are NaN;
//   * vectors are loaded and stored with load_vector and store_vector, aligned to their own size;
//   * data copied with cp_async16 is visible to a lane after its cp_async_wait, and to other lanes
//     after a further barrier; no thread returns while one of its copies is in flight;
//   * the result does not depend on the order in which lanes and blocks are scheduled.
//
// A kernel must not assume anything about lanes that it does not synchronize with.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <idefics/core/dtype.hpp>

#include "status.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr unsigned all_lanes = 0xffffffffu;

/// The index of this thread in the whole one-dimensional grid.
__device__ inline std::int64_t thread_of_grid() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int thread_of_block() { return static_cast<int>(threadIdx.x); }
__device__ inline int lane_of_warp() { return static_cast<int>(threadIdx.x % 32); }
__device__ inline int warp_of_block() { return static_cast<int>(threadIdx.x / 32); }

constexpr __host__ __device__ std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// ---- shared memory ------------------------------------------------------------------------------

#if defined(__CUDACC__)

/// Unrolls the loop that follows, completely or by a factor of `n`.
#define UNROLL _Pragma("unroll")
#define UNROLL_BY(n) UNROLL_PRAGMA(unroll n)
#define UNROLL_PRAGMA(words) _Pragma(#words)

/// `count` elements shared by all threads of a block; `count` is a constant.
#define SHARED_ARRAY(type, name, count) __shared__ alignas(128) type name[count]

/// The dynamic shared memory, of the size that the launch specifies.
template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char dynamic_shared_bytes[];
  return reinterpret_cast<T*>(dynamic_shared_bytes);
}

#else

#define UNROLL
#define UNROLL_BY(n)

#define SHARED_ARRAY(type, name, count)              \
  static const char name##_key = 0;                  \
  type(&name)[count] = *static_cast<type(*)[count]>( \
      ::cuda_on_cpu::block().shared().array(&name##_key, sizeof(type[count])))

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(::cuda_on_cpu::block().shared().dynamic());
}

#endif

// ---- elements -----------------------------------------------------------------------------------

__host__ __device__ inline float to_float(float x) { return x; }

__host__ __device__ inline float to_float(bf16_t x) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
#else
  return to_f32(x);
#endif
}

__host__ __device__ inline float to_float(f16_t x) {
#if defined(__CUDA_ARCH__)
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
#else
  return to_f32(x);
#endif
}

/// Rounds to nearest, ties to even, like core/dtype.hpp; a NaN stays a NaN, but not the same one.
template <class T>
__host__ __device__ inline T from_float(float x) {
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else if constexpr (std::is_same_v<T, bf16_t>) {
    bf16_t narrow;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
    return narrow;
  } else {
    f16_t narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
    return narrow;
  }
#else
  return from_f32<T>(x);
#endif
}

/// Two 16-bit elements in one register, the first in its lower half.
template <class T>
__device__ inline std::uint32_t pack_pair(float first, float second) {
  return from_float<T>(first).bits | static_cast<std::uint32_t>(from_float<T>(second).bits) << 16;
}
template <class T>
__device__ inline float2 unpack_pair(std::uint32_t pair) {
  return {to_float(T{static_cast<std::uint16_t>(pair)}),
          to_float(T{static_cast<std::uint16_t>(pair >> 16)})};
}

// ---- vectors ------------------------------------------------------------------------------------

/// Whether a V may be loaded from or stored to p.
template <class V>
__host__ __device__ inline bool is_aligned(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p) % sizeof(V) == 0;
}

#if defined(__CUDACC__)

/// Loads a float4, uint2 or similar in one access; p is aligned to its size.
template <class V>
__device__ V load_vector(const void* p) {
  return *static_cast<const V*>(p);
}
/// The same for memory that no kernel writes and that is read once: it evicts no other cache lines.
template <class V>
__device__ V load_once(const void* p) {
  return __ldcs(static_cast<const V*>(p));
}
/// The same where the compiler cannot see that p is in device memory: without knowing, it would ask
/// at run time whether it is in shared memory.
template <class V>
__device__ V load_global(const void* p) {
  return __ldca(static_cast<const V*>(p));
}
/// The same for what other blocks of this launch have written: from L2, which all of them share.
template <class V>
__device__ V load_of_blocks(const void* p) {
  return __ldcg(static_cast<const V*>(p));
}
template <class V>
__device__ void store_vector(void* p, V value) {
  *static_cast<V*>(p) = value;
}

#else

template <class V>
V load_vector(const void* p, cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  cuda_on_cpu::check_aligned(p, sizeof(V), site);
  V value;
  std::memcpy(&value, p, sizeof(V));
  return value;
}
template <class V>
V load_once(const void* p, cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  return load_vector<V>(p, site);
}
template <class V>
V load_global(const void* p, cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  return load_vector<V>(p, site);
}
template <class V>
V load_of_blocks(const void* p, cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  return load_vector<V>(p, site);
}
template <class V>
void store_vector(void* p, V value, cuda_on_cpu::Site site = cuda_on_cpu::Site::current()) {
  cuda_on_cpu::check_store(p, sizeof(V), site);
  std::memcpy(p, &value, sizeof(V));
}

#endif

}}}  // namespace idefics::v0::cuda
