// softmax(q k^T * scale) v of one head.      q, out [M,H,E] f32; k, v [J,H,E] f32 or bf16, called T
// Source: transformers' IdeficsAttention; docs/kernels/attention.md. Parallel over segments, heads
// and queries. The order depends on key indices only: a score is 16 lanes over E, then the tree;
// the sum of exponentials is the same over keys; the output is a chain of fused multiply-adds over
// the keys, divided by that sum at the end. Several queries: tiles of queries x keys, on copies of
// a block of keys or values. One query: keys and values of several heads in place, row after row.
// Bound: flops in prefill, bytes in decode.

/// The number of keys that `query` sees.
inline std::int64_t visible_keys(const AttentionSegment& s, std::int64_t query) {
  const auto keys = static_cast<std::int64_t>(s.key_rows.size());
  if (!s.causal) return keys;
  return std::max<std::int64_t>(0, keys - (s.query_end - 1 - query));
}

/// scores[j] = exp(scores[j] * scale - max); returns their sum. `scores` is padded to full vectors.
inline float exponentials(float* scores, std::int64_t keys, float scale) {
  const float minus_infinity = -std::numeric_limits<float>::infinity();
  const std::int64_t padded = round_up(keys, 16);
  const F32x16 factor = F32x16::set(scale);
  F32x16 largest = F32x16::set(minus_infinity);
  for (std::int64_t j = 0; j < padded; j += 16) {
    (F32x16::load(scores + j) * factor).store(scores + j);
    if (j + 16 > keys)
      for (std::int64_t i = keys; i < padded; ++i) scores[i] = minus_infinity;
    largest = F32x16::max(largest, F32x16::load(scores + j));
  }
  const F32x16 shift = F32x16::set(largest.max_lane());
  F32x16 sum = F32x16::zero();
  for (std::int64_t j = 0; j < padded; j += 16) {
    const F32x16 e = exp(F32x16::load(scores + j) - shift);
    e.store(scores + j);
    sum = sum + e;
  }
  return sum.sum();
}

/// out = sums / divisor
inline void divide_by(float* out, const float* sums, float divisor, std::int64_t width) {
  const F32x16 by = F32x16::set(divisor);
  for_each_vector(width, [=](std::int64_t e, auto load, auto store)
                             IDEFICS_CPU_LAMBDA { store(load(sums + e) / by, out + e); });
}

// ---- one query: every key and value is read once, in place --------------------------------------

/// Unscaled scores of one query and `keys` keys of the same head.
template <class T, int keys>
IDEFICS_CPU_INLINE void scores_of(const float* q, const T* const (&k)[keys], std::int64_t width,
                                  float* scores) {
  F32x16 sums[4] = {F32x16::zero(), F32x16::zero(), F32x16::zero(), F32x16::zero()};
  for_each_vector(width, [&](std::int64_t e, auto load, auto) IDEFICS_CPU_LAMBDA {
    const F32x16 query = load(q + e);
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < keys; ++i) sums[i] = F32x16::fma(query, load(k[i] + e), sums[i]);
  });
  float dots[4];
  F32x16::sum4(sums, dots);
  for (int i = 0; i < keys; ++i) scores[i] = dots[i];
}

/// out[e] += weights[0] * v[0][e], then += weights[1] * v[1][e], …
template <class T, int keys>
IDEFICS_CPU_INLINE void add_values(float* out, const float* weights, const T* const (&v)[keys],
                                   std::int64_t width) {
  F32x16 factors[keys];
  for (int i = 0; i < keys; ++i) factors[i] = F32x16::set(weights[i]);
  for_each_vector(width, [&](std::int64_t e, auto load, auto store) IDEFICS_CPU_LAMBDA {
    F32x16 sum = load(out + e);
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < keys; ++i) sum = F32x16::fma(factors[i], load(v[i] + e), sum);
    store(sum, out + e);
  });
}

