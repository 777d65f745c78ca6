// Linear layers with 4-bit weights: which kernel multiplies, and who of the threads gets which rows.
#pragma once

#include <algorithm>

#include <idefics/backend/cpu/kernel_table.hpp>
#include <idefics/backend/cpu/scratch.hpp>
#include <idefics/core/threads.hpp>

namespace idefics::inline v0::detail::cpu {

/// Multiplies by 4-bit matrices; owns the scratch memory for that. Few rows of x are multiplied by codes
/// as they are read. For more rows each thread turns some weight rows into plain ones at a time and
/// multiplies those; so it does with blocks that run over the ends of rows.
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
    if (expected > 0) make_room(task, matrix, compute, expected);
    if (few && matrix.aligned())
      multiply_codes(task, weight, matrix, compute);
    else if (compute == Compute::f32)
      few ? multiply_few_rows(task, weight, matrix) : multiply_many_rows(task, weight, matrix);
    else if (matrix.aligned() && matrix.short_blocks())
      multiply_many_rows_bf16(task, weight, matrix);
    else
      multiply_any_bf16(task, weight, matrix);
  }

 private:
  static constexpr std::int64_t few_rows = 8;     // weight rows whose values fit the second cache
  static constexpr std::int64_t many_rows = 48;   // weight rows that are worth packing together
  static constexpr std::int64_t row_block = 384;  // rows of x whose sums fit the cache
  static constexpr std::int64_t thread_products = 131072;

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

  static std::int64_t blocks_of(const FourBitMatrix& w, std::int64_t rows) {
    return rows * w.k / w.blocksize + 2;
  }

  /// absmax of all blocks that weight rows [begin, end) touch.
  void fetch_absmax(float* out, const QuantizedTensor& weight, std::int64_t begin,
                    std::int64_t end) const {
    const std::int64_t k = weight.shape[1], first = begin * k / weight.blocksize;
    const std::int64_t last = ceil_div(end * k, weight.blocksize);
    if (weight.double_quant())
      kernels_.four_bit.expand_absmax(out,
                                      reinterpret_cast<const std::uint8_t*>(weight.absmax.raw()),
                                      weight.nested, first, last);
    else
      std::memcpy(out, weight.absmax.raw() + static_cast<std::size_t>(first) * sizeof(float),
                  static_cast<std::size_t>(last - first) * sizeof(float));
  }

  /// Weight rows that one thread takes at a time: runs of about 128 KiB of codes.
  static std::int64_t run_of_rows(const LinearTask& task) {
    return std::clamp<std::int64_t>(round_up(262144 / std::max<std::int64_t>(task.k, 1), 8), 8,
                                    round_up(task.n / num_threads() + 1, 8));
  }

  /// Takes the room that the product will need with any number of rows up to `expected`.
  void make_room(const LinearTask& task, const FourBitMatrix& w, Compute compute,
                 std::int64_t expected) {
    const bool pairs = compute == Compute::bf16, many = expected > direct_rows_max;
    const auto& kernels = pairs ? kernels_.linear_bf16 : kernels_.linear_f32;
    const std::int64_t rows = round_up(std::min(expected, row_block), kernels.tile_rows);
    const std::int64_t sums = many ? kernels.scratch_floats(rows, many_rows) : 0;
    const std::int64_t plain =
        pairs ? round_up(task.k, 32) / 2 : round_up((many ? many_rows : few_rows) * task.k, 16);
    (void)packed_.floats(rows * kernels.row_floats(task.k));
    (void)constants_.floats(blocks_of(w, std::max(many_rows, run_of_rows(task))) * num_threads());
    if (many || !w.aligned()) (void)values_.floats((plain + sums) * num_threads());
  }

  /// Few rows of x, every row of the weight whole blocks.
  void multiply_codes(LinearTask task, const QuantizedTensor& weight, const FourBitMatrix& w,
                      Compute compute) {
    const bool pairs = compute == Compute::bf16;
    const auto& kernels = pairs ? kernels_.linear_bf16 : kernels_.linear_f32;
    float* packed = packed_.floats(task.m * kernels.row_floats(task.k));
    kernels.pack_rows(packed, task.x, 0, task.m, task.m, task.k);
    task.x = packed;
    const auto multiply = pairs ? kernels_.four_bit_pairs.multiply : kernels_.four_bit.multiply;
    const std::int64_t rows = run_of_rows(task), room = blocks_of(w, rows);
    float* constants = constants_.floats(room * num_threads());
    divide(task, rows, [&](std::int64_t begin, std::int64_t end, int worker) {
      float* absmax = constants + worker * room;
      fetch_absmax(absmax, weight, begin, end);
      const FlushSubnormals mode(pairs);
      multiply(task, w, absmax, begin, end);
    });
  }

  /// The task of weight rows [begin, end), whose values in f32 are put behind `values`.
  LinearTask dequantized(const LinearTask& task, const QuantizedTensor& weight,
                         const FourBitMatrix& w, float* values, float* absmax, std::int64_t begin,
                         std::int64_t end) const {
    fetch_absmax(absmax, weight, begin, end);
    kernels_.four_bit.dequantize(values, w, absmax, begin * w.k, end * w.k);
    LinearTask part = task;
    part.weight = reinterpret_cast<const std::byte*>(values);
    part.out += begin;
    part.bias = task.bias == nullptr ? nullptr : task.bias + begin;
    return part;
  }

  void multiply_few_rows(LinearTask task, const QuantizedTensor& weight, const FourBitMatrix& w) {
    const auto& kernels = kernels_.linear_f32;
    float* packed = packed_.floats(task.m * kernels.row_floats(task.k));
    kernels.pack_rows(packed, task.x, 0, task.m, task.m, task.k);
    task.x = packed;
    const std::int64_t room = blocks_of(w, few_rows), size = round_up(few_rows * task.k, 16);
    float* constants = constants_.floats(room * num_threads());
    float* values = values_.floats(size * num_threads());
    divide(task, few_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
      const LinearTask part = dequantized(task, weight, w, values + worker * size,
                                          constants + worker * room, begin, end);
      kernels.direct[0](part, 0, end - begin);
    });
  }

  /// Calls body(task, sums) for parts of the rows of x that fit the cache, packed in tiles; `sums` are
  /// the floats of scratch that many_rows weight rows need.
  template <class Body>
  void for_row_blocks(const LinearTask& whole, const LinearKernels& kernels, const Body& body) {
    const std::int64_t parts = ceil_div(whole.m, row_block);
    const std::int64_t rows = round_up(ceil_div(whole.m, parts), kernels.tile_rows);
    float* packed = packed_.floats(rows * kernels.row_floats(whole.k));
    for (std::int64_t m = 0; m < whole.m; m += rows) {
      LinearTask task = whole;
      task.m = std::min(rows, whole.m - m);
      task.out += m * whole.n;
      const float* x = whole.x + m * whole.k;
      parallel_tasks(ceil_div(task.m, kernels.tile_rows), [&](std::int64_t i, int) {
        kernels.pack_tiles(packed, x, i, i + 1, task.m, task.k);
      });
      task.x = packed;
      body(task, kernels.scratch_floats(rows, many_rows));
    }
  }

  void multiply_many_rows(const LinearTask& whole, const QuantizedTensor& weight,
                          const FourBitMatrix& w) {
    const std::int64_t room = blocks_of(w, many_rows), size = round_up(many_rows * whole.k, 16);
    float* constants = constants_.floats(room * num_threads());
    for_row_blocks(whole, kernels_.linear_f32, [&](const LinearTask& task, std::int64_t sums) {
      float* values = values_.floats((size + sums) * num_threads());
      divide(task, many_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
        float* mine = values + worker * (size + sums);
        const LinearTask part =
            dequantized(task, weight, w, mine, constants + worker * room, begin, end);
        kernels_.linear_f32.blocked[0](part, 0, end - begin, mine + size);
      });
    });
  }

  void multiply_many_rows_bf16(const LinearTask& whole, const QuantizedTensor& weight,
                               const FourBitMatrix& w) {
    const std::int64_t room = blocks_of(w, many_rows);
    float* constants = constants_.floats(room * num_threads());
    for_row_blocks(whole, kernels_.linear_bf16, [&](const LinearTask& task, std::int64_t sums) {
      float* scratch = values_.floats(sums * num_threads());
      divide(task, many_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
        float* absmax = constants + worker * room;
        fetch_absmax(absmax, weight, begin, end);
        const FlushSubnormals mode(true);
        kernels_.four_bit_pairs.blocked(task, w, absmax, scratch + worker * sums, begin, end);
      });
    });
  }

  void multiply_any_bf16(LinearTask task, const QuantizedTensor& weight, const FourBitMatrix& w) {
    const auto& kernels = kernels_.linear_bf16;
    float* packed = packed_.floats(task.m * kernels.row_floats(task.k));
    parallel_tasks(ceil_div(task.m, 8), [&](std::int64_t i, int) {
      kernels.pack_rows(packed, task.x, 8 * i, std::min(8 * i + 8, task.m), task.m, task.k);
    });
    task.x = packed;
    const std::int64_t room = blocks_of(w, few_rows), size = round_up(task.k, 32) / 2;
    float* constants = constants_.floats(room * num_threads());
    float* values = values_.floats(size * num_threads());  // of one row, as bf16
    divide(task, few_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
      float* absmax = constants + worker * room;
      fetch_absmax(absmax, weight, begin, end);
      const FlushSubnormals mode(true);
      kernels_.four_bit_pairs.multiply_any(
          task, w, absmax, reinterpret_cast<bf16_t*>(values + worker * size), begin, end);
    });
  }

  const KernelTable& kernels_;
  Scratch packed_, constants_, values_;
};

}  // namespace idefics::inline v0::detail::cpu
