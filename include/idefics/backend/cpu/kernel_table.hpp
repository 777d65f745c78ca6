// The interface between the backend and the kernels: plain argument structs, and a table of
// function pointers that every instruction set fills (kernels.inl).
//
// Letters: M rows, N outputs, K inputs, H heads, E head width, J keys.
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
#include <idefics/quant/int8.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// How the values of a row are packed for products; docs/determinism.md has both orders.
enum class Layout {
  natural,  // f32 order: f32; vector i, lane l: k = 16 i + l
  widened,  // bf16 order, f32: one value of K in each
  paired,   // bf16 order, bf16: two values of K in each, the first in the upper half
};

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

/// The bf16 order sums blocks of so many values from zero; they take block_lanes f32 if packed.
inline constexpr std::int64_t block_values = 32;
constexpr std::int64_t block_lanes(Layout layout) { return layout == Layout::paired ? 16 : 32; }

/// The f32 that K packed values take.
constexpr std::int64_t packed_floats(Layout layout, std::int64_t k) {
  return layout == Layout::natural ? round_up(k, 16)
                                   : ceil_div(k, block_values) * block_lanes(layout);
}

/// Values of K that the GEMM of the bf16 order keeps in cache at a time.
inline constexpr std::int64_t panel_values = 256;

/// The f32 of one of the sixteen lanes of a tile of `rows` rows that the GEMM of the f32 order packs.
/// Sixteen more than values, so that lanes do not share sets of the caches.
constexpr std::int64_t lane_floats(std::int64_t rows, std::int64_t k) {
  return ceil_div(k, 16) * rows + 16;
}

/// The GEMV reads the weight in place: for at most gemv_rows_max rows of x, gemv_piece values of
/// each of four weight rows at a time.
inline constexpr std::int64_t gemv_rows_max = 8, gemv_piece = 512;

/// out[m,n] = sum_k x[m,k] weight[n,k] + bias[n].
struct LinearArgs {
  float* out;               // [M,N]
  const float* x;           // [M,K], packed by pack_rows (gemv) or pack_tiles (gemm)
  const std::byte* weight;  // [N,K], any alignment
  const float* bias;        // [N] or null
  std::int64_t m, n, k;
  /// Where the weight rows are that a thread needs after those it multiplies: as many rows further
  /// on. 0: unknown.
  std::int64_t rows_to_next = 0;

  float bias_of(std::int64_t row) const { return bias == nullptr ? 0.0f : bias[row]; }
};

/// Kernels of one of the two orders; the arrays are indexed by the weight's dtype: f32, f16, bf16.
struct LinearKernels {
  using Pack = void (*)(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                        std::int64_t m, std::int64_t k);
  using Gemv = void (*)(const LinearArgs&, std::int64_t n_begin, std::int64_t n_end);
  using Gemm = void (*)(const LinearArgs&, std::int64_t n_begin, std::int64_t n_end,
                        float* scratch);
  Layout layout;
  std::int64_t tile_x_rows, tile_w_rows;  // register tile: rows of x, rows of the weight
  Pack pack_rows;                         // rows [begin, end), each contiguous
  Pack pack_tiles;                        // tiles [begin, end) of tile_x_rows rows
  std::int64_t gemv_rows;                 // the most rows of x for gemv
  std::array<Gemv, 3> gemv;               // few rows of x: reads the weight in place; may be null
  std::array<Gemm, 3> gemm;               // many rows of x: packs weight rows first
  bool matrix = false;                    // gemm uses tile registers (linear_amx.inl)

  std::int64_t row_floats(std::int64_t k) const { return packed_floats(layout, k); }
  /// Floats of a packed tile of x.
  std::int64_t tile_floats(std::int64_t k) const {
    if (matrix) return tile_x_rows * packed_floats(Layout::paired, k);
    return layout == Layout::natural ? 16 * lane_floats(tile_x_rows, k)
                                     : tile_x_rows * row_floats(k);
  }
  /// Floats of scratch for m rows of x and `cols` weight rows: packed weights (in the bf16 order, a
  /// piece of K), and sums, of which the f32 order has five levels.
  std::int64_t scratch_floats(std::int64_t m, std::int64_t cols, std::int64_t k) const {
    if (matrix) return 1024 + tile_w_rows * round_up(k, block_values) / 2;  // sums, and weights
    const std::int64_t panels = ceil_div(cols, tile_w_rows), padded = panels * tile_w_rows;
    if (layout == Layout::natural)
      return panels * 16 * lane_floats(tile_w_rows, k) + 5 * padded * m;
    return padded * (row_floats(std::min(panel_values, k)) + m);
  }
};

