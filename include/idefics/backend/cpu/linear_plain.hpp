// Linear layers with weights in f32, f16 or bf16: chooses the kernel and divides weight rows among
// threads.
#pragma once

#include <algorithm>

#include <idefics/backend/cpu/divide.hpp>
#include <idefics/backend/cpu/scratch.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// Multiplies by plain matrices. Few rows of x read the weight in place; with more, each thread
/// packs some weight rows at a time. `of_threads` is scratch that others may use between calls.
class PlainLinear {
 public:
  PlainLinear(const KernelTable& kernels, Scratch& of_threads)
      : kernels_(kernels), of_threads_(of_threads) {}

  /// `args.x` is not packed yet; `dtype` is the index of the weight's dtype in LinearKernels.
  /// Allocates scratch for any number of rows up to `expected`.
  void operator()(const LinearArgs& args, std::size_t dtype, Compute compute,
                  std::int64_t expected) {
    const bool flush = compute == Compute::bf16;
    const LinearKernels& kernels = flush ? kernels_.linear_bf16 : kernels_.linear_f32;
    if (args.m < expected) reserve_scratch(args, kernels, expected);
    if (args.m <= kernels.gemv_rows && kernels.gemv[dtype] != nullptr)
      gemv(args, kernels, dtype, flush);
    else
      gemm(args, kernels, dtype, flush);
  }

 private:
  static constexpr std::int64_t rows_of_part = 64;  // rows of x that are worth packing a panel

  /// Allocates the scratch that the product will need for the expected number of rows.
  void reserve_scratch(const LinearArgs& args, const LinearKernels& kernels,
                       std::int64_t expected) {
    const std::int64_t rows = std::min(expected, row_block);
    const auto need = gemm_scratch(kernels, rows, args.n, args.k, num_threads());
    (void)packed_.floats(need.packed);
    (void)of_threads_.floats(need.of_thread * floats(num_threads()));
  }

  void gemv(LinearArgs args, const LinearKernels& kernels, std::size_t dtype, bool flush) {
    float* packed = packed_.floats(gemv_scratch(kernels, args.m, args.k).packed);
    kernels.pack_rows(packed, args.x, 0, args.m, args.m, args.k);
    args.x = packed;
    // Contiguous runs of about 256 KiB keep the hardware prefetchers of all threads busy.
    const std::int64_t row_bytes = std::max<std::int64_t>(1, 2 * args.k);
    const std::int64_t block =
        std::clamp<std::int64_t>(round_up(262144 / row_bytes, run_rows), run_rows,
                                 round_up(args.n / num_threads() + 1, run_rows));
    divide(ceil_div(args.n, block), args.m * args.n * args.k, [&](std::int64_t i, int) {
      const FlushSubnormals mode(flush);
      kernels.gemv[dtype](args, i * block, std::min((i + 1) * block, args.n));
    });
  }

  void gemm(const LinearArgs& full, const LinearKernels& kernels, std::size_t dtype, bool flush) {
    const std::int64_t tile = kernels.tile_x_rows, threads = num_threads();
    const std::int64_t cols = cols_at_once(kernels, full.n, threads);
    const std::int64_t panels = ceil_div(full.n, cols);
    const auto need = gemm_scratch(kernels, full.m, full.n, full.k, threads);
    float* packed = packed_.floats(need.packed);
    float* scratch = of_threads_.floats(need.of_thread * floats(threads));
    for_row_blocks(full, tile, kernels.pack_tiles, packed, [&](const LinearArgs& args) {
      // With more threads than panels of the weight, a task is a panel and some of the rows of x.
      const std::int64_t wanted = 4 * threads / std::max<std::int64_t>(panels, 1);
      const std::int64_t most = ceil_div(args.m, rows_of_part);
      const std::int64_t rows =
          round_up(ceil_div(args.m, std::clamp<std::int64_t>(wanted, 1, most)), tile);
      const std::int64_t parts = ceil_div(args.m, rows);
      divide(panels * parts, args.m * args.n * args.k, [&](std::int64_t i, int worker) {
        const FlushSubnormals mode(flush);
        const std::int64_t n = i / parts * cols, m = i % parts * rows;
        LinearArgs part = args;
        part.m = std::min(rows, args.m - m);
        part.x += m / tile * kernels.tile_floats(args.k);
        part.out += m * args.n;
        part.rows_to_next = cols * ceil_div(threads, parts);
        kernels.gemm[dtype](part, n, std::min(n + cols, args.n),
                            scratch + static_cast<std::size_t>(worker) * need.of_thread.size());
      });
    });
  }

  const KernelTable& kernels_;
  Scratch packed_;
  Scratch& of_threads_;
};

}}}  // namespace idefics::v0::detail::cpu
