// How much memory a product takes: said once, for the backend that takes it and for the plan that
// foresees it (plan/kernel_bytes.hpp).
#pragma once

#include <algorithm>
#include <cstdint>

#include <idefics/backend/cpu/kernel_table.hpp>
#include <idefics/core/checked.hpp>

namespace idefics::inline v0::detail::cpu {

inline constexpr std::int64_t row_block = 384;  // rows of x whose sums fit the cache
inline constexpr std::int64_t many_cols = 48;   // weight rows that are worth packing together
inline constexpr std::int64_t few_cols = 8;     // weight rows whose values fit the second cache

/// Floats.
struct LinearRoom {
  Checked packed = 0;     // rows of x, of all threads together
  Checked of_thread = 0;  // weight rows and their sums
  Checked constants = 0;  // of each thread: absmax of 4-bit blocks

  void grow(const LinearRoom& other) {
    packed = std::max(packed, other.packed);
    of_thread = std::max(of_thread, other.of_thread);
    constants = std::max(constants, other.constants);
  }
};

inline Checked floats(std::int64_t count) { return Checked(static_cast<std::uint64_t>(count)); }

/// Rows of x that are packed at a time: parts of one size.
inline std::int64_t rows_at_once(const LinearKernels& kernels, std::int64_t m) {
  return round_up(ceil_div(m, ceil_div(m, row_block)), kernels.tile_rows);
}

/// Weight rows that are packed at a time: every thread gets some.
inline std::int64_t cols_at_once(const LinearKernels& kernels, std::int64_t n,
                                 std::int64_t threads) {
  const std::int64_t tile = kernels.tile_cols;
  return std::clamp(ceil_div(n, 4 * threads) / tile * tile, tile, many_cols);
}

/// Few rows of x [m,K], the weight read where it lies.
inline LinearRoom direct_room(const LinearKernels& kernels, std::int64_t m, std::int64_t k) {
  return {.packed = floats(m) * floats(kernels.row_floats(k))};
}

/// x [m,K] against a plain weight [N,K] that is packed.
inline LinearRoom blocked_room(const LinearKernels& kernels, std::int64_t m, std::int64_t n,
                               std::int64_t k, std::int64_t threads) {
  const std::int64_t rows = rows_at_once(kernels, m), cols = cols_at_once(kernels, n, threads);
  return {.packed = floats(rows) * floats(kernels.row_floats(k)),
          .of_thread = floats(kernels.scratch_floats(rows, cols, k))};
}

/// Rows of a 4-bit weight that one thread takes at a time: runs of about 128 KiB of codes.
inline std::int64_t run_of_rows(std::int64_t n, std::int64_t k, std::int64_t threads) {
  return std::clamp<std::int64_t>(round_up(262144 / std::max<std::int64_t>(k, 1), 8), 8,
                                  round_up(n / threads + 1, 8));
}

/// x [m,K] against a 4-bit weight, `kernels` being those of its order: `pairs` for bf16. Few rows of x
/// need no copy of the weight unless its blocks run over the ends of rows: then one row as bf16 or eight
/// as f32. Many rows need the sums of many_cols weight rows, and in the f32 order their values.
inline LinearRoom four_bit_room(const LinearKernels& kernels, bool pairs, std::int64_t m,
                                const FourBitMatrix& w, std::int64_t threads) {
  const auto blocks = [&](std::int64_t rows) { return floats(rows * w.k / w.blocksize + 2); };
  const bool few = m <= direct_rows_max;
  LinearRoom room = direct_room(kernels, m, w.k);
  if (few && w.aligned()) {
    room.constants = blocks(run_of_rows(w.n, w.k, threads));
  } else if (pairs ? !w.aligned() || !w.short_blocks() : few) {
    room.constants = blocks(few_cols);
    room.of_thread = floats(pairs ? round_up(w.k, 32) / 2 : round_up(few_cols * w.k, 16));
  } else {
    const std::int64_t rows = rows_at_once(kernels, m);
    room.packed = floats(rows) * floats(kernels.row_floats(w.k));
    room.constants = blocks(many_cols);
    room.of_thread = floats((pairs ? 0 : round_up(many_cols * w.k, 16)) +
                            kernels.scratch_floats(rows, many_cols, w.k));
  }
  return room;
}

}  // namespace idefics::inline v0::detail::cpu
