// Products with 4-bit weights in the bf16 order for many rows on Hopper: wgmma on tiles that the
// loading warps decode.
//
// A block owns 128 weight rows and tile_m rows of x. Each of 128 loading threads has a weight row: it
// holds the codes of three steps in registers, looks up those of the oldest, and stores the values to
// the ring, swizzled as TMA would; one of them starts the load of x.
//
//                  codes, 3 steps ahead                     ring of 5 stages, 64 k each
//   128 threads  ─ registers → pairs of bf16 ───────→ ┌──────────────┬─ … ┐ ─full[s]→ 2 warpgroups, of 64 n
//   thread 0     ─TMA→ x, in the order of the products │ w, x, absmax │    │ ←empty[s]   × tile m each
//                                                      └──────────────┴─ … ┘
//   block of 64 k or more   d = products, from zero; totals = fma(d, absmax, totals)
//   slice of K              result += totals
//
// The order is that of linear_4bit_bf16.cuh: of every 32 k the first multiplication has those with
// k mod 8 < 4. wgmma takes 16 neighbours, so both operands are stored in that order: the weights when
// they are decoded, x by permute_rows_kernel. Three sets of sums limit the tile to 128 rows.
//
// Bound: the peak of the tensor cores.
#pragma once

#include "hopper.cuh"
#include "linear_4bit_bf16.cuh"
#include "linear_tile_end.cuh"
#include "tensor_map.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Of 32 values, eight in each v[t]: chunks of eight neighbours with the first halves of all v first.
__device__ inline uint4 chunk_of_halves(const uint4 (&v)[4], int chunk) {
  const uint4 &a = v[chunk % 2 * 2], &b = v[chunk % 2 * 2 + 1];
  return chunk < 2 ? make_uint4(a.x, a.y, b.x, b.y) : make_uint4(a.z, a.w, b.z, b.w);
}

/// permuted [M,K] = x [M,K], every 32 values in the order of the products. A thread has 32 values.
template <class T>
__global__ void permute_rows_kernel(T* permuted, const T* x, std::int64_t count) {
  const std::int64_t at = thread_of_grid() * k_unit;
  if (at >= count) return;
  uint4 v[4];
  UNROLL
  for (int t = 0; t < 4; ++t) v[t] = load_vector<uint4>(x + at + 8 * t);
  UNROLL
  for (int c = 0; c < 4; ++c) store_vector(permuted + at + 8 * c, chunk_of_halves(v, c));
}

template <int tile_m_>
struct FourBitWgmmaTile {
  static constexpr int tile_n = 128, tile_m = tile_m_, sums = tile_m / 2;  // per thread
  static constexpr int threads = 3 * 128, stages = 5, ahead = 3;
  static constexpr int stage_values = (tile_n + tile_m) * k_step;
  static constexpr unsigned x_bytes = 2 * tile_m * k_step;
  static constexpr std::size_t shared_bytes =
      std::size_t{stages} * (2 * stage_values + 4 * tile_n + 16) + 4 * 256 * 32;
};

/// The shared memory of a block.
template <class T>
struct FourBitRing {
  bf16_t* const stages = dynamic_shared<bf16_t>();
  float* const absmax = reinterpret_cast<float*>(stages + T::stages * T::stage_values);
  std::uint64_t* const full = reinterpret_cast<std::uint64_t*>(absmax + T::stages * T::tile_n);
  std::uint64_t* const empty = full + T::stages;
  std::uint32_t* const pairs = reinterpret_cast<std::uint32_t*>(empty + T::stages);

  /// Initializes the barriers. To be called by one thread, before a __syncthreads.
  __device__ void open() const {
    for (int s = 0; s < T::stages; ++s)
      mbarrier_init(full + s, 5), mbarrier_init(empty + s, 8);  // 4 warps and TMA; 8 warps
    mbarrier_fence();
  }
  __device__ bf16_t* tiles(int step) const { return stages + step % T::stages * T::stage_values; }
  __device__ static unsigned parity(int step) {
    return static_cast<unsigned>(step / T::stages) % 2;
  }
};

/// What a loading thread needs of a step: 64 codes and what their absmax consists of.
struct FourBitRow {
  uint4 codes[2];
  float absmax, nested;  // with nested constants, absmax is an index of the map
};

__device__ inline FourBitRow fetch_row(const FourBitMatrix& matrix, std::int64_t at) {
  FourBitRow row;
  row.codes[0] = load_global<uint4>(matrix.codes + at / 2);
  row.codes[1] = load_global<uint4>(matrix.codes + at / 2 + 16);
  const std::int64_t block = at >> matrix.block_shift;
  if (matrix.nested) {
    row.absmax = __uint_as_float(static_cast<const std::uint8_t*>(matrix.absmax)[block]);
    row.nested = matrix.nested[block / 256];
  } else {
    row.absmax = static_cast<const float*>(matrix.absmax)[block], row.nested = 0;
  }
  return row;
}

