// Sizes of the scratch of products, which the backend allocates and the plan predicts
// (plan/kernel_bytes.hpp).
//
// Letters: M rows, N outputs, K inputs.
#pragma once

#include <algorithm>
#include <cstdint>

#include <idefics/backend/cpu/kernel_table.hpp>
#include <idefics/core/checked.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

inline constexpr std::int64_t row_block = 384;      // rows of x whose sums fit the cache
inline constexpr std::int64_t gemm_w_rows = 48;     // weight rows that are worth packing together
inline constexpr std::int64_t unpacked_w_rows = 8;  // weight rows whose f32 values fit L2
inline constexpr std::int64_t run_rows = 16;  // weight rows that lanes share in the bf16 order

/// Scratch of a product, in floats.
struct LinearScratch {
  Checked packed = 0;     // rows of x, for all threads combined
  Checked of_thread = 0;  // per thread: weight rows and their sums
  Checked constants = 0;  // per thread: absmax of 4-bit blocks

  void grow(const LinearScratch& other) {
    packed = std::max(packed, other.packed);
    of_thread = std::max(of_thread, other.of_thread);
    constants = std::max(constants, other.constants);
  }
};

inline Checked floats(std::int64_t count) { return Checked(static_cast<std::uint64_t>(count)); }

/// Rows of x that are packed at a time, in tiles of `tile`: all rows, divided into equal parts.
inline std::int64_t rows_at_once(std::int64_t m, std::int64_t tile) {
  return round_up(ceil_div(m, ceil_div(m, row_block)), tile);
}

/// Weight rows that are packed at a time: few enough that every thread gets some.
inline std::int64_t cols_at_once(const LinearKernels& kernels, std::int64_t n,
                                 std::int64_t threads) {
  const std::int64_t tile = kernels.tile_w_rows;
  return std::clamp(ceil_div(n, 4 * threads) / tile * tile, tile, gemm_w_rows / tile * tile);
}

/// x [M,K] with few rows; the weight is read in place.
inline LinearScratch gemv_scratch(const LinearKernels& kernels, std::int64_t m, std::int64_t k) {
  return {.packed = floats(m) * floats(kernels.row_floats(round_up(k, 2 * block_values)))};
}

/// x [M,K] times a plain weight [N,K], which is packed.
inline LinearScratch gemm_scratch(const LinearKernels& kernels, std::int64_t m, std::int64_t n,
                                  std::int64_t k, std::int64_t threads) {
  const std::int64_t rows = rows_at_once(m, kernels.tile_x_rows);
  const std::int64_t cols = cols_at_once(kernels, n, threads);
  return {.packed = floats(rows / kernels.tile_x_rows) * floats(kernels.tile_floats(k)),
          .of_thread = floats(kernels.scratch_floats(rows, cols, k))};
}

/// Rows of a 4-bit weight in one task: about 512 KiB of codes, but several tasks per thread.
inline std::int64_t run_of_rows(std::int64_t n, std::int64_t k, std::int64_t threads) {
  return std::clamp<std::int64_t>(round_up(1048576 / std::max<std::int64_t>(k, 1), 8), 8,
                                  round_up(n / (4 * threads) + 1, 8));
}

/// x [M,K] times a 4-bit weight, in the bf16 order if `pairs`. With few rows of x, only a weight that
/// is not aligned is copied: one row as gathered chunks (bf16, any number of rows), or eight as f32.
/// With many rows, scratch holds the sums of gemm_w_rows weight rows and, in the f32 order, their
/// values. Factors are followed by the absmax that they are made from.
inline LinearScratch four_bit_scratch(const KernelTable& table, bool pairs, std::int64_t m,
                                      const FourBitMatrix& w, std::int64_t threads) {
  const auto blocks = [&](std::int64_t rows) { return floats(rows * w.k / w.blocksize + 2); };
  const auto factors = [&](std::int64_t rows) {
    return floats(rows * w.row_factors()) + blocks(rows);
  };
  const bool few = m <= gemv_rows_max, unaligned_pairs = pairs && !w.aligned();
  const std::int64_t k = pairs ? round_up(w.k, FourBitPairKernels::chunk) : w.k;
  const LinearKernels& kernels = table.linear_f32;
  LinearScratch scratch = gemv_scratch(kernels, m, k);
  if (unaligned_pairs || (few && !w.aligned())) {
    scratch.constants = blocks(unpacked_w_rows);
    scratch.of_thread = floats(unaligned_pairs ? FourBitPairKernels::unaligned_floats(k)
                                               : round_up(unpacked_w_rows * k, 16));
  } else if (few) {
    scratch.constants = factors(run_of_rows(w.n, k, threads));
  } else if (pairs) {
    const std::int64_t rows = rows_at_once(m, table.four_bit_pairs.tile_x_rows);
    scratch.packed = floats(rows) * floats(k);
    scratch.constants = factors(gemm_w_rows);
    scratch.of_thread = floats(table.four_bit_pairs.scratch_floats(rows, gemm_w_rows, k));
  } else {
    const std::int64_t tile = kernels.tile_x_rows, rows = rows_at_once(m, tile);
    scratch.packed = floats(rows / tile) * floats(kernels.tile_floats(k));
    scratch.constants = blocks(gemm_w_rows);
    scratch.of_thread = floats(round_up(gemm_w_rows * k, 16)) +
                        floats(kernels.scratch_floats(rows, gemm_w_rows, k));
  }
  return scratch;
}

/// Rows of x [M,K] in int8, at most row_block at a time: codes, columns of outliers, absmax.
inline LinearScratch int8_scratch(std::int64_t m, std::int64_t k) {
  const std::int64_t row =
      round_up(k, 32) / 2 + k + static_cast<std::int64_t>(sizeof(Int8Row) / sizeof(float));
  return {.packed = floats(std::min(m, row_block)) * floats(row)};
}

}}}  // namespace idefics::v0::detail::cpu
