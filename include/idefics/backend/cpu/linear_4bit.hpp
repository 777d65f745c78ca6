// Linear layers with 4-bit weights: which kernel multiplies, and who of the threads gets which rows.
#pragma once

#include <algorithm>
#include <cmath>

#include <idefics/backend/cpu/linear_room.hpp>
#include <idefics/backend/cpu/scratch.hpp>
#include <idefics/core/threads.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// Multiplies by 4-bit matrices; owns the scratch memory for that. Few rows of x are multiplied by codes
/// as they are read. For more rows each thread turns some weight rows into plain ones at a time and
/// multiplies those; so it does, whatever the rows of x, where 64 neighbours do not share a block.
class FourBitLinear {
 public:
  explicit FourBitLinear(const KernelTable& kernels) : kernels_(kernels) {}

  /// `task` as in the task of plain weights; its x is not packed yet and its weight is not read.
  /// Room is taken for any number of rows up to `expected`.
  void operator()(const LinearTask& task, const QuantizedTensor& weight, Compute compute,
                  std::int64_t expected) {
    const Codebook table = weight.table();
    const FourBitMatrix matrix{reinterpret_cast<const std::uint8_t*>(weight.codes.raw()),
                               table.data(), task.n, task.k, weight.blocksize};
    const bool few = task.m <= direct_rows_max;
    if (expected > 0) make_room(matrix, compute, expected);
    const Room room = room_for(task.m, matrix, compute);
    if (few && matrix.aligned())
      multiply_codes(task, weight, matrix, compute, room);
    else if (compute == Compute::f32)
      few ? multiply_few_rows(task, weight, matrix, room)
          : multiply_many_rows(task, weight, matrix, room);
    else if (matrix.aligned())
      multiply_many_rows_bf16(task, weight, matrix, room);
    else
      multiply_any_bf16(task, weight, matrix, room);
  }

 private:
  static constexpr std::int64_t thread_products = 131072;

  /// Where a product puts things.
  struct Room {
    float* packed;
    float* values;     // of_thread floats for each thread
    float* constants;  // [threads, absmax of a thread]
    std::size_t of_thread, constants_of_thread;

    float* values_of(int worker) const {
      return values + static_cast<std::size_t>(worker) * of_thread;
    }
    float* constants_of(int worker) const {
      return constants + static_cast<std::size_t>(worker) * constants_of_thread;
    }
  };

  /// The room that is taken and then kept.
  Room room_for(std::int64_t m, const FourBitMatrix& w, Compute compute) {
    const bool pairs = compute == Compute::bf16;
    const LinearRoom need = four_bit_room(pairs ? kernels_.linear_bf16 : kernels_.linear_f32, pairs,
                                          m, w, num_threads());
    const Checked threads = floats(num_threads());
    return {packed_.floats(need.packed), values_.floats(need.of_thread * threads),
            constants_.floats(need.constants * threads), need.of_thread.size(),
            need.constants.size()};
  }

  /// Takes the room that the product will need with any number of rows up to `expected`.
  void make_room(const FourBitMatrix& w, Compute compute, std::int64_t expected) {
    for (const std::int64_t most : {direct_rows_max, row_block})
      (void)room_for(std::min(expected, most), w, compute);
  }

  /// Calls body(begin, end, worker) for runs of `rows` weight rows.
  template <class Body>
  static void divide(const LinearTask& task, std::int64_t rows, const Body& body) {
    const std::int64_t tasks = ceil_div(task.n, rows);
    const auto run = [&](std::int64_t i, int worker) {
      body(i * rows, std::min((i + 1) * rows, task.n), worker);
    };
    if (task.m * task.n * task.k >= thread_products) return parallel_tasks(tasks, run);
    for (std::int64_t i = 0; i < tasks; ++i) run(i, 0);
  }

