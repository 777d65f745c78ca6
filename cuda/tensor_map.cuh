// Tensor maps, which describe to TMA the matrix that it loads boxes from.
#pragma once

#include <cuda.h>

#include "device.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

namespace detail {

/// The driver's function, found without linking the driver. Throws `device_unavailable` if the
/// driver lacks it.
inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                         cudaEnableDefault, &found),
        "looking up cuTensorMapEncodeTiled");
  if (found != cudaDriverEntryPointSuccess || function == nullptr)
    fail(ErrorCode::device_unavailable, "the NVIDIA driver does not support tensor maps",
         {.field = "device"});
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

}  // namespace detail

/// CUDA's tensor map in a comparable form, so that it can be an argument of a kernel.
struct TensorMap {
  CUtensorMap map{};
  bool operator==(const TensorMap& o) const { return std::memcmp(&map, &o.map, sizeof map) == 0; }
};

/// Boxes of `box_rows` × 64 elements of a matrix [rows, width] in device memory, swizzled by 128
/// bytes, with zeros outside the matrix. The matrix and its rows are aligned to 16 bytes;
/// `box_rows` is at most 256.
inline TensorMap tensor_map(const bf16_t* matrix, std::int64_t rows, std::int64_t width,
                            unsigned box_rows) {
  static const auto encode = detail::tensor_map_encoder();
  TensorMap made;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(width) * sizeof(bf16_t)};
  const cuuint32_t box[] = {64, box_rows}, steps[] = {1, 1};
  const CUresult result =
      encode(&made.map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<bf16_t*>(matrix), sizes,
             strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) check(cudaErrorInvalidValue, "creating a tensor map");
  return made;
}

}}}  // namespace idefics::v0::cuda
