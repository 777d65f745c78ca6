// Products with 4-bit weights in the bf16 order for up to 16 rows of x.
//
// Each lane has its own copy of the table of pairs in its own bank, 32 KiB in all, so lanes never
// conflict. A block owns bands of 16 weight rows, as in linear_bf16_gemv.cuh, for which it
// fills the table once; each of its 8 warps has a slice of K:
//
//        slice 0: blocks 0 … b-1      slice 1 …       thread t of a row:
//   row g │ sum·absmax, sum·absmax … │                codes 8 t .. 8 t + 7 of 32, 4 bytes
//
//   256 k of a slice, blocks of 64   │ 16 loads of codes, 2 rows x 8 units of 32 k; absmax of block t
//                                    │ 8 x (16 pairs looked up, x from shared memory, 2 multiplications)
//
// All loads of a turn are issued before the first of their values is used; the map of double
// quantization is in shared memory. Thread t of a row holds absmax of block t of the turn, and hands
// it to the other three. Other block sizes are known at run time only: turns of 128 k.
//
// Bound: the bytes of codes and absmax. Machine code of the main loop: tests/cuda/sass.py.
#pragma once

#include "linear_4bit_bf16.cuh"
#include "linear_bf16_gemv.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// What is known of a matrix when a kernel is compiled: blocks of 64, their constants in f32 or
/// doubly quantized; or nothing.
enum class FourBitBlocks { any, plain, nested };

inline constexpr int gemv_4bit_skew = 32;

/// absmax of the blocks of two rows, over some units. In blocks of 64, each of the four lanes of a row
/// loads it for one block, and hands it to the others when it is needed.
template <FourBitBlocks blocks, int units>
struct FourBitScales {
  static constexpr bool any = blocks == FourBitBlocks::any;
  float scales[any ? units : 1][2];
  std::uint8_t codes[2];

  /// Starts the loads. The rows begin with `unit`, counted over the matrix; `left` units exist.
  __device__ FourBitScales(const FourBitMatrix& matrix, const unsigned (&unit)[2], int left) {
    if constexpr (any) {
      for (int i = 0; i < 2 * units; ++i)
        if (i / 2 < left)
          scales[i / 2][i % 2] =
              matrix.absmax_of(std::int64_t{unit[i % 2] + i / 2} * k_unit >> matrix.block_shift);
    } else {
      const int own = lane_of_warp() % (units / 2), last = left / 2 - 1;
      for (int h = 0; h < 2; ++h) {
        const unsigned block = unit[h] / 2 + (own < last ? own : last);
        if constexpr (blocks == FourBitBlocks::plain) {
          scales[0][h] = load_global<float>(static_cast<const float*>(matrix.absmax) + block);
        } else {
          codes[h] =
              load_global<std::uint8_t>(static_cast<const std::uint8_t*>(matrix.absmax) + block);
          scales[0][h] = load_global<float>(matrix.nested + block / 256);
        }
      }
    }
  }
  /// Expands what has been loaded, as FourBitMatrix::absmax_of does.
  __device__ void expand(const float* map, float offset) {
    if constexpr (blocks == FourBitBlocks::nested)
      for (int h = 0; h < 2; ++h) {
        const float product = map[codes[h]] * scales[0][h];
        scales[0][h] = product + offset;
      }
  }
  /// Of the block of unit `u`.
  __device__ float operator()(int u, int h) const {
    return any ? scales[any ? u : 0][h] : __shfl_sync(all_lanes, scales[0][h], u / 2, 4);
  }
};

/// totals = fma(d, absmax of the row, totals), d = 0.
template <int tiles>
__device__ inline void scale_block(float (&totals)[tiles][4], float (&d)[tiles][4], float low,
                                   float high) {
  UNROLL
  for (int i = 0; i < 4 * tiles; ++i) {
    float& total = totals[i / 4][i % 4];
    total = fmaf(d[i / 4][i % 4], i % 4 < 2 ? low : high, total);
    d[i / 4][i % 4] = 0;
  }
}