/// A 4-bit matrix as kernels see it. Blocks are numbered over the flattened matrix.
struct FourBitMatrix {
  const std::uint8_t* codes;  // [ceil(N*K/2)]
  const float* table;         // [16], the codebook
  std::int64_t n, k, blocksize;

  /// Whether each group of 64 values shares a block, as the fast kernels require.
  bool aligned() const { return k % 64 == 0 && blocksize % 64 == 0; }
  /// Factors per row of an aligned matrix: absmax of every 64 values, zero-padded to an even count.
  std::int64_t row_factors() const { return 2 * ceil_div(k, 128); }
  bool one_factor_per_block() const { return blocksize == 64 && k % 128 == 0; }
};

/// Kernels of the f32 order and those shared by both orders. `absmax` starts with the first block
/// that overlaps the range; `factors` is [rows of the range, row_factors].
struct FourBitKernels {
  /// Expands absmax [begin, end) of a doubly quantized tensor.
  void (*expand_absmax)(float* out, const std::uint8_t* codes, const NestedConstants&,
                        std::int64_t begin, std::int64_t end);
  /// Decodes values [begin, end) of the flattened matrix.
  void (*dequantize)(float* out, const FourBitMatrix&, const float* absmax, std::int64_t begin,
                     std::int64_t end);
  LinearKernels::Pack pack_rows;  // for few rows of x
  /// Multiplies few rows of x by weight rows [begin, end) of an aligned matrix.
  void (*multiply)(const LinearArgs&, const FourBitMatrix&, const float* factors,
                   std::int64_t begin, std::int64_t end);
};

/// Factors of an aligned matrix: `values` [rows of the range, row_factors], or if `nested` is set,
/// the doubly quantized constants of the whole matrix, one code per factor.
struct FourBitFactors {
  const float* values = nullptr;
  const NestedConstants* nested = nullptr;
  const std::uint8_t* codes = nullptr;
};

/// Kernels of the bf16 order. Packed rows of x are padded to whole chunks of `chunk` values.
struct FourBitPairKernels {
  static constexpr std::int64_t chunk = 128;
  static constexpr std::int64_t panel_values = 1024;  // f32 of a row that the GEMM packs at a time
  std::int64_t tile_x_rows, tile_w_rows;              // register tile of the GEMM
  LinearKernels::Pack pack_rows, pack_tiles;
  /// Few rows of x, packed by pack_rows, times weight rows [begin, end) of an aligned matrix.
  void (*multiply)(const LinearArgs&, const FourBitMatrix&, const FourBitFactors&,
                   std::int64_t begin, std::int64_t end);
  /// Many rows of x, packed by pack_tiles, times an aligned matrix with `factors` [rows of the
  /// range, row_factors]; scratch has scratch_floats.
  void (*gemm)(const LinearArgs&, const FourBitMatrix&, const float* factors, float* scratch,
               std::int64_t begin, std::int64_t end);
  /// Any rows of x, packed by pack_rows, times any matrix; scratch has unaligned_floats(K).
  void (*multiply_any)(const LinearArgs&, const FourBitMatrix&, const float* absmax, float* scratch,
                       std::int64_t begin, std::int64_t end);
  /// For m rows of x and `cols` weight rows of at most k f32: packed weights, and sums of 16 lanes.
  std::int64_t scratch_floats(std::int64_t m, std::int64_t cols, std::int64_t k) const {
    return round_up(cols, tile_w_rows) *
           (round_up(std::min(panel_values, k), 16) + 16 * round_up(m, tile_x_rows));
  }
  static std::int64_t unaligned_floats(std::int64_t k) { return ceil_div(k, chunk) * 2 * 32; }
};

/// What quantizing a row of x gives besides its codes.
struct Int8Row {
  float absmax;
  std::int64_t outliers;  // their number
};

/// A product with an int8 matrix (quant/int8.hpp).
struct Int8Args {
  float* out;                    // [M,N]
  const float* x;                // [M,K]
  const std::int16_t* x_codes;   // [M,round_up(K,32)], zero-padded
  const std::int32_t* outliers;  // [M,K], the columns of the outliers of each row
  const Int8Row* rows;           // [M]
  const std::int8_t* codes;      // [N,K]
  const std::byte* absmax;       // f32 [N], at any alignment
  const float* bias;             // [N] or null
  std::int64_t m, n, k;
  bool bf16;  // outliers are multiplied in bf16
};

struct Int8Kernels {
  Int8Row (*quantize_row)(std::int16_t* codes, std::int32_t* outliers, const float* x,
                          std::int64_t k, float threshold, bool bf16);
  void (*multiply)(const Int8Args&, std::int64_t n_begin, std::int64_t n_end);
};