/// The loop of the loading threads.
template <class T>
__device__ inline void decode_steps(const FourBitRing<T>& ring, const FourBitMatrix& matrix,
                                    const TensorMap& x, std::int64_t n0, std::int64_t last, int m0,
                                    int steps) {
  const int row = thread_of_block();
  const std::int64_t begin = (n0 + row < last ? n0 + row : last) * matrix.width;
  FourBitRow rows[T::ahead];
  UNROLL
  for (int i = 0; i < T::ahead; ++i)
    rows[i] = fetch_row(matrix, begin + (i < steps ? i : steps - 1) * std::int64_t{k_step});
  for (int first = 0; first < steps; first += T::ahead) {
    UNROLL
    for (int i = 0; i < T::ahead; ++i) {
      const int step = first + i, stage = step % T::stages;
      if (step >= steps) break;
      bf16_t* const w_tile = ring.tiles(step);
      mbarrier_wait(ring.empty + stage, ring.parity(step) ^ 1);
      if (row == 0) {
        mbarrier_arrive_expect(ring.full + stage, T::x_bytes);
        tma_load(w_tile + T::tile_n * k_step, &x.map, step * k_step, m0, ring.full + stage);
      }
      UNROLL
      for (int unit = 0; unit < 2; ++unit) {
        const uint4 codes = rows[i].codes[unit];
        const std::uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
        uint4 values[4];
        UNROLL
        for (int t = 0; t < 4; ++t) values[t] = look_up<32>(ring.pairs + row % 32, words[t]);
        UNROLL
        for (int c = 0; c < 4; ++c)
          store_vector(w_tile + row * k_step + ((4 * unit + c) ^ row % 8) * 8,
                       chunk_of_halves(values, c));
      }
      float absmax = rows[i].absmax;
      if (matrix.nested) {
        const float product = matrix.map[__float_as_uint(absmax)] * rows[i].nested;
        absmax = product + matrix.offset;
      }
      ring.absmax[stage * T::tile_n + row] = absmax;
      async_proxy_fence();
      __syncwarp();
      if (lane_of_warp() == 0) mbarrier_arrive(ring.full + stage);
      if (step + T::ahead < steps)
        rows[i] = fetch_row(matrix, begin + (step + T::ahead) * std::int64_t{k_step});
    }
  }
}

/// result = the sums of a warpgroup over all steps.
template <class T>
__device__ inline void multiply_blocks(float (&result)[T::sums], const FourBitRing<T>& ring,
                                       int group, int steps, int steps_of_block,
                                       int steps_of_slice) {
  const int row = group * 64 + warp_of_block() % 4 * 16 + lane_of_warp() / 4;
  float d[T::sums], totals[T::sums] = {};
  for (int step = 0; step < steps; ++step) {
    const int stage = step % T::stages;
    if (step % steps_of_block == 0) {
      UNROLL
      for (int i = 0; i < T::sums; ++i) d[i] = 0;
    }
    mbarrier_wait(ring.full + stage, ring.parity(step));
    const std::uint64_t w = describe_tile(ring.tiles(step) + group * 64 * k_step);
    const std::uint64_t x = describe_tile(ring.tiles(step) + T::tile_n * k_step);
    wgmma_fence(d);
    UNROLL
    for (unsigned i = 0; i < k_step / 16; ++i) wgmma<T::tile_m>(d, w + 2 * i, x + 2 * i);
    wgmma_commit();
    const float* const absmax = ring.absmax + stage * T::tile_n + row;
    const float of_row[2] = {absmax[0], absmax[8]};
    wgmma_wait_for(d);
    __syncwarp();
    if (lane_of_warp() == 0) mbarrier_arrive(ring.empty + stage);
    if ((step + 1) % steps_of_block == 0) {
      UNROLL
      for (int i = 0; i < T::sums; ++i) totals[i] = fmaf(d[i], of_row[i / 2 % 2], totals[i]);
    }
    if ((step + 1) % steps_of_slice == 0 || step + 1 == steps) {
      UNROLL
      for (int i = 0; i < T::sums; ++i) result[i] += totals[i], totals[i] = 0;
    }
  }
}

template <class T>
__global__ void __launch_bounds__(T::threads, 1)
    gemm_4bit_wgmma_kernel(float* out, FourBitMatrix matrix, const __grid_constant__ TensorMap x,
                           LinearEnd end, std::int64_t m_rows, std::int64_t n_rows) {
  const FourBitRing<T> ring;
  const int steps = static_cast<int>(matrix.width / k_step);
  const int n0 = static_cast<int>(blockIdx.y) * T::tile_n;
  const int m0 = static_cast<int>(blockIdx.x) * T::tile_m;
  fill_pairs<32>(ring.pairs, matrix.table);
  if (thread_of_block() == 0) ring.open();
  __syncthreads();
  if (thread_of_block() < 128) {
    fewer_registers<72>();
    decode_steps(ring, matrix, x, n0, n_rows - 1, m0, steps);
    return;
  }
  more_registers<216>();
  const int group = thread_of_block() / 128 - 1;
  float result[T::sums] = {};
  multiply_blocks<T>(result, ring, group, steps, static_cast<int>(matrix.blocksize() / k_step),
                     slice_width(matrix.width, four_bit_multiple(matrix)) / k_step);
  store_outputs<1, T::tile_m / 8>(out, end, n0 + group * 64 + warp_of_block() % 4 * 16, m0, m_rows,
                                  n_rows, [&](int, int j, int e) { return result[4 * j + e]; });
}

/// out [M,N] from x [M,K] in bf16, for blocks of at least 64. `permuted` is scratch [M,K].
template <class T>
void launch_gemm_4bit_wgmma(Stream& stream, float* out, const bf16_t* x, bf16_t* permuted,
                            const FourBitMatrix& matrix, LinearEnd end, std::int64_t m,
                            std::int64_t n) {
  const std::int64_t k = matrix.width;
  launch(stream, blocks_for(m * k / k_unit, 128), dim3(128), 0, permute_rows_kernel<bf16_t>,
         permuted, x, m * k);
  const dim3 grid(static_cast<unsigned>(ceil_div(m, T::tile_m)),  // neighbours share weights
                  static_cast<unsigned>(ceil_div(n, T::tile_n)));
  launch(stream, grid, dim3(T::threads), T::shared_bytes, gemm_4bit_wgmma_kernel<T>, out, matrix,
         tensor_map(permuted, m, k, T::tile_m), end, m, n);
}

}}}  // namespace idefics::v0::cuda
