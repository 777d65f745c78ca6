// What the backend and the kernels agree on: plain argument structs, and one table of function
// pointers that every instruction set fills (kernels.inl).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include <idefics/backend/backend.hpp>
#include <idefics/core/dtype.hpp>
#include <idefics/quant/blockwise.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// How the K values of a row become vectors of 16 lanes, in the order in which they are multiplied.
enum class Layout {
  natural,      // vector i, lane l: k = 16 i + l
  split_pairs,  // bf16 order: vector 2i: k = 32 i + 2 l + 1; vector 2i + 1: k = 32 i + 2 l
  whole_pairs,  // bf16 order: lane l of vector i holds both as bf16; the other two hold f32
};

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

/// Vectors of 16 lanes that hold K values.
constexpr std::int64_t vectors_of(Layout layout, std::int64_t k) {
  if (layout == Layout::natural) return ceil_div(k, 16);
  return ceil_div(k, 32) * (layout == Layout::split_pairs ? 2 : 1);
}

/// Vectors of K that the matrix kernel keeps in cache at a time; even, for pairs of vectors.
inline constexpr std::int64_t block_vectors = 64;

/// With few rows of x the weight is read where it lies: at most so many rows of x, so many K values
/// of four weight rows at a time.
inline constexpr std::int64_t gemv_rows_max = 8, gemv_piece = 512;

/// out[m,n] = sum_k x[m,k] weight[n,k] + bias[n] for rows 0..m of `out`.
struct LinearArgs {
  float* out;               // [M, N]
  const float* x;           // packed by pack_rows (gemv) or pack_tiles (gemm)
  const std::byte* weight;  // [N, K], any alignment
  const float* bias;        // [N] or null
  std::int64_t m, n, k;
};

/// Products in one of the two orders; the index of the arrays is the weight's dtype (f32, f16,
/// bf16).
struct LinearKernels {
  using Pack = void (*)(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                        std::int64_t m, std::int64_t k);
  using Gemv = void (*)(const LinearArgs&, std::int64_t n_begin, std::int64_t n_end);
  using Gemm = void (*)(const LinearArgs&, std::int64_t n_begin, std::int64_t n_end,
                        float* scratch);
  Layout layout;
  std::int64_t tile_x_rows, tile_w_rows;  // register tile: rows of x, rows of the weight
  Pack pack_rows;                         // rows [begin, end): vectors of each row in a line
  Pack pack_tiles;                        // tiles [begin, end) of tile_x_rows rows
  std::array<Gemv, 3> gemv;               // weight rows read where they lie: few rows; null: none
  std::array<Gemm, 3> gemm;               // weight rows packed first: many rows

  std::int64_t row_floats(std::int64_t k) const { return 16 * vectors_of(layout, k); }
  /// Floats of scratch for `cols` weight rows of K values against m rows: a packed piece, and the sums.
  std::int64_t scratch_floats(std::int64_t m, std::int64_t cols, std::int64_t k) const {
    const std::int64_t padded = round_up(cols, tile_w_rows);
    const std::int64_t piece = std::min(block_vectors, vectors_of(layout, k));
    return padded * 16 * piece + padded * round_up(m, tile_x_rows) * 16;
  }
};

/// A 4-bit matrix as kernels see it. Blocks are numbered over the flattened matrix.
struct FourBitMatrix {
  const std::uint8_t* codes;  // [ceil(N K / 2)]
  const float* table;         // [16]
  std::int64_t n, k, blocksize;

  /// Whether 64 neighbouring values share a block, as the fast kernels need.
  bool aligned() const { return k % 64 == 0 && blocksize % 64 == 0; }
  /// Factors of a row of an aligned matrix: absmax of every 64 values, zero behind an odd number.
  std::int64_t row_factors() const { return 2 * ceil_div(k, 128); }
  bool one_factor_per_block() const { return blocksize == 64 && k % 128 == 0; }
};

/// Kernels of the f32 order and those that both orders share. `absmax` begins at the first block
/// that the range touches; `factors` is [rows of the range, row_factors].
struct FourBitKernels {
  /// absmax [begin, end) of a doubly quantized tensor.
  void (*expand_absmax)(float* out, const std::uint8_t* codes, const NestedConstants&,
                        std::int64_t begin, std::int64_t end);
  /// Values [begin, end) of the flattened matrix.
  void (*dequantize)(float* out, const FourBitMatrix&, const float* absmax, std::int64_t begin,
                     std::int64_t end);
  LinearKernels::Pack pack_rows;  // of few rows of x
  /// Few rows of x against weight rows [begin, end) of an aligned matrix.
  void (*multiply)(const LinearArgs&, const FourBitMatrix&, const float* factors,
                   std::int64_t begin, std::int64_t end);
};