/// Blocks of a known kind also promise that x is aligned.
template <int tiles, FourBitBlocks blocks, bool staged, class X>
__global__ void __launch_bounds__(gemv_bf16_threads, gemv_blocks<staged>)
    gemv_4bit_kernel(const __grid_constant__ GemvGroup<FourBitMatrix> group, GemvRows<X> x,
                     Slices slices) {
  constexpr bool whole = blocks != FourBitBlocks::any;
  constexpr int units = whole && staged ? 8 : 4;  // whose loads are in flight together
  auto* const pairs = dynamic_shared<std::uint32_t>();
  float* const map = reinterpret_cast<float*>(pairs + 256 * 32);
  float* const partial = map + 256;
  const GemvInput<X, staged, gemv_4bit_skew> input{
      x, reinterpret_cast<bf16_t*>(partial + k_slices * tiles * 128)};
  const GemvPart<FourBitMatrix>& part = group.part_of(blockIdx.x);
  const FourBitMatrix& matrix = part.weights;
  fill_pairs<32>(pairs, matrix.table);
  if constexpr (blocks == FourBitBlocks::nested)
    map[thread_of_block()] = load_global<float>(matrix.map + thread_of_block());
  input.template stage<whole>();
  __syncthreads();
  const int lane = lane_of_warp(), n_rows = static_cast<int>(part.n_rows);
  const std::uint32_t* const copy = opaque_shared(pairs + lane);
  const int slice = __shfl_sync(all_lanes, warp_of_block(), 0);  // known to be that of all lanes
  const int begin = slices.begin(slice), end = slices.end(slice);
  int n0 = static_cast<int>((blockIdx.x - part.first_block) * group.bands * 16);
  for (unsigned band = 0; band < group.bands && n0 < n_rows; ++band, n0 += 16) {
    unsigned unit[2];  // the next of each row, counted over the matrix
    const std::uint8_t* rows[2];
    for (int h = 0; h < 2; ++h) {
      const std::int64_t at = band_row(n0, h, n_rows) * slices.total + begin;
      unit[h] = static_cast<unsigned>(at / k_unit);
      rows[h] = matrix.codes + at / 2 + lane % 4 * 4;
    }
    const bf16_t* xs[tiles];
    for (int tile = 0; tile < tiles; ++tile)
      xs[tile] = input.row(8 * tile + lane / 4) + begin + lane % 4 * 8;
    float d[tiles][4] = {}, totals[tiles][4] = {};
    int k = begin;
    const auto multiply_next = [&]<bool all>() {  // the next units, all of them or those left
      const int left = all ? units : (end - k) / k_unit;
      std::uint32_t codes[units][2];
      UNROLL
      for (int i = 0; i < 2 * units; ++i)
        if (i / 2 < left) codes[i / 2][i % 2] = load_once<std::uint32_t>(rows[i % 2] + i / 2 * 16);
      FourBitScales<blocks, units> scales(matrix, unit, left);
      const GemvOperands<uint4, staged, units, k_unit, tiles> operands(xs, left);
      __syncwarp();  // keeps the compiler from moving loads down to where their values are used
      scales.expand(map, matrix.offset);
      UNROLL
      for (int u = 0; u < units; ++u) {
        if (u >= left) break;
        const uint4 low = look_up<32>(copy, codes[u][0]), high = look_up<32>(copy, codes[u][1]);
        UNROLL
        for (int tile = 0; tile < tiles; ++tile)
          multiply_unit(d[tile], low, high, operands(u, tile));
        const int of_block = whole ? 2 : 1 << (matrix.block_shift - 5);
        if (whole ? u % 2 == 1 : (k / k_unit + u + 1) % of_block == 0)
          scale_block<tiles>(totals, d, scales(u, 0), scales(u, 1));
      }
      k += k_unit * units;
      for (int h = 0; h < 2; ++h) unit[h] += units, rows[h] += 16 * units;
      for (int tile = 0; tile < tiles; ++tile) xs[tile] += k_unit * units;
    };
    if constexpr (whole)
      while (k + k_unit * units <= end) multiply_next.template operator()<true>();
    while (k < end) multiply_next.template operator()<false>();
    const int thread = thread_read_here();
    const GemvOutput output(thread, n0, x.count, n_rows, 16);
    const LinearEnd::Terms terms = output.load(part.end, n_rows);
    __syncthreads();  // the sums of the previous band have been added
    store_slice<tiles>(partial, totals, thread / 32, thread % 32);
    __syncthreads();
    add_slices<tiles>(part.out, partial, part.end, terms, output, n_rows, slices.count);
  }
}

/// Up to three products with up to 16 rows of x.
template <class X>
void gemv_4bit(Stream& stream, std::span<const GemvPart<FourBitMatrix>> parts, const GemvRows<X>& x,
               std::int64_t least_blocks = gemv_least_blocks) {
  const FourBitMatrix& first = parts[0].weights;
  const auto all = [&](auto has) {
    return std::ranges::all_of(parts, [&](const auto& part) { return has(part.weights); });
  };
  if (!all([&](const FourBitMatrix& m) { return m.block_shift == first.block_shift; })) {
    for (const auto& part : parts)
      gemv_4bit<X>(stream, {&part, 1}, x, least_blocks);  // other slices
    return;
  }
  const GemvGroup<FourBitMatrix> group = gemv_group(parts, least_blocks);
  const Slices slices = slices_of(first.width, four_bit_multiple(first));
  const bool of_64 = x.aligned && first.block_shift == 6;
  const auto run = [&]<FourBitBlocks blocks>() {
    choose_gemv<blocks != FourBitBlocks::any>(x, [&]<int tiles, bool staged>() {
      const std::size_t floats = 256 * 32 + 256 + k_slices * tiles * 128;
      launch(stream, dim3(group.blocks), gemv_bf16_threads,
             sizeof(float) * floats + GemvInput<X, staged, gemv_4bit_skew>::shared_bytes(x),
             gemv_4bit_kernel<tiles, blocks, staged, X>, group, x, slices);
    });
  };
  using enum FourBitBlocks;
  if (of_64 && all([](const FourBitMatrix& m) { return m.nested != nullptr; }))
    return run.template operator()<nested>();
  if (of_64 && all([](const FourBitMatrix& m) { return m.nested == nullptr; }))
    return run.template operator()<plain>();
  run.template operator()<any>();
}

}}}  // namespace idefics::v0::cuda
