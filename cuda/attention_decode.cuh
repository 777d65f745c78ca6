// Attention of single queries: a block for each chunk of keys, the last of which merges the chunks.
//
//   grid    chunks of 64 keys x heads x queries; a block without keys returns at once, so that the
//           grid of a recorded step does not depend on their number
//   scores  16 groups of 8 lanes, 4 keys each: a group reads 128 bytes of a key at a time
//   output  a thread per element of E: rows of v are read whole
//   merged  by the block that finishes last, in the order of the chunks, whichever block it is
//
// Bound: the bytes of k and v. With heads of 128, a thread issues the loads of all its keys before
// the first product, and those of all its values before the softmax.
#pragma once

#include "attention_tile.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int attention_decode_threads = 128;
inline constexpr int attention_merged = 8;  // chunks that are loaded at a time to be merged

/// Floats of scratch for queries that see up to `keys` keys: m, l and o [E] of each chunk.
constexpr std::int64_t attention_scratch(std::int64_t queries, std::int64_t heads,
                                         std::int64_t width, std::int64_t keys) {
  return queries * heads * ceil_div(keys, attention_chunk) * (width + 2);
}

/// The scores of four keys, 16 apart in the chunk, in each lane of a group of 8. `steps`: 1, or if
/// rows are in quads E / 32: then a lane loads its share of all rows before the first product.
template <int steps, class T>
__device__ inline void attention_scores(float (&sums)[4], const AttentionOperands<T>& o,
                                        const float* query, const T* const (&keys)[4], bool quads) {
  int e = thread_of_block() % 8 * 4;
  do {
    float q[steps][4], k[steps][4][4];
    UNROLL
    for (int i = 0; i < steps; ++i) {
      const int left = steps > 1 ? 4 : o.width - e;
      load_quad(q[i], query + e + 32 * i, left, steps > 1 || quads);
      UNROLL
      for (int r = 0; r < 4; ++r)
        load_quad(k[i][r], keys[r] + e + 32 * i, left, steps > 1 || quads);
    }
    UNROLL
    for (int i = 0; i < 16 * steps; ++i) {
      const int step = i / 16, r = i / 4 % 4, c = i % 4;
      sums[r] = fmaf(q[step][c], k[step][r][c], sums[r]);
    }
  } while (steps == 1 && (e += 32) < o.width);
  UNROLL
  for (int r = 0; r < 4; ++r) sums[r] = lane_sum<8>(sums[r]) * o.scale;
}

/// Merges the chunks of a query and head, of which there are `used`, and stores out [E].
template <int width>
__device__ inline void attention_merge(float* out, const float* parts, int used, int any_width) {
  const int e_width = width > 0 ? width : any_width;
  for (int e = thread_of_block(); e < e_width; e += attention_decode_threads) {
    SoftmaxState state;
    float sum = 0;
    for (int first = 0; first < used; first += attention_merged) {
      float m[attention_merged], l[attention_merged], o[attention_merged];
      UNROLL
      for (int i = 0; i < attention_merged; ++i) {
        const float* const part = parts + (first + i < used ? first + i : used - 1) * (e_width + 2);
        m[i] = load_of_blocks<float>(part), l[i] = load_of_blocks<float>(part + 1);
        o[i] = load_of_blocks<float>(part + 2 + e);
      }
      UNROLL
      for (int i = 0; i < attention_merged; ++i)
        if (first + i < used) {
          const auto factors = state.merge(m[i], l[i]);
          sum = fmaf(sum, factors.old, o[i] * factors.next);
        }
    }
    out[e] = used == 0 ? 0.0f : sum / state.sum;
  }
}

/// Whether this block is the last of `blocks` that call this with the same counter, which is then 0
/// again. What the others have written before is visible to it through load_of_blocks.
__device__ inline bool is_last_block(unsigned* counter, unsigned blocks) {
  SHARED_ARRAY(unsigned, last, 1);
  __threadfence();
  __syncthreads();
  if (thread_of_block() == 0) {
    last[0] = atomicAdd(counter, 1u) == blocks - 1;
    if (last[0]) *counter = 0;
  }
  __syncthreads();
  if (last[0]) __threadfence();
  return last[0] != 0;
}