struct AttentionArgs {
  float* out;          // [M,H,E]; for attention_weights [J], the weights of one query and head
  const float* q;      // [M,H,E]
  const std::byte* k;  // [J,H,E], f32 or bf16, aligned to its type
  const std::byte* v;  // [J,H,E] of the same dtype, or null
  DType kv_dtype;
  std::int64_t heads, width;
  float scale;
};

/// The most queries of one head, or heads of one query, of an attention task; and the keys that it
/// keeps in the L1 cache at a time. Multiples of four.
inline constexpr std::int64_t attention_queries = 64, attention_keys = 48;

/// Floats of scratch that a thread needs for `keys` keys: the scores of a task, its queries and
/// sums, and a block of keys or values.
constexpr std::int64_t attention_scratch(std::int64_t keys, std::int64_t width) {
  return attention_queries * round_up(keys, 16) +
         (2 * attention_queries + attention_keys) * round_up(width, 16);
}

/// A matrix of x, and its transpose in `out`. Strides are the distances of rows, in elements.
struct TransposeArgs {
  std::byte* out;
  const std::byte* x;
  std::int64_t rows, columns;  // of x
  std::int64_t x_stride, out_stride;
};

/// Every kernel of one instruction set. Ranges are [begin, end); `d` is the width of a row.
struct KernelTable {
  LinearKernels linear_f32, linear_bf16;
  FourBitKernels four_bit;
  FourBitPairKernels four_bit_pairs;
  Int8Kernels int8;
  /// Up to attention_queries queries of some heads, or one query of up to as many heads.
  void (*attention)(const AttentionArgs&, const AttentionSegment&, std::int64_t head,
                    std::int64_t head_end, std::int64_t query, std::int64_t query_end,
                    float* scratch);
  /// One query and head; scratch has round_up(keys, 16) floats.
  void (*attention_weights)(const AttentionArgs&, const AttentionSegment&, std::int64_t head,
                            std::int64_t query, float* scratch);
  /// One row each; `scratch` has round_up(d, 16) floats.
  void (*softmax)(float* out, const float* x, std::int64_t d, float* scratch);
  std::int64_t (*argmax)(const float* x, std::int64_t d);
  /// Few rows of x, not packed, times columns [begin, end) of the f32 matrix `weight` [K,N]; `sums`
  /// is [M,16,end - begin], rounded up to full vectors.
  void (*matmul)(const LinearArgs&, std::int64_t begin, std::int64_t end, float* sums);
  void (*rms_norm)(float* out, const float* x, const float* weight, float eps, std::int64_t rows,
                   std::int64_t d);
  void (*layer_norm)(float* out, const float* x, const float* weight, const float* bias, float eps,
                     std::int64_t rows, std::int64_t d);
  void (*rope)(float* x, const float* cos, const float* sin, std::int64_t heads, std::int64_t half);
  void (*convert)(float* out, const std::byte* x, DType dtype, std::int64_t count);
  /// Rounds f32 values, at any alignment, to f16 or bf16.
  void (*narrow)(std::byte* out, DType dtype, const std::byte* x, std::int64_t count);
  /// Quantizes `count` values at `x` to 4 bits; the first one begins a block.
  void (*quantize)(std::uint8_t* codes, float* absmax, const std::byte* x, DType dtype,
                   std::int64_t count, std::int64_t blocksize, const CodeRule& rule);
  void (*unfold_patch)(float* out, const float* pixels, std::int64_t channels, std::int64_t height,
                       std::int64_t width, std::int64_t patch);
  /// Elements have 1, 2, 4 or 8 bytes.
  void (*transpose)(const TransposeArgs&, std::size_t element);
  /// out = act(gate), multiplied by `up` unless that is null.
  void (*gated_activation)(float* out, const float* gate, const float* up, std::int64_t count,
                           Activation act);
  void (*add)(float* out, const float* x, const float* y, std::int64_t count);
  void (*multiply)(float* out, const float* x, const float* y, std::int64_t count);
  void (*scale)(float* out, const float* x, float factor, std::int64_t count);
  void (*tanh)(float* out, const float* x, std::int64_t count);
  void (*scaled_add)(float* x, const float* y, const float* scale, std::int64_t count);
  void (*scaled_add_one)(float* x, const float* y, float scale, std::int64_t count);
  /// For tests: exp (0), tanh (1) or erf (2) as the kernels compute them.
  void (*elementary)(float* out, const float* x, std::int64_t count, int function);
};

}}}  // namespace idefics::v0::detail::cpu
