// Attention over keys and values in bf16 on tensor cores, for heads of 80, 96 and 128: a warp owns 16
// queries and walks over their keys in chunks of 64 (FlashAttention-2, Dao 2023, with the fixed
// chunks of attention.cuh).
//
//   s = q k^T   mma.sync m16n8k16 in f32, one chain over E, from zero; q rounded to bf16
//   p           softmax of the chunk in registers; rounded to bf16 for the product below
//   o = p v     one chain over the 64 keys, from zero; then merged into the chunks before
//
//        shared (bf16)                  registers of a warp of 16 queries
//   q   [64][E + 8]   4 warps of 16     q 16 x E, s 16 x 64, out 16 x E
//   k   [64][E + 8]                     rows g and g + 8 of each, g = lane / 4; of s and out, columns
//   v   [64][E + 8]                     2 t and 2 t + 1 of every eight, t = lane % 4
//
// The values of a chunk arrive (cp.async) while its scores are computed, and the next keys while its
// output is. Bound: the tensor cores. A single query gives the same bits from a block for each chunk,
// all of whose keys and values are under way at once; there the bound is their bytes.
#pragma once

#include "attention_decode.cuh"
#include "instructions.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int attention_mma_queries = 64;  // per tile
inline constexpr int attention_mma_threads = 128;

/// Whether heads of this width are processed here. T: the type of keys and values.
template <class T>
constexpr bool attention_by_mma(std::int64_t width) {
  return std::is_same_v<T, bf16_t> && (width == 80 || width == 96 || width == 128);
}

/// Rows in shared memory are 8 longer than E, so that those of a matrix start in other banks.
constexpr __host__ __device__ int attention_mma_pitch(int width) { return width + 8; }
constexpr std::size_t attention_mma_shared(int width, int rows) {
  return sizeof(bf16_t) * static_cast<std::size_t>(rows * attention_mma_pitch(width));
}

/// Loads 64 rows of one head as bf16 into shared memory, zeros from row `count` > 0 on; row(i) is
/// the offset of row i in `from`. Rows of bf16 that are aligned (`vectors`) are only started.
template <int width, class T, class Row>
__device__ inline void attention_stage(bf16_t* to, const T* from, int count, bool vectors,
                                       const Row& row) {
  constexpr int parts = width / 8;  // of a row, one for each of 64 * parts / 128 steps of a thread
  const auto target = [&](int i) {
    return to + i / parts * attention_mma_pitch(width) + i % parts * 8;
  };
  const auto source = [&](int i) {
    const int r = i / parts;
    return from + row(r < count ? r : count - 1) + i % parts * 8;
  };
  if (std::is_same_v<T, bf16_t> && vectors) {
    UNROLL_BY(4)
    for (int step = 0; step < parts / 2; ++step) {
      const int i = thread_of_block() + attention_mma_threads * step;
      cp_async16(target(i), source(i), i / parts < count ? 16 : 0);
    }
  } else {
    UNROLL_BY(1)
    for (int i = thread_of_block(); i < 64 * parts; i += attention_mma_threads) {
      const int left = i / parts < count ? 4 : 0;
      float v[2][4];
      load_quad(v[0], source(i), left, vectors);
      load_quad(v[1], source(i) + 4, left, vectors);
      store_vector(target(i),
                   uint4{pack_pair<bf16_t>(v[0][0], v[0][1]), pack_pair<bf16_t>(v[0][2], v[0][3]),
                         pack_pair<bf16_t>(v[1][0], v[1][1]), pack_pair<bf16_t>(v[1][2], v[1][3])});
    }
  }
  cp_async_commit();
}

/// The address that a lane passes to load a 16 x 16 matrix of bf16 whose first element is at p, as
/// four of 8 x 8. `down`: the second of them is below the first; otherwise it is on the right.
__device__ inline const bf16_t* attention_matrix(const bf16_t* p, int pitch, bool down) {
  const int lane = lane_of_warp(), i = lane % 8, second = lane / 8 % 2 * 8, third = lane / 16 * 8;
  return p + (i + (down ? second : third)) * pitch + (down ? third : second);
}

/// s[2] += q k^T for 16 keys, the first at k.
template <int width>
__device__ inline void attention_mma_scores(float (&s)[2][4],
                                            const std::uint32_t (&q)[width / 16][4],
                                            const bf16_t* k) {
  UNROLL
  for (int e = 0; e < width / 16; ++e) {
    std::uint32_t b[4];
    ldmatrix_x4(b, attention_matrix(k + 16 * e, attention_mma_pitch(width), false));
    mma_m16n8k16(s[0], q[e], {b[0], b[1]}, bf16_t());
    mma_m16n8k16(s[1], q[e], {b[2], b[3]}, bf16_t());
  }
}

/// o[2] = p v for 16 elements of E, the first at v, from all 64 keys.
template <int width>
__device__ inline void attention_mma_output(float (&o)[2][4], const std::uint32_t (&p)[4][4],
                                            const bf16_t* v) {
  UNROLL
  for (int j = 0; j < 4; ++j) {
    constexpr int pitch = attention_mma_pitch(width);
    std::uint32_t b[4];
    ldmatrix_x4_trans(b, attention_matrix(v + 16 * j * pitch, pitch, true));
    mma_m16n8k16(o[0], p[j], {b[0], b[1]}, bf16_t());
    mma_m16n8k16(o[1], p[j], {b[2], b[3]}, bf16_t());
  }
}

