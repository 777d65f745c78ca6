// Products of two matrices: chooses the kernel and divides columns among threads.
//
// Letters: M rows, N outputs, K inputs.
#pragma once

#include <algorithm>

#include <idefics/backend/cpu/divide.hpp>
#include <idefics/backend/cpu/scratch.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// Multiplies a [M,K] by b [K,N]. Few rows of a read b in place; with more, each thread transposes
/// some columns at a time, which are then weight rows of a linear layer. `of_threads` is scratch
/// that others may use between calls.
class MatMul {
 public:
  MatMul(const KernelTable& kernels, Scratch& of_threads)
      : kernels_(kernels), of_threads_(of_threads) {}

  /// `args.x` is a, not packed, and `args.weight` is b in f32.
  void operator()(const LinearArgs& args) {
    args.m <= most_few_rows ? few_rows(args) : many_rows(args);
  }

 private:
  static constexpr std::int64_t most_few_rows = 32;   // from there on, transposing costs less
  static constexpr std::int64_t most_columns = 1024;  // of a task; their sums stay in cache

  void few_rows(const LinearArgs& args) {
    const std::int64_t share = round_up(ceil_div(args.n, num_threads()), 16);
    const std::int64_t cols = std::clamp<std::int64_t>(share, 64, most_columns);
    const std::int64_t sums = 16 * args.m * cols;
    float* scratch = of_threads_.floats(floats(sums) * floats(num_threads()));
    divide(ceil_div(args.n, cols), args.m * args.n * args.k, [&](std::int64_t i, int worker) {
      kernels_.matmul(args, i * cols, std::min((i + 1) * cols, args.n), scratch + worker * sums);
    });
  }

  void many_rows(const LinearArgs& full) {
    const LinearKernels& kernels = kernels_.linear_f32;
    const std::int64_t cols = cols_at_once(kernels, full.n, num_threads());
    const LinearScratch need = gemm_scratch(kernels, full.m, full.n, full.k, num_threads());
    const Checked values = floats(round_up(cols * full.k, 16)), size = values + need.of_thread;
    float* packed = packed_.floats(need.packed);
    float* scratch = of_threads_.floats(size * floats(num_threads()));
    const auto tile = kernels.tile_x_rows;
    for_row_blocks(full, tile, kernels.pack_tiles, packed, [&](const LinearArgs& args) {
      divide(ceil_div(args.n, cols), args.m * args.n * args.k, [&](std::int64_t i, int worker) {
        const std::int64_t begin = i * cols, count = std::min(cols, args.n - begin);
        auto* rows = reinterpret_cast<std::byte*>(scratch + size.size() * std::size_t(worker));
        kernels_.transpose({.out = rows,
                            .x = args.weight + begin * 4,
                            .rows = args.k,
                            .columns = count,
                            .x_stride = args.n,
                            .out_stride = args.k},
                           sizeof(float));
        LinearArgs part = args;
        part.weight = rows;
        part.out += begin;
        kernels.gemm[0](part, 0, count, reinterpret_cast<float*>(rows) + values.size());
      });
    });
  }

  const KernelTable& kernels_;
  Scratch packed_;
  Scratch& of_threads_;
};

}}}  // namespace idefics::v0::detail::cpu
