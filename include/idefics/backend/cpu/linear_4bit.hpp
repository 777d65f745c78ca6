// Linear layers with 4-bit weights: which kernel multiplies, and who of the threads gets which rows.
#pragma once

#include <algorithm>
#include <cmath>

#include <idefics/backend/cpu/linear_scratch.hpp>
#include <idefics/backend/cpu/scratch.hpp>
#include <idefics/core/threads.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// Multiplies by 4-bit matrices; owns the scratch memory for that. Few rows of x are multiplied by codes
/// as they are read. For more rows each thread turns some weight rows into plain ones at a time and
/// multiplies those; so it does, whatever the rows of x, where 64 neighbours do not share a block.
class FourBitLinear {
 public:
  explicit FourBitLinear(const KernelTable& kernels) : kernels_(kernels) {}

  /// `args` as in the args of plain weights; its x is not packed yet and its weight is not read.
  /// Room is taken for any number of rows up to `expected`.
  void operator()(const LinearArgs& args, const QuantizedTensor& weight, Compute compute,
                  std::int64_t expected) {
    const Codebook table = weight.table();
    const FourBitMatrix matrix{reinterpret_cast<const std::uint8_t*>(weight.codes.raw()),
                               table.data(), args.n, args.k, weight.blocksize};
    const bool few = args.m <= gemv_rows_max;
    if (expected > 0) reserve_scratch(matrix, compute, expected);
    const Buffers buffers = buffers_for(args.m, matrix, compute);
    if (few && matrix.aligned())
      multiply_codes(args, weight, matrix, compute, buffers);
    else if (compute == Compute::f32)
      few ? multiply_few_rows(args, weight, matrix, buffers)
          : multiply_many_rows(args, weight, matrix, buffers);
    else if (matrix.aligned())
      multiply_many_rows_bf16(args, weight, matrix, buffers);
    else
      multiply_any_bf16(args, weight, matrix, buffers);
  }

 private:
  static constexpr std::int64_t thread_products = 131072;

  /// Where a product puts things.
  struct Buffers {
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
  Buffers buffers_for(std::int64_t m, const FourBitMatrix& w, Compute compute) {
    const bool pairs = compute == Compute::bf16;
    const LinearScratch need = four_bit_scratch(pairs ? kernels_.linear_bf16 : kernels_.linear_f32,
                                                pairs, m, w, num_threads());
    const Checked threads = floats(num_threads());
    return {packed_.floats(need.packed), values_.floats(need.of_thread * threads),
            constants_.floats(need.constants * threads), need.of_thread.size(),
            need.constants.size()};
  }

  /// Takes the room that the product will need with any number of rows up to `expected`.
  void reserve_scratch(const FourBitMatrix& w, Compute compute, std::int64_t expected) {
    for (const std::int64_t most : {gemv_rows_max, row_block})
      (void)buffers_for(std::min(expected, most), w, compute);
  }

  /// Calls body(begin, end, worker) for runs of `rows` weight rows.
  template <class Body>
  static void divide(const LinearArgs& args, std::int64_t rows, const Body& body) {
    const std::int64_t tasks = ceil_div(args.n, rows);
    const auto run = [&](std::int64_t i, int worker) {
      body(i * rows, std::min((i + 1) * rows, args.n), worker);
    };
    if (args.m * args.n * args.k >= thread_products) return parallel_tasks(tasks, run);
    for (std::int64_t i = 0; i < tasks; ++i) run(i, 0);
  }

  /// absmax of all blocks that weight rows [begin, end) touch: where they lie, if that is possible, and
  /// else in `room`.
  const float* fetch_absmax(float* scratch, const QuantizedTensor& weight, std::int64_t begin,
                            std::int64_t end) const {
    const std::int64_t k = weight.shape[1], first = begin * k / weight.blocksize;
    const std::int64_t last = ceil_div(end * k, weight.blocksize);
    if (weight.double_quant()) {
      kernels_.four_bit.expand_absmax(scratch,
                                      reinterpret_cast<const std::uint8_t*>(weight.absmax.raw()),
                                      weight.nested, first, last);
      return scratch;
    }
    const std::byte* stored = weight.absmax.raw() + static_cast<std::size_t>(first) * sizeof(float);
    if (reinterpret_cast<std::uintptr_t>(stored) % alignof(float) == 0)
      return reinterpret_cast<const float*>(stored);
    std::memcpy(scratch, stored, static_cast<std::size_t>(last - first) * sizeof(float));
    return scratch;
  }

  /// absmax of every 64 values of weight rows [begin, end): as they lie, where rows have a whole number
  /// of pairs of blocks of 64, and else made in `room`.
  const float* fetch_factors(float* scratch, const QuantizedTensor& weight, const FourBitMatrix& w,
                             std::int64_t begin, std::int64_t end) const {
    if (w.one_factor_per_block()) return fetch_absmax(scratch, weight, begin, end);
    const std::int64_t of_row = w.row_factors(), size = (end - begin) * of_row;
    const float* absmax = fetch_absmax(scratch + size, weight, begin, end);
    const std::int64_t first_block = begin * w.k / w.blocksize;
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t row = begin + i / of_row, at = i % of_row * 64;
      scratch[i] = at < w.k ? absmax[(row * w.k + at) / w.blocksize - first_block] : 0.0f;
    }
    return scratch;
  }