/// Calls body(head, j, rows) for four keys at a time, of one head after another, so that memory is
/// read in long runs; `body` is called with one key for the rest.
template <class T, class Body>
IDEFICS_CPU_INLINE void for_rows(const AttentionArgs& t, const AttentionSegment& s,
                                 const std::byte* base, std::int64_t head, std::int64_t head_end,
                                 std::int64_t keys, const Body& body) {
  const auto row = [&](std::int64_t j) {
    return reinterpret_cast<const T*>(base) +
           s.key_rows[static_cast<std::size_t>(j)] * t.heads * t.width;
  };
  std::int64_t j = 0;
  for (; j + 4 <= keys; j += 4) {
    const T* rows[4] = {row(j), row(j + 1), row(j + 2), row(j + 3)};
    for (std::int64_t h = head; h < head_end; ++h) {
      const T* at[4];
      for (int i = 0; i < 4; ++i) at[i] = rows[i] + h * t.width;
      body(h, j, at);
    }
  }
  for (; j < keys; ++j)
    for (std::int64_t h = head; h < head_end; ++h) {
      const T* at[1] = {row(j) + h * t.width};
      body(h, j, at);
    }
}

/// Heads [head, head_end) of one query.
template <class T>
void attend_one(const AttentionArgs& t, const AttentionSegment& s, std::int64_t head,
                std::int64_t head_end, std::int64_t query, float* scores) {
  const std::int64_t keys = visible_keys(s, query), stride = round_up(keys, 16);
  const float* q = t.q + query * t.heads * t.width;
  float* out = t.out + query * t.heads * t.width;
  for_rows<T>(t, s, t.k, head, head_end, keys, [&](std::int64_t h, std::int64_t j, const auto& k) {
    scores_of(q + h * t.width, k, t.width, scores + (h - head) * stride + j);
  });
  std::fill(out + head * t.width, out + head_end * t.width, 0.0f);
  float sums[attention_queries];
  for (std::int64_t h = head; h < head_end; ++h)
    sums[h - head] = exponentials(scores + (h - head) * stride, keys, t.scale);
  for_rows<T>(t, s, t.v, head, head_end, keys, [&](std::int64_t h, std::int64_t j, const auto& v) {
    add_values(out + h * t.width, scores + (h - head) * stride + j, v, t.width);
  });
  if (keys > 0)
    for (std::int64_t h = head; h < head_end; ++h)
      divide_by(out + h * t.width, out + h * t.width, sums[h - head], t.width);
}

// ---- several queries: tiles of four queries and four keys, or four queries and some of E ---------

/// Unscaled scores of four queries and four keys, all of them contiguous rows of whole vectors.
IDEFICS_CPU_INLINE void score_tile(const float* q, const float* k, std::int64_t width,
                                   float* scores, std::int64_t stride) {
  constexpr int queries = Lanes::score_queries, groups = 16 / Lanes::width;
  for (int first = 0; first < 4; first += queries) {
    Lanes parts[queries][4][groups];
    IDEFICS_CPU_UNROLL
    for (int g = 0; g < groups; ++g) {
      Lanes sums[queries][4];
      IDEFICS_CPU_UNROLL
      for (int i = 0; i < queries * 4; ++i) sums[i / 4][i % 4] = Lanes::zero();
      for (std::int64_t e = g * Lanes::width; e < width; e += 16) {
        Lanes query[queries];
        IDEFICS_CPU_UNROLL
        for (int i = 0; i < queries; ++i) query[i] = Lanes::load(q + (first + i) * width + e);
        IDEFICS_CPU_UNROLL
        for (int j = 0; j < 4; ++j) {
          const Lanes key = Lanes::load(k + j * width + e);
          IDEFICS_CPU_UNROLL
          for (int i = 0; i < queries; ++i) sums[i][j] = Lanes::fma(query[i], key, sums[i][j]);
        }
      }
      IDEFICS_CPU_UNROLL
      for (int i = 0; i < queries * 4; ++i) parts[i / 4][i % 4][g] = sums[i / 4][i % 4];
    }
    F32x16 whole[queries][4];
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < queries * 4; ++i) whole[i / 4][i % 4] = F32x16::join(parts[i / 4][i % 4]);
    F32x16::sum4(whole, scores + first * stride, stride);
  }
}

/// The same for `keys` keys, rounded up to a multiple of four.
IDEFICS_CPU_OUTLINE inline void score_tiles(const float* q, const float* k, std::int64_t width,
                                            std::int64_t keys, float* scores, std::int64_t stride) {
  for (std::int64_t j = 0; j < keys; j += 4)
    score_tile(q, k + j * width, width, scores + j, stride);
}

