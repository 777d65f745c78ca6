// How the CPU backend divides work: rows in blocks that fit the cache, outputs among threads. No sum
// is ever divided.
//
// Letters: M rows, N outputs, K inputs.
#pragma once

#include <algorithm>
#include <cstdint>

#include <idefics/backend/cpu/linear_scratch.hpp>
#include <idefics/core/threads.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

inline constexpr std::int64_t thread_work = 16384;       // elements that justify another thread
inline constexpr std::int64_t thread_products = 262144;  // products that justify another thread

/// The fewest rows of `row` elements that are worth a thread.
inline std::int64_t grain(std::int64_t row) {
  return std::max<std::int64_t>(1, thread_work / std::max<std::int64_t>(1, row));
}

/// Runs tasks on as many threads as their products justify.
template <class Body>
void divide(std::int64_t tasks, std::int64_t products, const Body& body) {
  const std::int64_t most = std::max<std::int64_t>(1, products / thread_products);
  parallel_tasks(tasks, body, static_cast<int>(std::min<std::int64_t>(most, num_threads())));
}

/// Calls body(args) for blocks of rows of x [M,K] whose sums fit the cache, packed in tiles of `tile`.
template <class Body>
void for_row_blocks(const LinearArgs& full, std::int64_t tile, LinearKernels::Pack pack_tiles,
                    float* packed, const Body& body) {
  const std::int64_t rows = rows_at_once(full.m, tile);
  for (std::int64_t m = 0; m < full.m; m += rows) {
    LinearArgs args = full;
    args.m = std::min(rows, full.m - m);
    args.out += m * full.n;
    const float* x = full.x + m * full.k;
    divide(ceil_div(args.m, tile), 8 * args.m * args.k,
           [&](std::int64_t i, int) { pack_tiles(packed, x, i, i + 1, args.m, args.k); });
    args.x = packed;
    body(args);
  }
}

}}}  // namespace idefics::v0::detail::cpu