  /// Few rows of x and an aligned matrix.
  void multiply_codes(LinearArgs args, const QuantizedTensor& weight, const FourBitMatrix& w,
                      Compute compute, const Buffers& buffers) const {
    const bool pairs = compute == Compute::bf16;
    const auto pack = pairs ? kernels_.four_bit_pairs.pack_rows : kernels_.four_bit.pack_rows;
    pack(buffers.packed, args.x, 0, args.m, args.m, args.k);
    args.x = buffers.packed;
    const bool kept = pairs && args.m == 1 && w.one_factor_per_block() && weight.double_quant() &&
                      flushing_changes_nothing(weight.nested);
    const std::int64_t rows = run_of_rows(args.n, args.k, num_threads());
    divide(args, rows, [&](std::int64_t begin, std::int64_t end, int worker) {
      FourBitFactors factors{nullptr, &weight.nested,
                             reinterpret_cast<const std::uint8_t*>(weight.absmax.raw())};
      if (!kept)
        factors = {fetch_factors(buffers.constants_of(worker), weight, w, begin, end), nullptr,
                   nullptr};
      if (!pairs) return kernels_.four_bit.multiply(args, w, factors.values, begin, end);
      const FlushSubnormals mode(true);
      kernels_.four_bit_pairs.multiply(args, w, factors, begin, end);
    });
  }

  /// Whether the bf16 order, which takes subnormal numbers for zero, may expand these constants: a product
  /// that is flushed must vanish beside the offset anyway.
  static bool flushing_changes_nothing(const NestedConstants& nested) {
    const auto map = nested.map.as<float>();
    const auto subnormal = [](float x) { return x != 0.0f && std::abs(x) < 0x1p-126f; };
    return std::abs(nested.offset) > 0x1p-100f && std::ranges::none_of(map, subnormal);
  }

  /// The args of weight rows [begin, end), whose values in f32 are put behind `values`.
  LinearArgs dequantized(const LinearArgs& args, const QuantizedTensor& weight,
                         const FourBitMatrix& w, float* values, float* constants,
                         std::int64_t begin, std::int64_t end) const {
    kernels_.four_bit.dequantize(values, w, fetch_absmax(constants, weight, begin, end),
                                 begin * w.k, end * w.k);
    LinearArgs part = args;
    part.weight = reinterpret_cast<const std::byte*>(values);
    part.out += begin;
    part.bias = args.bias == nullptr ? nullptr : args.bias + begin;
    return part;
  }

  void multiply_few_rows(LinearArgs args, const QuantizedTensor& weight, const FourBitMatrix& w,
                         const Buffers& buffers) const {
    const auto& kernels = kernels_.linear_f32;
    kernels.pack_rows(buffers.packed, args.x, 0, args.m, args.m, args.k);
    args.x = buffers.packed;
    divide(args, unpacked_w_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
      const LinearArgs part = dequantized(args, weight, w, buffers.values_of(worker),
                                          buffers.constants_of(worker), begin, end);
      kernels.gemv[0](part, 0, end - begin);
    });
  }

  /// Calls body(args) for parts of the rows of x that fit the cache, packed in tiles.
  template <class Body>
  static void for_row_blocks(const LinearArgs& whole, const LinearKernels& kernels,
                             LinearKernels::Pack pack_tiles, float* packed, const Body& body) {
    const std::int64_t rows = rows_at_once(kernels, whole.m);
    for (std::int64_t m = 0; m < whole.m; m += rows) {
      LinearArgs args = whole;
      args.m = std::min(rows, whole.m - m);
      args.out += m * whole.n;
      const float* x = whole.x + m * whole.k;
      parallel_tasks(ceil_div(args.m, kernels.tile_x_rows),
                     [&](std::int64_t i, int) { pack_tiles(packed, x, i, i + 1, args.m, args.k); });
      args.x = packed;
      body(args);
    }
  }

  void multiply_many_rows(const LinearArgs& whole, const QuantizedTensor& weight,
                          const FourBitMatrix& w, const Buffers& buffers) const {
    const std::int64_t size =
        round_up(gemm_w_rows * whole.k, 16);  // of values; sums are behind them
    const LinearKernels& kernels = kernels_.linear_f32;
    for_row_blocks(whole, kernels, kernels.pack_tiles, buffers.packed, [&](const LinearArgs& args) {
      divide(args, gemm_w_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
        float* mine = buffers.values_of(worker);
        const LinearArgs part =
            dequantized(args, weight, w, mine, buffers.constants_of(worker), begin, end);
        kernels.gemm[0](part, 0, end - begin, mine + size);
      });
    });
  }

  void multiply_many_rows_bf16(const LinearArgs& whole, const QuantizedTensor& weight,
                               const FourBitMatrix& w, const Buffers& buffers) const {
    const FourBitPairKernels& kernels = kernels_.four_bit_pairs;
    for_row_blocks(whole, kernels_.linear_bf16, kernels.pack_tiles, buffers.packed,
                   [&](const LinearArgs& args) {
                     divide(
                         args, gemm_w_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
                           const float* factors =
                               fetch_factors(buffers.constants_of(worker), weight, w, begin, end);
                           const FlushSubnormals mode(true);
                           kernels.gemm(args, w, factors, buffers.values_of(worker), begin, end);
                         });
                   });
  }

  void multiply_any_bf16(LinearArgs args, const QuantizedTensor& weight, const FourBitMatrix& w,
                         const Buffers& buffers) const {
    parallel_tasks(ceil_div(args.m, 8), [&](std::int64_t i, int) {
      kernels_.four_bit_pairs.pack_rows(buffers.packed, args.x, 8 * i, std::min(8 * i + 8, args.m),
                                        args.m, args.k);
    });
    args.x = buffers.packed;
    divide(args, unpacked_w_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
      const float* absmax = fetch_absmax(buffers.constants_of(worker), weight, begin, end);
      const FlushSubnormals mode(true);
      kernels_.four_bit_pairs.multiply_any(args, w, absmax, buffers.values_of(worker), begin, end);
    });
  }

  const KernelTable& kernels_;
  Scratch packed_, constants_, values_;
};

}}}  // namespace idefics::v0::detail::cpu
