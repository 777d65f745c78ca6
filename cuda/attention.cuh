// Attention: softmax(q k^T * scale) v per head, over keys that the caller lists.
//
//   score[j]  = scale * sum_e q[e] k[j,e]            over the keys that the query sees
//   p[j]      = exp(score[j] - max) / sum_j exp(score[j] - max)
//   out[e]    = sum_j p[j] v[j,e]                    zero for a query that sees no key
//
// q, out f32 [M,H,E]; k, v f32 or bf16 [J,H,E]. The order (docs/determinism.md), whichever kernel
// runs, but for bf16 on tensor cores, whose chunks are computed in another (attention_mma.cuh):
//
//   chunks    the keys of a query, in their order, in chunks of 64 from the first on
//   score     8 lanes over E, lane t adds e = 4 t .. 4 t + 3, then 32 further, …; tree; times scale
//   chunk     its largest score m; p = exp(score - m); l = sum of p[i] + p[i + 32], by a tree;
//             o = one chain over its keys
//   merged    chunks in their order: max' = max(max, m),
//             sum' = sum exp(max - max') + l exp(m - max'), o into out likewise
//   out       out / sum
//
// So the chunks of a query may be computed in parallel (attention_decode.cuh) or one after another
// (attention_prefill.cuh), and a prompt may be cut anywhere: the bits are the same.
#pragma once

#include <vector>

#include "attention_decode.cuh"
#include "attention_mma.cuh"
#include "attention_prefill.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// Queries per tile for heads of this width: one if heads are too wide for the tiles of
/// attention_prefill. T: the type of keys and values.
template <class T = float>
constexpr std::int64_t attention_tile_queries(std::int64_t head_width) {
  if (attention_by_mma<T>(head_width)) return attention_mma_queries;
  return head_width <= attention_widest ? attention_queries : 1;
}

/// The tiles of all segments (AttentionSegment of the core), of up to `most` queries each. The
/// segments' lists of key rows are concatenated.
template <class Segments>
std::vector<AttentionTile> attention_tiles(const Segments& segments, std::int64_t most) {
  std::vector<AttentionTile> tiles;
  std::int64_t list = 0;
  for (const auto& s : segments) {
    const auto keys = static_cast<std::int64_t>(s.key_rows.size());
    for (std::int64_t begin = s.query_begin; begin < s.query_end; begin += most) {
      const std::int64_t end = begin + most < s.query_end ? begin + most : s.query_end;
      const std::int64_t seen = s.causal ? keys - (s.query_end - end) : keys;
      tiles.push_back({static_cast<std::int32_t>(begin), static_cast<std::int32_t>(end - begin),
                       static_cast<std::int32_t>(list), static_cast<std::int32_t>(seen), s.causal});
    }
    list += keys;
  }
  return tiles;
}

/// Attention of `count` tiles, none of which sees more than `most_keys` keys. `scratch` is for
/// tiles of one query: [attention_scratch(...)] floats, and so are the zeros `finished` [count,H]. All pointers are to device memory; q and
/// out [M,H,E], k and v [J,H,E]; the caller has checked the rows.
template <class T>
void attention(Stream& stream, float* out, const AttentionOperands<T>& operands,
               const AttentionTile* tiles, std::int64_t count, bool single_queries,
               std::int64_t most_keys, float* scratch, unsigned* finished) {
  if (count == 0 || operands.heads == 0) return;
  if constexpr (std::is_same_v<T, bf16_t>)
    if (attention_by_mma<T>(operands.width))
      return attention_mma(stream, out, operands, tiles, count, single_queries, most_keys, scratch);
  if (single_queries)
    attention_decode(stream, out, operands, tiles, count, most_keys, scratch, finished);
  else
    attention_prefill(stream, out, operands, tiles, count);
}

}}}  // namespace idefics::v0::cuda
