// Attention of many queries: a block owns up to 32 queries of a segment in one head and walks over
// their keys in chunks of 64, merging each softmax into the previous ones (FlashAttention, Dao et
// al. 2022, with the fixed chunks of attention.cuh).
//
//        shared                               256 threads
//   q   [32][E + 4]     ┐ scores, into p      32 groups of 8 lanes over E: each 4 queries x 8 keys,
//   k   [64][E + 4]     ┘                     32 products for 12 values read
//   p   [64][32 + 4]    ┐ output [32][E]      warp w has queries 4 w .. 4 w + 3, a lane 4 of E:
//   v   [64][E + 4]     ┘                     16 products for 8 values read
//
// The values of a chunk arrive (cp.async) while its scores are computed, and the next keys while
// its output is. Bound: the f32 peak; the products are f32 because keys and values are.
#pragma once

#include "attention_tile.cuh"
#include "instructions.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int attention_queries = 32;  // per tile
inline constexpr int attention_widest = 128;  // largest E that fits
inline constexpr int attention_prefill_threads = 256;
inline constexpr int attention_p_pitch = attention_queries + 4;

/// The pitch of rows in shared memory: E rounded up to 32, plus 4 to start rows in other banks.
constexpr __host__ __device__ int attention_pitch(int width) { return (width + 31) / 32 * 32 + 4; }

constexpr std::size_t attention_prefill_shared(int width) {
  const int floats = (attention_queries + 2 * attention_chunk) * attention_pitch(width) +
                     attention_chunk * attention_p_pitch;
  return sizeof(float) * static_cast<std::size_t>(floats);
}

/// Starts loading `count` rows of one head into shared memory, as f32, with zeros after E; row(i) is
/// the offset of row i in `from`.
template <class T, class Row>
__device__ inline void attention_load(float* to, const T* from, int count, int width, bool quads,
                                      const Row& row) {
  const int pitch = attention_pitch(width), quads_of_row = (pitch - 4) / 4;
  for (int i = static_cast<int>(threadIdx.x); i < count * quads_of_row;
       i += attention_prefill_threads) {
    const int r = i / quads_of_row, e = i % quads_of_row * 4;
    if (sizeof(T) == sizeof(float) && quads && e < width) {
      cp_async16(to + r * pitch + e, from + row(r) + e);
    } else {
      float v[4];
      load_quad(v, from + row(r) + e, width - e, quads);
      store_vector(to + r * pitch + e, make_float4(v[0], v[1], v[2], v[3]));
    }
  }
  cp_async_commit();
}

/// scores[key][query] of a chunk, in shared memory. Group g of 8 lanes has queries g % 4 + 4 a and
/// keys g / 4 + 8 b, a and b < 8, half of the queries at a time.
__device__ inline void attention_score_tile(float* scores, const float* q, const float* k,
                                            int width, float scale) {
  const int pitch = attention_pitch(width), lane = static_cast<int>(threadIdx.x % 8);
  const int group = static_cast<int>(threadIdx.x / 8), first_k = group / 4;
  UNROLL_BY(1)
  for (int first_q = group % 4; first_q < attention_queries; first_q += 16) {
    float sums[32] = {};
    for (int e = 4 * lane; e < pitch - 4; e += 32) {
      float4 qs[4];
      UNROLL
      for (int a = 0; a < 4; ++a) qs[a] = load_vector<float4>(q + (first_q + 4 * a) * pitch + e);
      UNROLL
      for (int b = 0; b < 8; ++b) {
        const float4 key = load_vector<float4>(k + (first_k + 8 * b) * pitch + e);
        UNROLL
        for (int a = 0; a < 4; ++a) {
          float& sum = sums[8 * a + b];
          sum = fmaf(qs[a].x, key.x, sum), sum = fmaf(qs[a].y, key.y, sum);
          sum = fmaf(qs[a].z, key.z, sum), sum = fmaf(qs[a].w, key.w, sum);
        }
      }
    }
    scatter_sums<8, 32>(sums);  // lane t gets 4 t .. 4 t + 3 of the sums 8 a + b
    UNROLL
    for (int i = 0; i < 4; ++i)
      scores[(first_k + 8 * (lane % 2 * 4 + i)) * attention_p_pitch + first_q + lane / 2 * 4] =
          sums[i] * scale;
  }
}

/// o[4][4] += p v of a chunk, for the four queries of a warp, which see the first n[i] of its keys.
__device__ inline void attention_mix(float (&o)[4][4], const float* p, const float* v, int pitch,
                                     const int (&n)[4]) {
  const int first = static_cast<int>(threadIdx.x / 32 * 4);
  const int e = static_cast<int>(threadIdx.x % 32 * 4);
  if (e >= pitch - 4) return;
  const int most = n[0] > n[3] ? n[0] : n[3];  // causal: n[3]; past the last query: n[0]
  const int second = n[1] > n[2] ? n[1] : n[2], all = most > second ? most : second;
  UNROLL_BY(4)
  for (int j = 0; j < all; ++j) {
    const float4 value = load_vector<float4>(v + j * pitch + e);
    const float4 weight = load_vector<float4>(p + j * attention_p_pitch + first);
    const float weights[4] = {weight.x, weight.y, weight.z, weight.w};
    UNROLL
    for (int i = 0; i < 4; ++i) {
      if (j >= n[i]) continue;
      o[i][0] = fmaf(weights[i], value.x, o[i][0]), o[i][1] = fmaf(weights[i], value.y, o[i][1]);
      o[i][2] = fmaf(weights[i], value.z, o[i][2]), o[i][3] = fmaf(weights[i], value.w, o[i][3]);
    }
  }
}