/// Factors of rows of an aligned matrix: `values` [rows of the range, row_factors]; or, where `nested` is
/// given, the constants of the whole matrix as doubly quantized, one code for each factor.
struct FourBitFactors {
  const float* values = nullptr;
  const NestedConstants* nested = nullptr;
  const std::uint8_t* codes = nullptr;
};

/// Kernels of the bf16 order. Rows of x are packed as wide as whole chunks of `chunk` values.
struct FourBitPairKernels {
  static constexpr std::int64_t chunk = 128;
  LinearKernels::Pack pack_rows, pack_tiles;
  /// Few rows of x, packed by pack_rows, against weight rows [begin, end) of an aligned matrix.
  void (*multiply)(const LinearArgs&, const FourBitMatrix&, const FourBitFactors&,
                   std::int64_t begin, std::int64_t end);
  /// Many rows of x, packed by pack_tiles, and an aligned matrix with `factors` [rows of the range,
  /// row_factors]; scratch as for the `gemm` of plain weights.
  void (*gemm)(const LinearArgs&, const FourBitMatrix&, const float* factors, float* scratch,
               std::int64_t begin, std::int64_t end);
  /// Any rows of x, packed by pack_rows, and any matrix; scratch has loose_floats(K).
  void (*multiply_any)(const LinearArgs&, const FourBitMatrix&, const float* absmax, float* scratch,
                       std::int64_t begin, std::int64_t end);
  static std::int64_t loose_floats(std::int64_t k) { return ceil_div(k, chunk) * 2 * 32; }
};

struct AttentionArgs {
  float* out;      // [M, H, E], or of weights [J], those of one query and head
  const float* q;  // [M, H, E]
  const float* k;  // [J, H, E]
  const float* v;  // [J, H, E], or null
  std::int64_t heads, width;
  float scale;
};

/// From so many queries on, the keys and values of a head are worth copying together.
inline constexpr std::int64_t attention_copy_queries = 8;

/// Floats of scratch that a worker needs for `keys` keys: the scores of two queries, and the copies
/// of keys and values of `width`, which is 0 without copies.
constexpr std::int64_t attention_scratch(std::int64_t keys, std::int64_t width) {
  return 2 * round_up(keys, 16) + round_up(2 * keys * width, 16);
}

/// Every kernel of one instruction set. Ranges are [begin, end); `d` is the width of a row.
struct KernelTable {
  LinearKernels linear_f32, linear_bf16;
  FourBitKernels four_bit;
  FourBitPairKernels four_bit_pairs;
  void (*attention)(const AttentionArgs&, const AttentionSegment&, std::int64_t head,
                    std::int64_t query_begin, std::int64_t query_end, float* scratch);
  void (*attention_weights)(const AttentionArgs&, const AttentionSegment&, std::int64_t head,
                            std::int64_t query, float* scratch);
  void (*rms_norm)(float* out, const float* x, const float* weight, float eps, std::int64_t rows,
                   std::int64_t d);
  void (*layer_norm)(float* out, const float* x, const float* weight, const float* bias, float eps,
                     std::int64_t rows, std::int64_t d);
  void (*rope)(float* x, const float* cos, const float* sin, std::int64_t heads, std::int64_t half);
  void (*convert)(float* out, const std::byte* x, DType dtype, std::int64_t count);
  /// f32 at any alignment to f16 or bf16.
  void (*narrow)(std::byte* out, DType dtype, const std::byte* x, std::int64_t count);
  /// `count` values at `x`, the first at the beginning of a block, to 4 bits.
  void (*quantize)(std::uint8_t* codes, float* absmax, const std::byte* x, DType dtype,
                   std::int64_t count, std::int64_t blocksize, const CodeRule& rule);
  void (*unfold_patch)(float* out, const float* pixels, std::int64_t channels, std::int64_t height,
                       std::int64_t width, std::int64_t patch);
  /// `up` may be null: no product then.
  void (*gated_activation)(float* out, const float* gate, const float* up, std::int64_t count,
                           Activation act);
  void (*add)(float* out, const float* x, const float* y, std::int64_t count);
  void (*tanh)(float* out, const float* x, std::int64_t count);
  void (*scaled_add)(float* x, const float* y, const float* scale, std::int64_t count);
  void (*scaled_add_one)(float* x, const float* y, float scale, std::int64_t count);
  /// For tests: exp, tanh and erf as every kernel computes them (0, 1, 2).
  void (*elementary)(float* out, const float* x, std::int64_t count, int function);
};

}}}  // namespace idefics::v0::detail::cpu
