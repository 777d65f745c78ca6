// Basics that most kernels share: access to values of any float type, four at a time, and sums over
// lanes in a fixed order.
#pragma once

#include <cstdint>
#include <string>

#include <idefics/core/error.hpp>

#include "launch.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Values in device memory of a type known at run time; `data` is null without values.
struct DeviceFloats {
  const void* data = nullptr;
  DType dtype = DType::f32;

  bool operator==(const DeviceFloats&) const = default;
};

__device__ inline float float_at(DeviceFloats values, std::int64_t i) {
  if (values.dtype == DType::f32)
    return load_global<float>(static_cast<const float*>(values.data) + i);
  const auto bits = load_global<std::uint16_t>(static_cast<const std::uint16_t*>(values.data) + i);
  return values.dtype == DType::f16 ? to_float(f16_t{bits}) : to_float(bf16_t{bits});
}

/// Calls function(typed pointer). Throws `dtype_mismatch` for types other than floats.
template <class Function>
void with_float_type(DeviceFloats values, const Function& function) {
  switch (values.dtype) {
    case DType::f32: return function(static_cast<const float*>(values.data));
    case DType::f16: return function(static_cast<const f16_t*>(values.data));
    case DType::bf16: return function(static_cast<const bf16_t*>(values.data));
    default:
      fail(ErrorCode::dtype_mismatch,
           "a CUDA kernel reads f32, f16 or bf16, not " + std::string(name_of(values.dtype)));
  }
}

/// Whether rows of this width, the first at `base`, can be read four values at a time.
template <class T>
bool in_quads(const T* base, std::int64_t width) {
  return width % 4 == 0 && reinterpret_cast<std::uintptr_t>(base) % (4 * sizeof(T)) == 0;
}

/// v = p[0..3], with zeros from p[left] on. `quads`: p is aligned to four values, and left is not
/// 1, 2 or 3.
__device__ inline void load_quad(float (&v)[4], const float* p, std::int64_t left, bool quads) {
  if (quads && left > 0) {
    const float4 four = load_vector<float4>(p);
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
  } else {
    for (int i = 0; i < 4; ++i) v[i] = i < left ? p[i] : 0.0f;
  }
}

template <class Half>
__device__ inline void load_quad(float (&v)[4], const Half* p, std::int64_t left, bool quads) {
  if (quads && left > 0) {
    const uint2 four = load_vector<uint2>(p);
    v[0] = to_float(Half{static_cast<std::uint16_t>(four.x)});
    v[1] = to_float(Half{static_cast<std::uint16_t>(four.x >> 16)});
    v[2] = to_float(Half{static_cast<std::uint16_t>(four.y)});
    v[3] = to_float(Half{static_cast<std::uint16_t>(four.y >> 16)});
  } else {
    for (int i = 0; i < 4; ++i) v[i] = i < left ? to_float(p[i]) : 0.0f;
  }
}

/// p[0..3] = v, but only the first `left` values.
__device__ inline void store_quad(float* p, const float (&v)[4], std::int64_t left, bool quads) {
  if (quads && left > 0) {
    store_vector(p, make_float4(v[0], v[1], v[2], v[3]));
  } else {
    for (int i = 0; i < 4; ++i)
      if (i < left) p[i] = v[i];
  }
}

/// The sum over `width` neighbouring lanes, in each of them: l + (l + width/2) first, 0 + 1 last.
template <int width = 32>
__device__ inline float lane_sum(float x) {
  for (int mask = width / 2; mask > 0; mask /= 2) x += __shfl_xor_sync(all_lanes, x, mask);
  return x;
}

template <int width = 32>
__device__ inline float lane_max(float x) {
  for (int mask = width / 2; mask > 0; mask /= 2) x = fmaxf(x, __shfl_xor_sync(all_lanes, x, mask));
  return x;
}

/// The sum over a block of `warps` full warps, in each of its threads: a tree over the lanes of
/// each warp, then one over the warps. `warps` is a power of two; `of_warp` is shared, [warps].
template <int warps>
__device__ inline float block_sum(float x, float* of_warp) {
  x = lane_sum(x);
  __syncthreads();  // other threads may still be reading an earlier sum
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  return lane_sum<warps>(of_warp[threadIdx.x % warps]);
}

/// The maximum over a block, in each of its threads.
template <int warps>
__device__ inline float block_max(float x, float* of_warp) {
  x = lane_max(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  return lane_max<warps>(of_warp[threadIdx.x % warps]);
}

/// The sums of `count` values over `width` lanes, in the order of lane_sum. At each level a lane
/// keeps half of its values and sends the other half away, so that lane l ends up with the sums of
/// v[l * count/width + i] in v[i], after about count shuffles instead of count * log2(width).
template <int width, int count>
__device__ inline void scatter_sums(float* v) {
  if constexpr (width > 1) {
    const bool upper = threadIdx.x & (width / 2);
    UNROLL
    for (int i = 0; i < count / 2; ++i) {
      const float kept = upper ? v[i + count / 2] : v[i];
      const float given = upper ? v[i] : v[i + count / 2];
      v[i] = kept + __shfl_xor_sync(all_lanes, given, width / 2);
    }
    scatter_sums<width / 2, count / 2>(v);
  }
}

}}}  // namespace idefics::v0::cuda