/// `width`: E if it is attention_decode_threads and rows are in quads, otherwise 0.
template <int width, class T, class Tile>
__global__ void __launch_bounds__(attention_decode_threads)
    attention_decode_kernel(float* out, float* scratch, unsigned* finished, AttentionOperands<T> o,
                            const Tile* tiles, bool quads) {
  SHARED_ARRAY(float, p, attention_chunk);
  SHARED_ARRAY(std::int64_t, rows, attention_chunk);  // offsets in k and v
  constexpr bool whole = width == attention_decode_threads;
  const Tile tile = tiles[blockIdx.z];
  const int thread = static_cast<int>(threadIdx.x), head = static_cast<int>(blockIdx.y);
  const int begin = static_cast<int>(blockIdx.x) * attention_chunk, left = tile.visible(0) - begin;
  const int n = left < attention_chunk ? left : attention_chunk;
  if (whole) o.width = width;
  out += o.head_of_row(tile.query, head);
  if (n <= 0) {
    if (tile.visible(0) == 0 && blockIdx.x == 0) attention_merge<width>(out, scratch, 0, o.width);
    return;
  }
  if (thread < attention_chunk)
    rows[thread] =
        o.head_of_row(o.key_rows[tile.key_list + begin + (thread < n ? thread : n - 1)], head);
  __syncthreads();

  float sums[4] = {};
  const T* keys[4];
  for (int r = 0; r < 4; ++r) keys[r] = o.k + rows[thread / 8 + 16 * r];
  attention_scores<whole ? width / 32 : 1>(sums, o, o.q + o.head_of_row(tile.query, head), keys,
                                           quads);
  T values[whole ? attention_chunk : 1];
  const T* const v = o.v + thread;
  if (whole) {
    UNROLL
    for (int j = 0; j < attention_chunk; ++j) values[j] = v[rows[j]];
  }
  if (thread % 8 == 0)
    for (int r = 0; r < 4; ++r) {
      const int key = thread / 8 + 16 * r;
      p[key] = key < n ? sums[r] : -INFINITY;
    }
  __syncthreads();

  const std::int64_t query = blockIdx.z * gridDim.y + blockIdx.y;
  float* const parts = scratch + query * gridDim.x * (o.width + 2);
  float* const to = parts + blockIdx.x * (o.width + 2);
  if (thread < 32) {
    float first = p[thread], second = p[thread + 32];
    const float2 state = chunk_softmax(first, second);
    p[thread] = first, p[thread + 32] = second;
    if (thread == 0) to[0] = state.x, to[1] = state.y;
  }
  __syncthreads();

  if constexpr (whole) {
    float sum = 0;
    UNROLL
    for (int j = 0; j < attention_chunk; ++j)
      if (j < n) sum = fmaf(p[j], to_float(values[j]), sum);
    to[2 + thread] = sum;
  } else {
    for (int e = thread; e < o.width; e += attention_decode_threads) {
      float sum = 0;
      for (int j = 0; j < n; ++j) sum = fmaf(p[j], to_float(o.v[rows[j] + e]), sum);
      to[2 + e] = sum;
    }
  }
  const int used = (tile.visible(0) + attention_chunk - 1) / attention_chunk;
  if (is_last_block(finished + query, static_cast<unsigned>(used)))
    attention_merge<width>(out, parts, used, o.width);
}

/// Merges the chunks of all queries and heads in `scratch`, at most `chunks` each, as a kernel of its
/// own: for attention_mma.cuh.
template <class Tile>
__global__ void __launch_bounds__(attention_decode_threads)
    attention_merge_kernel(float* out, const float* scratch, const Tile* tiles, int heads,
                           int width, int chunks) {
  const Tile tile = tiles[blockIdx.y];
  const std::int64_t head = blockIdx.x, query = std::int64_t{blockIdx.y} * heads + head;
  attention_merge<0>(out + (std::int64_t{tile.query} * heads + head) * width,
                     scratch + query * chunks * (width + 2),
                     (tile.visible(0) + attention_chunk - 1) / attention_chunk, width);
}
template <class T>
void merge_chunks(Stream& stream, float* out, const float* scratch,
                  const AttentionOperands<T>& operands, const AttentionTile* tiles,
                  std::int64_t count, unsigned chunks) {
  launch(stream, dim3(static_cast<unsigned>(operands.heads), static_cast<unsigned>(count)),
         attention_decode_threads, 0, attention_merge_kernel<AttentionTile>, out, scratch, tiles,
         operands.heads, operands.width, static_cast<int>(chunks));
}