/// Replaces the scores of a chunk by their exponentials, for the four queries of a warp, and
/// merges the chunk into their states.
__device__ inline void attention_softmax(float* p, SoftmaxState (&states)[4],
                                         SoftmaxState::Factors (&factors)[4], const int (&n)[4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  float* const of_key = p + lane * attention_p_pitch + threadIdx.x / 32 * 4;
  float low[4], high[4];
  load_quad(low, of_key, 4, true);
  load_quad(high, of_key + 32 * attention_p_pitch, 4, true);
  UNROLL
  for (int i = 0; i < 4; ++i) {
    low[i] = lane < n[i] ? low[i] : -INFINITY;
    high[i] = lane + 32 < n[i] ? high[i] : -INFINITY;
    const float2 state = chunk_softmax(low[i], high[i]);
    if (n[i] > 0) factors[i] = states[i].merge(state.x, state.y);
  }
  store_quad(of_key, low, 4, true);
  store_quad(of_key + 32 * attention_p_pitch, high, 4, true);
}

template <class T, class Tile>
__global__ void __launch_bounds__(attention_prefill_threads, 2)
    attention_prefill_kernel(float* out, AttentionOperands<T> o, const Tile* tiles, bool quads) {
  const Tile tile = tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), pitch = attention_pitch(o.width);
  const int first = static_cast<int>(threadIdx.x / 32 * 4),
            e = static_cast<int>(threadIdx.x % 32 * 4);
  float* const q = dynamic_shared<float>();
  float* const k = q + attention_queries * pitch;
  float* const v = k + attention_chunk * pitch;
  float* const p = v + attention_chunk * pitch;
  const int most = tile.visible(tile.queries - 1);
  const auto load_keys = [&](float* to, const T* from, int begin) {
    const int count = most - begin < attention_chunk ? most - begin : attention_chunk;
    attention_load(to, from, count, o.width, quads, [&](int r) {
      return o.head_of_row(o.key_rows[tile.key_list + begin + r], head);
    });
  };
  attention_load(q, o.q, tile.queries, o.width, quads,
                 [&](int r) { return o.head_of_row(tile.query + r, head); });
  if (most > 0) load_keys(k, o.k, 0);
  float sums[4][4] = {};
  SoftmaxState states[4];
  for (int begin = 0; begin < most; begin += attention_chunk) {
    cp_async_wait<0>();
    __syncthreads();  // the keys have arrived; the values of the previous chunk have been used
    load_keys(v, o.v, begin);
    attention_score_tile(p, q, k, o.width, o.scale);
    cp_async_wait<0>();
    __syncthreads();  // scores and values are complete, the keys have been used
    if (begin + attention_chunk < most) load_keys(k, o.k, begin + attention_chunk);
    int n[4];
    for (int i = 0; i < 4; ++i)
      n[i] = first + i < tile.queries ? tile.visible(first + i) - begin : 0;
    for (int& seen : n) seen = seen < attention_chunk ? seen : attention_chunk;
    SoftmaxState::Factors factors[4];
    attention_softmax(p, states, factors, n);
    __syncwarp();
    float mixed[4][4] = {};
    attention_mix(mixed, p, v, pitch, n);
    UNROLL
    for (int i = 0; i < 4; ++i)
      for (int c = 0; c < 4; ++c)
        if (n[i] > 0) sums[i][c] = fmaf(sums[i][c], factors[i].old, mixed[i][c] * factors[i].next);
  }
  cp_async_wait<0>();
  UNROLL
  for (int i = 0; i < 4; ++i) {
    if (first + i >= tile.queries) continue;
    float* const to = out + o.head_of_row(tile.query + first + i, head);
    for (int c = 0; c < 4; ++c)
      if (e + c < o.width)
        to[e + c] = tile.visible(first + i) == 0 ? 0.0f : sums[i][c] / states[i].sum;
  }
}

/// Tiles of up to 32 queries; E is at most 128.
template <class T>
void attention_prefill(Stream& stream, float* out, const AttentionOperands<T>& operands,
                       const AttentionTile* tiles, std::int64_t count) {
  launch(stream, dim3(static_cast<unsigned>(count), static_cast<unsigned>(operands.heads)),
         attention_prefill_threads, attention_prefill_shared(operands.width),
         attention_prefill_kernel<T, AttentionTile>, out, operands, tiles, operands.quads());
}

}}}  // namespace idefics::v0::cuda