  /// absmax of all blocks that weight rows [begin, end) touch: where they lie, if that is possible, and
  /// else in `room`.
  const float* fetch_absmax(float* room, const QuantizedTensor& weight, std::int64_t begin,
                            std::int64_t end) const {
    const std::int64_t k = weight.shape[1], first = begin * k / weight.blocksize;
    const std::int64_t last = ceil_div(end * k, weight.blocksize);
    if (weight.double_quant()) {
      kernels_.four_bit.expand_absmax(room,
                                      reinterpret_cast<const std::uint8_t*>(weight.absmax.raw()),
                                      weight.nested, first, last);
      return room;
    }
    const std::byte* stored = weight.absmax.raw() + static_cast<std::size_t>(first) * sizeof(float);
    if (reinterpret_cast<std::uintptr_t>(stored) % alignof(float) == 0)
      return reinterpret_cast<const float*>(stored);
    std::memcpy(room, stored, static_cast<std::size_t>(last - first) * sizeof(float));
    return room;
  }

  /// absmax of every 64 values of weight rows [begin, end): as they lie, where rows have a whole number
  /// of pairs of blocks of 64, and else made in `room`.
  const float* fetch_factors(float* room, const QuantizedTensor& weight, const FourBitMatrix& w,
                             std::int64_t begin, std::int64_t end) const {
    if (w.one_factor_per_block()) return fetch_absmax(room, weight, begin, end);
    const std::int64_t of_row = w.row_factors(), size = (end - begin) * of_row;
    const float* absmax = fetch_absmax(room + size, weight, begin, end);
    const std::int64_t first_block = begin * w.k / w.blocksize;
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t row = begin + i / of_row, at = i % of_row * 64;
      room[i] = at < w.k ? absmax[(row * w.k + at) / w.blocksize - first_block] : 0.0f;
    }
    return room;
  }

  /// Few rows of x and an aligned matrix.
  void multiply_codes(LinearTask task, const QuantizedTensor& weight, const FourBitMatrix& w,
                      Compute compute, const Room& room) const {
    const bool pairs = compute == Compute::bf16;
    const auto pack = pairs ? kernels_.four_bit_pairs.pack_rows : kernels_.four_bit.pack_rows;
    pack(room.packed, task.x, 0, task.m, task.m, task.k);
    task.x = room.packed;
    const bool kept = pairs && task.m == 1 && w.one_factor_per_block() && weight.double_quant() &&
                      flushing_changes_nothing(weight.nested);
    const std::int64_t rows = run_of_rows(task.n, task.k, num_threads());
    divide(task, rows, [&](std::int64_t begin, std::int64_t end, int worker) {
      FourBitFactors factors{nullptr, &weight.nested,
                             reinterpret_cast<const std::uint8_t*>(weight.absmax.raw())};
      if (!kept)
        factors = {fetch_factors(room.constants_of(worker), weight, w, begin, end), nullptr,
                   nullptr};
      if (!pairs) return kernels_.four_bit.multiply(task, w, factors.values, begin, end);
      const FlushSubnormals mode(true);
      kernels_.four_bit_pairs.multiply(task, w, factors, begin, end);
    });
  }

  /// Whether the bf16 order, which takes subnormal numbers for zero, may expand these constants: a product
  /// that is flushed must vanish beside the offset anyway.
  static bool flushing_changes_nothing(const NestedConstants& nested) {
    const auto map = nested.map.as<float>();
    const auto subnormal = [](float x) { return x != 0.0f && std::abs(x) < 0x1p-126f; };
    return std::abs(nested.offset) > 0x1p-100f && std::ranges::none_of(map, subnormal);
  }

  /// The task of weight rows [begin, end), whose values in f32 are put behind `values`.
  LinearTask dequantized(const LinearTask& task, const QuantizedTensor& weight,
                         const FourBitMatrix& w, float* values, float* constants,
                         std::int64_t begin, std::int64_t end) const {
    kernels_.four_bit.dequantize(values, w, fetch_absmax(constants, weight, begin, end),
                                 begin * w.k, end * w.k);
    LinearTask part = task;
    part.weight = reinterpret_cast<const std::byte*>(values);
    part.out += begin;
    part.bias = task.bias == nullptr ? nullptr : task.bias + begin;
    return part;
  }

  void multiply_few_rows(LinearTask task, const QuantizedTensor& weight, const FourBitMatrix& w,
                         const Room& room) const {
    const auto& kernels = kernels_.linear_f32;
    kernels.pack_rows(room.packed, task.x, 0, task.m, task.m, task.k);
    task.x = room.packed;
    divide(task, few_cols, [&](std::int64_t begin, std::int64_t end, int worker) {
      const LinearTask part = dequantized(task, weight, w, room.values_of(worker),
                                          room.constants_of(worker), begin, end);
      kernels.direct[0](part, 0, end - begin);
    });
  }

  /// Calls body(task) for parts of the rows of x that fit the cache, packed in tiles.
  template <class Body>
  static void for_row_blocks(const LinearTask& whole, const LinearKernels& kernels,
                             LinearKernels::Pack pack_tiles, float* packed, const Body& body) {
    const std::int64_t rows = rows_at_once(kernels, whole.m);
    for (std::int64_t m = 0; m < whole.m; m += rows) {
      LinearTask task = whole;
      task.m = std::min(rows, whole.m - m);
      task.out += m * whole.n;
      const float* x = whole.x + m * whole.k;
      parallel_tasks(ceil_div(task.m, kernels.tile_rows),
                     [&](std::int64_t i, int) { pack_tiles(packed, x, i, i + 1, task.m, task.k); });
      task.x = packed;
      body(task);
    }
  }

  void multiply_many_rows(const LinearTask& whole, const QuantizedTensor& weight,
                          const FourBitMatrix& w, const Room& room) const {
    const std::int64_t size = round_up(many_cols * whole.k, 16);  // of values; sums are behind them
    const LinearKernels& kernels = kernels_.linear_f32;
    for_row_blocks(whole, kernels, kernels.pack_tiles, room.packed, [&](const LinearTask& task) {
      divide(task, many_cols, [&](std::int64_t begin, std::int64_t end, int worker) {
        float* mine = room.values_of(worker);
        const LinearTask part =
            dequantized(task, weight, w, mine, room.constants_of(worker), begin, end);
        kernels.blocked[0](part, 0, end - begin, mine + size);
      });
    });
  }

  void multiply_many_rows_bf16(const LinearTask& whole, const QuantizedTensor& weight,
                               const FourBitMatrix& w, const Room& room) const {
    const FourBitPairKernels& kernels = kernels_.four_bit_pairs;
    for_row_blocks(
        whole, kernels_.linear_bf16, kernels.pack_tiles, room.packed, [&](const LinearTask& task) {
          divide(task, many_cols, [&](std::int64_t begin, std::int64_t end, int worker) {
            const float* factors = fetch_factors(room.constants_of(worker), weight, w, begin, end);
            const FlushSubnormals mode(true);
            kernels.blocked(task, w, factors, room.values_of(worker), begin, end);
          });
        });
  }

  void multiply_any_bf16(LinearTask task, const QuantizedTensor& weight, const FourBitMatrix& w,
                         const Room& room) const {
    parallel_tasks(ceil_div(task.m, 8), [&](std::int64_t i, int) {
      kernels_.four_bit_pairs.pack_rows(room.packed, task.x, 8 * i, std::min(8 * i + 8, task.m),
                                        task.m, task.k);
    });
    task.x = room.packed;
    divide(task, few_cols, [&](std::int64_t begin, std::int64_t end, int worker) {
      const float* absmax = fetch_absmax(room.constants_of(worker), weight, begin, end);
      const FlushSubnormals mode(true);
      kernels_.four_bit_pairs.multiply_any(task, w, absmax, room.values_of(worker), begin, end);
    });
  }

  const KernelTable& kernels_;
  Scratch packed_, constants_, values_;
};

}}}  // namespace idefics::v0::detail::cpu