/// Tiles of one query each, none of which sees more than `most_keys` keys. `finished` has a zero for
/// each head of each query, and has them again afterwards.
template <class T>
void attention_decode(Stream& stream, float* out, const AttentionOperands<T>& operands,
                      const AttentionTile* tiles, std::int64_t count, std::int64_t most_keys,
                      float* scratch, unsigned* finished) {
  const auto chunks =
      static_cast<unsigned>(most_keys > 0 ? ceil_div(most_keys, attention_chunk) : 1);
  const auto heads = static_cast<unsigned>(operands.heads), queries = static_cast<unsigned>(count);
  auto kernel = attention_decode_kernel<0, T, AttentionTile>;
  if constexpr (std::is_same_v<T, float>)  // for bf16: attention_mma.cuh
    if (operands.width == attention_decode_threads && operands.quads())
      kernel = attention_decode_kernel<attention_decode_threads, T, AttentionTile>;
  launch(stream, dim3(chunks, heads, queries), attention_decode_threads, 0, kernel, out, scratch,
         finished, operands, tiles, operands.quads());
}

/// The weights of single queries, out [R,H,J]: zeros after the keys that a query sees.
template <class T, class Tile>
__global__ void __launch_bounds__(attention_decode_threads)
    attention_weights_kernel(float* out, AttentionOperands<T> o, const Tile* tiles, int columns,
                             bool quads) {
  SHARED_ARRAY(float, of_warp, 4);
  const Tile tile = tiles[blockIdx.x];
  const int thread = static_cast<int>(threadIdx.x), head = static_cast<int>(blockIdx.y);
  const int visible = tile.visible(0);
  float* const to = out + (std::int64_t{blockIdx.x} * o.heads + head) * columns;
  for (int begin = 0; begin < visible; begin += attention_chunk) {
    float sums[4] = {};
    const T* keys[4];
    for (int r = 0; r < 4; ++r) {
      const int key = begin + thread / 8 + 16 * r;
      keys[r] = o.k + o.head_of_row(o.key_rows[tile.key_list + (key < visible ? key : visible - 1)],
                                    head);
    }
    attention_scores<1>(sums, o, o.q + o.head_of_row(tile.query, head), keys, quads);
    for (int r = 0; r < 4; ++r)
      if (const int key = begin + thread / 8 + 16 * r; thread % 8 == 0 && key < visible)
        to[key] = sums[r];
  }
  __syncthreads();
  float largest = -INFINITY, sum = 0;
  for (int j = thread; j < visible; j += attention_decode_threads) largest = fmaxf(largest, to[j]);
  largest = block_max<4>(largest, of_warp);
  for (int j = thread; j < visible; j += attention_decode_threads) {
    to[j] = expf(to[j] - largest);
    sum += to[j];
  }
  sum = block_sum<4>(sum, of_warp);
  for (int j = thread; j < columns; j += attention_decode_threads)
    to[j] = j < visible ? to[j] / sum : 0.0f;
}

/// `tiles` have one query each, in the order of the rows of out [R,H,J].
template <class T>
void attention_weights(Stream& stream, float* out, const AttentionOperands<T>& operands,
                       const AttentionTile* tiles, std::int64_t count, std::int64_t columns) {
  launch(stream, dim3(static_cast<unsigned>(count), static_cast<unsigned>(operands.heads)),
         attention_decode_threads, 0, attention_weights_kernel<T, AttentionTile>, out, operands,
         tiles, static_cast<int>(columns), operands.quads());
}

}}}  // namespace idefics::v0::cuda
