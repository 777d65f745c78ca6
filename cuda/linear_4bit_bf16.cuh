// Products with 4-bit weights in the bf16 order of the GPU, for rows that consist of whole blocks.
//
// The order (docs/determinism.md): codes stand for values rounded to bf16. Each block of a row is a
// chain of tensor-core products of its own; within a slice of K, total = fma(sum of the block,
// absmax of the block, total) for its blocks in order; the slices are added in order. Of each 32 k
// the first multiplication gets those with k mod 8 < 4, so that a thread's share of a row is 4
// bytes of codes.
//
// A byte is a pair of codes, so a table of 256 bf16 pairs turns it into an operand register in one
// access. Up to 16 rows, each lane has its own copy of the table in its own bank, 32 KiB in all, so
// lanes never conflict. A block owns 16 weight rows, each of its 8 warps a slice of K:
//
//        slice 0: blocks 0 … b-1      slice 1 …       thread t of a row:
//   row g │ sum·absmax, sum·absmax … │                codes 8 t .. 8 t + 7 of 32, 4 bytes
//
// Bound: the bytes of codes and absmax.
#pragma once

#include "four_bit.cuh"
#include "linear_bf16.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int k_unit = 32;  // two multiplications

/// d[16 n][8 m] += 16 weight rows times 8 rows of x over a unit. Thread t of a row has k = 8 t to
/// 8 t + 7.
__device__ inline void multiply_unit(float (&d)[4], const uint4& low, const uint4& high,
                                     const uint4& x) {
  multiply(d, {low.x, low.y}, {high.x, high.y}, {x.x, x.y});
  multiply(d, {low.z, low.w}, {high.z, high.w}, {x.z, x.w});
}

/// Slices of K are multiples of this: of blocks and of steps.
__host__ __device__ inline std::int64_t four_bit_multiple(const FourBitMatrix& matrix) {
  return matrix.blocksize() > k_step ? matrix.blocksize() : k_step;
}

/// Fills pairs[byte * copies …] with the pair of values of each byte, in shared memory. All threads
/// of the block take part; a barrier must follow.
template <int copies>
__device__ inline void fill_pairs(std::uint32_t* pairs, const float* table) {
  for (unsigned i = threadIdx.x; i < 256 * copies; i += blockDim.x)
    pairs[i] = pack_pair<bf16_t>(table[i / copies >> 4], table[i / copies & 15]);
}

/// The values of eight codes, four bytes: a thread's share of a row.
template <int copies>
__device__ inline uint4 look_up(const std::uint32_t* pairs, std::uint32_t codes) {
  return make_uint4(pairs[(codes & 255) * copies], pairs[(codes >> 8 & 255) * copies],
                    pairs[(codes >> 16 & 255) * copies], pairs[(codes >> 24) * copies]);
}

/// What a thread loads per unit of 32 k: codes and absmax of two rows, and its share of x.
template <int tiles>
struct FourBitUnit {
  std::uint32_t low, high;
  float absmax_low, absmax_high;
  uint4 x[tiles];
};

template <int tiles, class Matrix, class X>
__global__ void __launch_bounds__(gemv_bf16_threads)
    gemv_4bit_kernel(GemvGroup<Matrix> group, GemvRows<X> x) {
  SHARED_ARRAY(std::uint32_t, pairs, 256 * 32);
  SHARED_ARRAY(float, partial, k_slices* tiles * 128);
  constexpr int ahead = tiles == 1 ? 4 : 2;
  const GemvPart<Matrix> part = group.part_of(blockIdx.x);
  const Matrix& matrix = part.weights;
  fill_pairs<32>(pairs, matrix.table);
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x % 32), slice = static_cast<int>(threadIdx.x / 32);
  const std::int64_t k_width = matrix.width;
  const std::int64_t n0 = static_cast<std::int64_t>(blockIdx.x - part.first_block) * 16;
  const std::int64_t n = n0 + lane / 4, last = part.n_rows - 1;
  const std::int64_t low = (n < last ? n : last) * k_width;
  const std::int64_t high = (n + 8 < last ? n + 8 : last) * k_width;
  const std::int64_t width = slice_width(k_width, four_bit_multiple(matrix)), begin = slice * width;
  const std::int64_t stop = begin + width < k_width ? begin + width : k_width;
  const std::int64_t last_of_block = matrix.blocksize() - k_unit;
  float d[tiles][4] = {}, totals[tiles][4] = {};
  for (std::int64_t k0 = begin; k0 < stop; k0 += k_unit * ahead) {
    FourBitUnit<tiles> units[ahead];
    UNROLL
    for (int unit = 0; unit < ahead; ++unit) {
      const std::int64_t first = k0 + k_unit * unit, k = first + lane % 4 * 8;
      if (first >= stop) continue;
      units[unit].low = load_once<std::uint32_t>(matrix.codes + (low + k) / 2);
      units[unit].high = load_once<std::uint32_t>(matrix.codes + (high + k) / 2);
      units[unit].absmax_low = matrix.absmax_of((low + k) >> matrix.block_shift);
      units[unit].absmax_high = matrix.absmax_of((high + k) >> matrix.block_shift);
      UNROLL
      for (int tile = 0; tile < tiles; ++tile)
        units[unit].x[tile] = x.eight(8 * tile + lane / 4, k);
    }
    UNROLL
    for (int unit = 0; unit < ahead; ++unit) {
      const std::int64_t first = k0 + k_unit * unit;
      if (first >= stop) break;
      const bool ends = (first & last_of_block) == last_of_block;
      const uint4 w_low = look_up<32>(pairs + lane, units[unit].low);
      const uint4 w_high = look_up<32>(pairs + lane, units[unit].high);
      UNROLL
      for (int tile = 0; tile < tiles; ++tile) {
        multiply_unit(d[tile], w_low, w_high, units[unit].x[tile]);
        if (!ends) continue;
        for (int i = 0; i < 4; ++i) {
          const float absmax = i < 2 ? units[unit].absmax_low : units[unit].absmax_high;
          totals[tile][i] = fmaf(d[tile][i], absmax, totals[tile][i]);
          d[tile][i] = 0;
        }
      }
    }
  }
  store_slice<tiles>(partial, totals, slice, lane);
  __syncthreads();
  add_slices<tiles>(part.out, partial, part.end, n0, x.count, part.n_rows,
                    static_cast<int>(ceil_div(k_width, width)));
}

/// Up to three products with up to 16 rows of x.
template <class X>
void gemv_4bit(Stream& stream, std::span<const GemvPart<FourBitMatrix>> parts,
               const GemvRows<X>& x) {
  const GemvGroup<FourBitMatrix> group = gemv_group(parts);
  launch(
      stream, dim3(group.blocks), gemv_bf16_threads, 0,
      x.count <= 8 ? gemv_4bit_kernel<1, FourBitMatrix, X> : gemv_4bit_kernel<2, FourBitMatrix, X>,
      group, x);
}

}}}  // namespace idefics::v0::cuda
