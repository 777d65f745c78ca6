// Tensor maps and the copies that use them (TMA), as far as the kernels need them: boxes of a
// matrix of 16-bit elements, 128 bytes wide, swizzled by 128 bytes. Names and values are those of
// the CUDA driver.
#pragma once

#include <string_view>

#include "support/cuda_on_cpu/mbarrier.hpp"
#include "support/cuda_on_cpu/runtime.hpp"
#include "support/cuda_on_cpu/warp.hpp"

enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
enum CUtensorMapDataType { CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9 };
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE = 0 };
enum CUtensorMapSwizzle { CU_TENSOR_MAP_SWIZZLE_NONE = 0, CU_TENSOR_MAP_SWIZZLE_128B = 3 };
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3 };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0 };
using cuuint32_t = std::uint32_t;
using cuuint64_t = std::uint64_t;

struct CUtensorMap {
  const std::byte* base;
  std::uint64_t columns, rows, stride;  // of the matrix; bytes from row to row
  std::uint32_t box_columns, box_rows;
};

/// Refuses what the driver's function of this name refuses, for two dimensions.
inline CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType, cuuint32_t rank,
                                       void* base, const cuuint64_t* sizes,
                                       const cuuint64_t* strides, const cuuint32_t* box,
                                       const cuuint32_t* steps, CUtensorMapInterleave,
                                       CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                                       CUtensorMapFloatOOBfill) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(base) % 16 == 0 && strides[0] % 16 == 0;
  const bool sized = sizes[0] != 0 && sizes[1] != 0 && sizes[0] <= std::uint64_t{1} << 32 &&
                     sizes[1] <= std::uint64_t{1} << 32 && strides[0] >= 2 * sizes[0] &&
                     strides[0] < std::uint64_t{1} << 40;
  const bool boxed = box[0] != 0 && box[1] != 0 && box[0] <= 64 && box[1] <= 256 &&
                     box[0] * 2 % 16 == 0 && steps[0] == 1 && steps[1] == 1;
  if (rank != 2 || !aligned || !sized || !boxed || swizzle != CU_TENSOR_MAP_SWIZZLE_128B)
    return CUDA_ERROR_INVALID_VALUE;
  *map = {static_cast<const std::byte*>(base), sizes[0], sizes[1], strides[0], box[0], box[1]};
  return CUDA_SUCCESS;
}

enum cudaDriverEntryPointQueryResult {
  cudaDriverEntryPointSuccess = 0,
  cudaDriverEntryPointSymbolNotFound = 1,
};
inline constexpr unsigned long long cudaEnableDefault = 0;

inline cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function,
                                                    unsigned /*version*/,
                                                    unsigned long long /*flags*/,
                                                    cudaDriverEntryPointQueryResult* result) {
  const bool known = std::string_view(name) == "cuTensorMapEncodeTiled";
  *function = known ? reinterpret_cast<void*>(&cuTensorMapEncodeTiled) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

namespace cuda_on_cpu {

/// The offset in shared memory to which 128-byte swizzling moves a byte: its chunk of 16 bytes, one
/// of eight, is XORed with the number of its row of 128 bytes, modulo eight.
inline std::size_t swizzled_128(std::size_t offset) { return offset ^ (offset >> 7 & 7) << 4; }

/// Copies the box of `map` at (row, column); elements outside the matrix become zero.
inline void copy_box(SharedMemory& shared, std::byte* to, const CUtensorMap& map,
                     std::int64_t column, std::int64_t row) {
  const std::size_t width = 2 * map.box_columns, begin = shared.offset_of(to);
  for (std::size_t r = 0; r < map.box_rows; ++r)
    for (std::size_t c = 0; c < map.box_columns; ++c) {
      const std::int64_t from_row = row + static_cast<std::int64_t>(r);
      const std::int64_t from_column = column + static_cast<std::int64_t>(c);
      const bool inside = from_row >= 0 && from_column >= 0 &&
                          static_cast<std::uint64_t>(from_row) < map.rows &&
                          static_cast<std::uint64_t>(from_column) < map.columns;
      std::byte* const at = shared.at(swizzled_128(begin + r * width + 2 * c));
      if (inside)
        std::memcpy(
            at, map.base + from_row * static_cast<std::int64_t>(map.stride) + from_column * 2, 2);
      else
        std::memset(at, 0, 2);
    }
}

/// cp.async.bulk.tensor.2d from device memory into a block of the cluster, at the places there that
/// `to` and `barrier` have in this block.
inline void tma_load_to(BlockOfCluster& other, void* to, const CUtensorMap* map, int column,
                        int row, std::uint64_t* barrier, Site site) {
  const std::size_t bytes = std::size_t{2} * map->box_columns * map->box_rows;
  SharedMemory& own = block().shared();
  check_aligned(to, 128, site);
  if (map->box_columns != 64)
    block().fail("tma_load at " + name_of(site) + ": rows of a box must be 128 bytes");
  if (!own.holds(to, bytes) || !own.holds(barrier, 8))
    block().fail("tma_load writes outside shared memory at " + name_of(site));
  std::byte* const target = other.shared.at(own.offset_of(to));
  const auto* there = reinterpret_cast<std::uint64_t*>(other.shared.at(own.offset_of(barrier)));
  TransactionBarrier& b = mbarrier_at(there, "tma_load", site, &other);
  if (!b.fenced) block().fail("tma_load at " + name_of(site) + ": the mbarrier is not fenced");
  std::memset(target, 0xff, bytes);  // from now on the copy may arrive at any time
  b.copies.push_back([=, map = *map, &other] { copy_box(other.shared, target, map, column, row); });
  b.bytes -= static_cast<std::int64_t>(bytes);
  settle(b, block().is_awaited(&b));
}

inline void tma_load(void* to, const CUtensorMap* map, int column, int row, std::uint64_t* barrier,
                     Site site) {
  tma_load_to(block().of_rank(block().rank(), "tma_load", site), to, map, column, row, barrier,
              site);
}

}  // namespace cuda_on_cpu
