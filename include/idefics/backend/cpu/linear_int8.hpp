// Linear layers with int8 weights: quantizes rows of x, and divides weight rows among threads.
#pragma once

#include <algorithm>

#include <idefics/backend/cpu/divide.hpp>
#include <idefics/backend/cpu/scratch.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// Multiplies by int8 matrices, and owns the scratch for it: some rows of x are quantized at a
/// time.
class Int8Linear {
 public:
  explicit Int8Linear(const KernelTable& kernels) : kernels_(kernels) {}

  /// `args` are as for plain weights, but args.weight is ignored. Allocates scratch for any number
  /// of rows up to `expected`.
  void operator()(const LinearArgs& args, const Int8Matrix& weight, Compute compute,
                  std::int64_t expected) {
    const std::int64_t most = std::min(args.m, row_block);
    float* scratch = scratch_.floats(int8_scratch(std::max(args.m, expected), args.k).packed);
    auto* rows = reinterpret_cast<Int8Row*>(scratch);
    auto* outliers = reinterpret_cast<std::int32_t*>(rows + most);
    auto* codes = reinterpret_cast<std::int16_t*>(outliers + most * args.k);
    for (std::int64_t m = 0; m < args.m; m += most) {
      const Int8Args part{.out = args.out + m * args.n,
                          .x = args.x + m * args.k,
                          .x_codes = codes,
                          .outliers = outliers,
                          .rows = rows,
                          .codes = reinterpret_cast<const std::int8_t*>(weight.codes.raw()),
                          .absmax = weight.absmax.raw(),
                          .bias = args.bias,
                          .m = std::min(most, args.m - m),
                          .n = args.n,
                          .k = args.k,
                          .bf16 = compute == Compute::bf16};
      divide(part.m, 8 * part.m * part.k, [&](std::int64_t i, int) {
        rows[i] =
            kernels_.int8.quantize_row(codes + i * round_up(part.k, 32), outliers + i * part.k,
                                       part.x + i * part.k, part.k, weight.threshold, part.bf16);
      });
      multiply(part);
    }
  }

 private:
  /// Few rows of x: runs of about 256 KiB of codes. Many: runs that stay in L2 for all rows of x.
  void multiply(const Int8Args& args) const {
    const std::int64_t bytes = args.m <= gemv_rows_max ? 262144 : 65536;
    const std::int64_t run =
        std::clamp<std::int64_t>(round_up(bytes / std::max<std::int64_t>(1, args.k), 8), 8,
                                 round_up(args.n / num_threads() + 1, 8));
    divide(ceil_div(args.n, run), args.m * args.n * args.k, [&](std::int64_t i, int) {
      kernels_.int8.multiply(args, i * run, std::min((i + 1) * run, args.n));
    });
  }

  const KernelTable& kernels_;
  Scratch scratch_;
};

}}}  // namespace idefics::v0::detail::cpu
