// Linear layers with 4-bit weights: chooses the kernel and divides weight rows among threads.
#pragma once

#include <algorithm>
#include <cmath>

#include <idefics/backend/cpu/divide.hpp>
#include <idefics/backend/cpu/scratch.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// Multiplies by 4-bit matrices, and owns the scratch for it. With few rows of x, codes are decoded
/// as they are read. With more rows, or if the matrix is not aligned, each thread decodes some
/// weight rows at a time and then multiplies those.
class FourBitLinear {
 public:
  explicit FourBitLinear(const KernelTable& kernels) : kernels_(kernels) {}

  /// `args` are as for plain weights, but x is not packed yet and args.weight is ignored. Allocates
  /// scratch for any number of rows up to `expected`.
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
  /// Scratch of a product.
  struct Buffers {
    float* packed;
    float* values;     // values_per_thread floats for each thread
    float* constants;  // constants_per_thread floats for each thread
    std::size_t values_per_thread, constants_per_thread;

    float* values_of(int worker) const {
      return values + static_cast<std::size_t>(worker) * values_per_thread;
    }
    float* constants_of(int worker) const {
      return constants + static_cast<std::size_t>(worker) * constants_per_thread;
    }
  };

  /// The scratch of a product, allocated if necessary and kept.
  Buffers buffers_for(std::int64_t m, const FourBitMatrix& w, Compute compute) {
    const bool pairs = compute == Compute::bf16;
    const LinearScratch need = four_bit_scratch(kernels_, pairs, m, w, num_threads());
    const Checked threads = floats(num_threads());
    return {packed_.floats(need.packed), values_.floats(need.of_thread * threads),
            constants_.floats(need.constants * threads), need.of_thread.size(),
            need.constants.size()};
  }

  /// Allocates the scratch that the product needs for any number of rows up to `expected`.
  void reserve_scratch(const FourBitMatrix& w, Compute compute, std::int64_t expected) {
    for (const std::int64_t most : {gemv_rows_max, row_block})
      (void)buffers_for(std::min(expected, most), w, compute);
  }

  /// Calls body(begin, end, worker) for runs of `rows` weight rows.
  template <class Body>
  static void divide(const LinearArgs& args, std::int64_t rows, const Body& body) {
    cpu::divide(ceil_div(args.n, rows), args.m * args.n * args.k, [&](std::int64_t i, int worker) {
      body(i * rows, std::min((i + 1) * rows, args.n), worker);
    });
  }

  /// absmax of all blocks that overlap weight rows [begin, end): in place if stored as aligned f32,
  /// else in `scratch`.
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

  /// absmax for every 64 values of weight rows [begin, end), as fetch_absmax returns them if rows
  /// consist of an even number of blocks of 64, else expanded into `scratch`.
  const float* fetch_factors(float* scratch, const QuantizedTensor& weight, const FourBitMatrix& w,
                             std::int64_t begin, std::int64_t end) const {
    if (w.one_factor_per_block()) return fetch_absmax(scratch, weight, begin, end);
    const std::int64_t row_factors = w.row_factors(), size = (end - begin) * row_factors;
    const float* absmax = fetch_absmax(scratch + size, weight, begin, end);
    const std::int64_t first_block = begin * w.k / w.blocksize;
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t row = begin + i / row_factors, offset = i % row_factors * 64;
      scratch[i] = offset < w.k ? absmax[(row * w.k + offset) / w.blocksize - first_block] : 0.0f;
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
    const bool keep_nested = pairs && args.m == 1 && w.one_factor_per_block() &&
                             weight.double_quant() && flushing_changes_nothing(weight.nested);
    const std::int64_t rows = run_of_rows(args.n, args.k, num_threads());
    divide(args, rows, [&](std::int64_t begin, std::int64_t end, int worker) {
      FourBitFactors factors{nullptr, &weight.nested,
                             reinterpret_cast<const std::uint8_t*>(weight.absmax.raw())};
      if (!keep_nested)
        factors = {fetch_factors(buffers.constants_of(worker), weight, w, begin, end), nullptr,
                   nullptr};
      if (!pairs) return kernels_.four_bit.multiply(args, w, factors.values, begin, end);
      const FlushSubnormals mode(true);
      kernels_.four_bit_pairs.multiply(args, w, factors, begin, end);
    });
  }

  /// Whether these constants may be expanded in the bf16 order, which treats subnormal numbers as
  /// zero: a product that is flushed must be too small to change the offset anyway.
  static bool flushing_changes_nothing(const NestedConstants& nested) {
    const auto map = nested.map.as<float>();
    const auto subnormal = [](float x) { return x != 0.0f && std::abs(x) < 0x1p-126f; };
    return std::abs(nested.offset) > 0x1p-100f && std::ranges::none_of(map, subnormal);
  }

  /// Decodes weight rows [begin, end) to f32 at `values`, and returns the args of their product.
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

  void multiply_many_rows(const LinearArgs& full, const QuantizedTensor& weight,
                          const FourBitMatrix& w, const Buffers& buffers) const {
    const std::int64_t value_floats = round_up(gemm_w_rows * full.k, 16);  // followed by the sums
    const LinearKernels& kernels = kernels_.linear_f32;
    const auto tile = kernels.tile_x_rows;
    for_row_blocks(full, tile, kernels.pack_tiles, buffers.packed, [&](const LinearArgs& args) {
      divide(args, gemm_w_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
        float* values = buffers.values_of(worker);
        const LinearArgs part =
            dequantized(args, weight, w, values, buffers.constants_of(worker), begin, end);
        kernels.gemm[0](part, 0, end - begin, values + value_floats);
      });
    });
  }

  void multiply_many_rows_bf16(const LinearArgs& full, const QuantizedTensor& weight,
                               const FourBitMatrix& w, const Buffers& buffers) const {
    const FourBitPairKernels& kernels = kernels_.four_bit_pairs;
    for_row_blocks(
        full, kernels.tile_x_rows, kernels.pack_tiles, buffers.packed, [&](const LinearArgs& args) {
          divide(args, gemm_w_rows, [&](std::int64_t begin, std::int64_t end, int worker) {
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