/// sums[i][e] += weights[i][j] * v[j][e] for keys j in order, `vectors` vectors of e.
template <int queries, int vectors>
IDEFICS_CPU_OUTLINE inline void value_tile(float* sums, const float* weights, std::int64_t stride,
                                           const float* v, std::int64_t width, std::int64_t keys) {
  F32x16 total[queries][vectors];
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < queries; ++i) {
    IDEFICS_CPU_UNROLL
    for (int e = 0; e < vectors; ++e) total[i][e] = F32x16::load(sums + i * width + 16 * e);
  }
  for (std::int64_t j = 0; j < keys; ++j, v += width) {
    F32x16 values[vectors];
    IDEFICS_CPU_UNROLL
    for (int e = 0; e < vectors; ++e) values[e] = F32x16::load(v + 16 * e);
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < queries; ++i) {
      const F32x16 weight = F32x16::set(weights[i * stride + j]);
      IDEFICS_CPU_UNROLL
      for (int e = 0; e < vectors; ++e) total[i][e] = F32x16::fma(weight, values[e], total[i][e]);
    }
  }
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < queries; ++i) {
    IDEFICS_CPU_UNROLL
    for (int e = 0; e < vectors; ++e) total[i][e].store(sums + i * width + 16 * e);
  }
}

/// The same for all of `width`, from `begin` on, in pieces of at most `size` vectors.
template <int queries, int vectors = Lanes::value_vectors>
inline void add_values(float* sums, const float* weights, std::int64_t stride, const float* v,
                       std::int64_t width, std::int64_t keys, std::int64_t size,
                       std::int64_t begin = 0) {
  if (size >= vectors)
    for (; begin + 16 * vectors <= width; begin += 16 * vectors)
      value_tile<queries, vectors>(sums + begin, weights, stride, v + begin, width, keys);
  if constexpr (vectors > 1)
    if (begin < width)
      add_values<queries, vectors - 1>(sums, weights, stride, v, width, keys, size, begin);
}

/// Up to attention_queries queries of one head. Scratch holds rows of whole vectors of q, of the
/// sums over keys, and of a block of keys or values; then the scores of each query.
struct QueryBlock {
  const AttentionArgs& t;
  const AttentionSegment& s;
  std::int64_t head, query, count;
  std::int64_t width, stride;  // of rows in scratch, and of scores
  float *q, *sums, *block, *scores;

  std::int64_t keys_of(std::int64_t i) const {
    return visible_keys(s, query + std::min(i, count - 1));
  }

  template <class T>
  IDEFICS_CPU_INLINE void copy_row(const T* from, float* to) const {
    for_each_vector(t.width, [&](std::int64_t e, auto load, auto)
                                 IDEFICS_CPU_LAMBDA { load(from + e).store(to + e); });
  }

  /// Calls body(first query of four, begin, end of the block) for each block of rows of `base`,
  /// padded with the last to a multiple of four, and each four queries that see a key in it.
  template <class T, class Body>
  IDEFICS_CPU_INLINE void for_blocks(const std::byte* base, const Body& body) const {
    const std::int64_t keys = keys_of(count - 1);
    for (std::int64_t begin = 0; begin < keys; begin += attention_keys) {
      const std::int64_t end = std::min(begin + attention_keys, keys);
      for (std::int64_t j = begin; j < begin + round_up(end - begin, 4); ++j) {
        const std::int64_t row = s.key_rows[static_cast<std::size_t>(std::min(j, end - 1))];
        copy_row(reinterpret_cast<const T*>(base) + (row * t.heads + head) * t.width,
                 block + (j - begin) * width);
      }
      for (std::int64_t i = 0; i < count; i += 4) body(i, begin, end);
    }
  }

  template <class T>
  void score() const {
    for_blocks<T>(t.k, [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
      const std::int64_t seen = std::min(end, keys_of(i + 3)) - begin;
      score_tiles(q + i * width, block, width, seen, scores + i * stride + begin, stride);
    });
  }