/// The softmax of a chunk, of whose keys the query sees the first n. x[i][c] is the scaled score of
/// key 8 i + 2 t + c, t = lane % 4; on return, its exponential. Returns the largest score and the sum
/// of exponentials: each lane of four adds its own by ascending key, then a tree.
__device__ inline float2 attention_mma_softmax(float (&x)[8][2], int n) {
  const int first = lane_of_warp() % 4 * 2;
  float m = -INFINITY, l = 0;
  UNROLL
  for (int i = 0; i < 16; ++i) {
    float& score = x[i / 2][i % 2];
    score = 8 * (i / 2) + first + i % 2 < n ? score : -INFINITY;
    m = fmaxf(m, score);
  }
  m = lane_max<4>(m);
  const float base = n > 0 ? m : 0.0f;  // without keys, all exponentials are zero
  UNROLL
  for (int i = 0; i < 16; ++i) l += x[i / 2][i % 2] = expf(x[i / 2][i % 2] - base);
  return make_float2(m, lane_sum<4>(l));
}

template <int width, class Tile>
__global__ void __launch_bounds__(attention_mma_threads, 2)
    attention_prefill_mma_kernel(float* out, AttentionOperands<bf16_t> o, const Tile* tiles,
                                 bool vectors) {
  constexpr int pitch = attention_mma_pitch(width);
  const Tile tile = tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), lane = lane_of_warp();
  const int first = warp_of_block() * 16 + lane / 4;  // and first + 8: the queries of this lane
  bf16_t* const q = dynamic_shared<bf16_t>();
  bf16_t* const k = q + attention_mma_queries * pitch;
  bf16_t* const v = k + attention_chunk * pitch;
  const int most = tile.visible(tile.queries - 1);
  const auto load_keys = [&](bf16_t* to, const bf16_t* from, int begin) {
    attention_stage<width>(to, from, most - begin, vectors, [&](int r) {
      return o.head_of_row(o.key_rows[tile.key_list + begin + r], head);
    });
  };
  attention_stage<width>(q, o.q, tile.queries, vectors,
                         [&](int r) { return o.head_of_row(tile.query + r, head); });
  if (most > 0) load_keys(k, o.k, 0);
  __syncthreads();
  std::uint32_t queries[width / 16][4];
  UNROLL
  for (int e = 0; e < width / 16; ++e)
    ldmatrix_x4(queries[e],
                attention_matrix(q + warp_of_block() * 16 * pitch + 16 * e, pitch, true));
  float sums[width / 8][4] = {};
  SoftmaxState states[2];
  for (int begin = 0; begin < most; begin += attention_chunk) {
    cp_async_wait<0>();
    __syncthreads();  // the keys have arrived; the values of the previous chunk have been used
    load_keys(v, o.v, begin);
    float s[4][2][4] = {};
    UNROLL
    for (int j = 0; j < 4; ++j) attention_mma_scores<width>(s[j], queries, k + 16 * j * pitch);
    cp_async_wait<0>();
    __syncthreads();  // the values have arrived, the keys have been used
    if (begin + attention_chunk < most) load_keys(k, o.k, begin + attention_chunk);
    std::uint32_t p[4][4];
    bool seen[2];
    SoftmaxState::Factors factors[2];
    UNROLL
    for (int row = 0; row < 2; ++row) {
      const int query = first + 8 * row;
      const int n = query < tile.queries ? tile.visible(query) - begin : 0;
      float x[8][2];
      UNROLL
      for (int i = 0; i < 16; ++i) x[i / 2][i % 2] = s[i / 4][i / 2 % 2][2 * row + i % 2] * o.scale;
      const float2 state = attention_mma_softmax(x, n);
      seen[row] = n > 0;
      if (seen[row]) factors[row] = states[row].merge(state.x, state.y);
      UNROLL
      for (int i = 0; i < 8; ++i) p[i / 2][row + i % 2 * 2] = pack_pair<bf16_t>(x[i][0], x[i][1]);
    }
    UNROLL
    for (int e = 0; e < width / 16; ++e) {
      float mixed[2][4] = {};
      attention_mma_output<width>(mixed, p, v + 16 * e);
      UNROLL
      for (int i = 0; i < 8; ++i) {
        float& sum = sums[2 * e + i / 4][i % 4];
        const int row = i / 2 % 2;
        if (seen[row]) sum = fmaf(sum, factors[row].old, mixed[i / 4][i % 4] * factors[row].next);
      }
    }
  }
  cp_async_wait<0>();
  UNROLL
  for (int row = 0; row < 2; ++row) {
    const int query = first + 8 * row;
    if (query >= tile.queries) continue;
    float* const to = out + o.head_of_row(tile.query + query, head) + lane % 4 * 2;
    const bool none = tile.visible(query) == 0;
    UNROLL
    for (int i = 0; i < width / 4; ++i)
      to[i / 2 * 8 + i % 2] = none ? 0.0f : sums[i / 2][2 * row + i % 2] / states[row].sum;
  }
}