  /// A causal query has its own number of keys: the last ones are added query by query.
  template <class T>
  void mix() const {
    const std::int64_t size = ceil_div(width / 16, ceil_div(width / 16, Lanes::value_vectors));
    for_blocks<T>(t.v, [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
      const std::int64_t shared = std::clamp(keys_of(i), begin, end);
      const float* weights = scores + i * stride;
      add_values<4>(sums + i * width, weights + begin, stride, block, width, shared - begin, size);
      for (std::int64_t r = 1; r < 4; ++r)
        if (const std::int64_t rest = std::min(end, keys_of(i + r)) - shared; rest > 0)
          add_values<1>(sums + (i + r) * width, weights + r * stride + shared, stride,
                        block + (shared - begin) * width, width, rest, size);
    });
  }
};

template <class T>
void attend(const AttentionArgs& t, const AttentionSegment& s, std::int64_t head,
            std::int64_t query, std::int64_t query_end, float* scratch) {
  const std::int64_t width = round_up(t.width, 16), rows = attention_queries * width;
  float* block = scratch + 2 * rows;
  const QueryBlock b{.t = t,
                     .s = s,
                     .head = head,
                     .query = query,
                     .count = query_end - query,
                     .width = width,
                     .stride = round_up(static_cast<std::int64_t>(s.key_rows.size()), 16),
                     .q = scratch,
                     .sums = scratch + rows,
                     .block = block,
                     .scores = block + attention_keys * width};
  const auto row_of = [&](std::int64_t i) { return ((query + i) * t.heads + head) * t.width; };
  std::fill_n(scratch, 2 * rows, 0.0f);
  for (std::int64_t i = 0; i < b.count; ++i) b.copy_row(t.q + row_of(i), b.q + i * width);
  b.template score<T>();
  float totals[attention_queries];
  for (std::int64_t i = 0; i < b.count; ++i)
    totals[i] = exponentials(b.scores + i * b.stride, b.keys_of(i), t.scale);
  b.template mix<T>();
  for (std::int64_t i = 0; i < b.count; ++i)
    divide_by(t.out + row_of(i), b.sums + i * width, b.keys_of(i) > 0 ? totals[i] : 1.0f, t.width);
}

template <class T>
void attention_of(const AttentionArgs& t, const AttentionSegment& s, std::int64_t head,
                  std::int64_t head_end, std::int64_t query, std::int64_t query_end,
                  float* scratch) {
  if (query_end - query == 1) return attend_one<T>(t, s, head, head_end, query, scratch);
  for (; head < head_end; ++head) attend<T>(t, s, head, query, query_end, scratch);
}

/// Heads [head, head_end) and up to attention_queries queries; or, of several heads, one query.
inline void attention(const AttentionArgs& t, const AttentionSegment& s, std::int64_t head,
                      std::int64_t head_end, std::int64_t query, std::int64_t query_end,
                      float* scratch) {
  if (t.kv_dtype == DType::bf16)
    return attention_of<bf16_t>(t, s, head, head_end, query, query_end, scratch);
  attention_of<float>(t, s, head, head_end, query, query_end, scratch);
}

template <class T>
void weights_of(const AttentionArgs& t, const AttentionSegment& s, std::int64_t head,
                std::int64_t query, float* scratch) {
  const float* q = t.q + (query * t.heads + head) * t.width;
  const std::int64_t keys = visible_keys(s, query);
  for_rows<T>(t, s, t.k, head, head + 1, keys, [&](std::int64_t, std::int64_t j, const auto& k) {
    scores_of(q, k, t.width, scratch + j);
  });
  const float sum = exponentials(scratch, keys, t.scale);
  divide_by(scratch, scratch, sum, keys);
  std::memcpy(t.out, scratch, static_cast<std::size_t>(keys) * sizeof(float));
}

/// The weights of the keys of one query and head, bit for bit those that `attention` uses.
inline void attention_weights(const AttentionArgs& t, const AttentionSegment& s, std::int64_t head,
                              std::int64_t query, float* scratch) {
  if (t.kv_dtype == DType::bf16) return weights_of<bf16_t>(t, s, head, query, scratch);
  weights_of<float>(t, s, head, query, scratch);
}