/// The chunks of single queries, into scratch like those of attention_decode_kernel. A warp has 16
/// keys of the scores, then a part of E of the output.
template <int width, class Tile>
__global__ void __launch_bounds__(attention_mma_threads)
    attention_decode_mma_kernel(float* scratch, AttentionOperands<bf16_t> o, const Tile* tiles,
                                bool vectors) {
  constexpr int pitch = attention_mma_pitch(width);
  SHARED_ARRAY(float, scores, attention_chunk);
  const Tile tile = tiles[blockIdx.z];
  const int head = static_cast<int>(blockIdx.y), lane = lane_of_warp(), warp = warp_of_block();
  const int begin = static_cast<int>(blockIdx.x) * attention_chunk, n = tile.visible(0) - begin;
  if (n <= 0) return;
  bf16_t* const k = dynamic_shared<bf16_t>();
  bf16_t* const v = k + attention_chunk * pitch;
  const auto row = [&](int r) {
    return o.head_of_row(o.key_rows[tile.key_list + begin + r], head);
  };
  attention_stage<width>(k, o.k, n, vectors, row);
  attention_stage<width>(v, o.v, n, vectors, row);
  // the query is row 0 of the matrix, which the lanes 0 to 3 have; the other rows are zero
  std::uint32_t query[width / 16][4] = {};
  const float* const q = o.q + o.head_of_row(tile.query, head) + lane % 4 * 2;
  UNROLL
  for (int e = 0; e < width / 16; ++e)
    if (lane < 4) {
      query[e][0] = pack_pair<bf16_t>(q[16 * e], q[16 * e + 1]);
      query[e][2] = pack_pair<bf16_t>(q[16 * e + 8], q[16 * e + 9]);
    }
  cp_async_wait<1>();
  __syncthreads();
  float s[2][4] = {};
  attention_mma_scores<width>(s, query, k + 16 * warp * pitch);
  if (lane < 4)
    for (int i = 0; i < 4; ++i)
      scores[16 * warp + i / 2 * 8 + lane * 2 + i % 2] = s[i / 2][i % 2] * o.scale;
  cp_async_wait<0>();
  __syncthreads();

  float x[8][2];
  UNROLL
  for (int i = 0; i < 16; ++i) x[i / 2][i % 2] = scores[i / 2 * 8 + lane % 4 * 2 + i % 2];
  const float2 state = attention_mma_softmax(x, n);
  std::uint32_t p[4][4] = {};
  UNROLL
  for (int i = 0; i < 8; ++i)
    if (lane < 4) p[i / 2][i % 2 * 2] = pack_pair<bf16_t>(x[i][0], x[i][1]);
  const std::int64_t part = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  float* const to = scratch + part * (width + 2);
  if (threadIdx.x == 0) to[0] = state.x, to[1] = state.y;
  for (int e = 16 * warp; e < width; e += 64) {
    float mixed[2][4] = {};
    attention_mma_output<width>(mixed, p, v + e);
    if (lane < 4)
      for (int i = 0; i < 4; ++i) to[2 + e + i / 2 * 8 + lane * 2 + i % 2] = mixed[i / 2][i % 2];
  }
}

/// Calls function(E) for a width of attention_by_mma.
template <class Function>
void with_mma_width(int width, const Function& function) {
  if (width == 80) return function(std::integral_constant<int, 80>());
  if (width == 96) return function(std::integral_constant<int, 96>());
  function(std::integral_constant<int, 128>());
}

/// Tiles of up to 64 queries; or of one, none of which sees more than `most_keys` keys.
inline void attention_mma(Stream& stream, float* out, const AttentionOperands<bf16_t>& operands,
                          const AttentionTile* tiles, std::int64_t count, bool single_queries,
                          std::int64_t most_keys, float* scratch) {
  const auto heads = static_cast<unsigned>(operands.heads), blocks = static_cast<unsigned>(count);
  const bool vectors = is_aligned<uint4>(operands.q) && is_aligned<uint4>(operands.k) &&
                       is_aligned<uint4>(operands.v);
  with_mma_width(operands.width, [&]<int width>(std::integral_constant<int, width>) {
    if (!single_queries)
      return launch(stream, dim3(blocks, heads), attention_mma_threads,
                    attention_mma_shared(width, attention_mma_queries + 2 * attention_chunk),
                    attention_prefill_mma_kernel<width, AttentionTile>, out, operands, tiles,
                    vectors);
    const auto chunks =
        static_cast<unsigned>(most_keys > 0 ? ceil_div(most_keys, attention_chunk) : 1);
    launch(stream, dim3(chunks, heads, blocks), attention_mma_threads,
           attention_mma_shared(width, 2 * attention_chunk),
           attention_decode_mma_kernel<width, AttentionTile>, scratch, operands, tiles, vectors);
    merge_chunks(stream, out, scratch, operands, tiles, count, chunks);
  });
}

}}}  // namespace idefics::v0::cuda
