// softmax(q k^T * scale) v of one head.                  q, out [M,H,E], k, v [J,H,E], all f32
// Source: transformers' IdeficsAttention; docs/kernels/attention.md. Parallel over segments, heads
// and queries. The order depends on key indices only: a score is 16 lanes over E, then the tree;
// the sum of exponentials is the same over keys; the output is a chain of fused multiply-adds over
// the keys, divided by that sum at the end. Two queries share loads of keys and values; for many
// queries, those of a head are first copied together. Bound: flops in prefill, bytes in decode.

/// The number of keys that `query` sees.
inline std::int64_t visible_keys(const AttentionSegment& s, std::int64_t query) {
  const auto keys = static_cast<std::int64_t>(s.key_rows.size());
  if (!s.causal) return keys;
  return std::max<std::int64_t>(0, keys - (s.query_end - 1 - query));
}

/// The keys or values of one head, in the order of summation.
struct HeadRows {
  const float* base;
  const std::int32_t* rows;  // null: rows 0, 1, …
  std::int64_t stride;

  const float* operator[](std::int64_t j) const { return base + (rows ? rows[j] : j) * stride; }
};

/// Prefetches `count` floats: rows of a head are too far apart for the hardware to predict.
IDEFICS_CPU_INLINE void prefetch(const float* p, std::int64_t count) {
#if defined(__GNUC__)
  for (std::int64_t i = 0; i < count; i += 16) __builtin_prefetch(p + i);
#else
  (void)p, (void)count;
#endif
}

/// Unscaled scores of `queries` queries and `tile` keys: queries * tile = 4 dot products.
template <int queries, int tile>
IDEFICS_CPU_INLINE void score_tile(const float* const (&q)[queries], const float* const (&k)[tile],
                                   std::int64_t width, float* scores, std::int64_t stride,
                                   std::int64_t key) {
  F32x16 sums[4] = {F32x16::zero(), F32x16::zero(), F32x16::zero(), F32x16::zero()};
  for_each_vector(width, [&](std::int64_t e, auto load, auto) IDEFICS_CPU_LAMBDA {
    F32x16 keys[tile];
    IDEFICS_CPU_UNROLL
    for (int t = 0; t < tile; ++t) keys[t] = load(k[t] + e).held();
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < queries; ++i) {
      const F32x16 query = load(q[i] + e);
      IDEFICS_CPU_UNROLL
      for (int t = 0; t < tile; ++t)
        sums[i * tile + t] = F32x16::fma(query, keys[t], sums[i * tile + t]);
    }
  });
  float dots[4];
  F32x16::sum4(sums, dots);
  for (int i = 0; i < queries; ++i)
    for (int t = 0; t < tile; ++t) scores[i * stride + key + t] = dots[i * tile + t];
}

template <int queries>
inline void scores_of(const AttentionArgs& t, const HeadRows& keys, std::int64_t head,
                      std::int64_t query, std::int64_t count, float* scores, std::int64_t stride) {
  constexpr int tile = 4 / queries;
  const float* q[queries];
  for (int i = 0; i < queries; ++i) q[i] = t.q + ((query + i) * t.heads + head) * t.width;
  for (std::int64_t j = 0; j < count; j += tile) {
    const float* k[tile];  // padded with the last key; those scores are not used
    for (int i = 0; i < tile; ++i) {
      k[i] = keys[std::min(j + i, count - 1)];
      if (queries == 1) prefetch(keys[std::min(j + i + 16, count - 1)], t.width);
    }
    score_tile<queries, tile>(q, k, t.width, scores, stride, j);
  }
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

/// out[e] += sum over keys [begin, end) of weight * v, for `tile` vectors of e at a time.
template <int queries, int tile, class Load, class Store>
IDEFICS_CPU_INLINE void values_tile(const HeadRows& v, std::int64_t at, float* out,
                                    std::int64_t row, const float* weights, std::int64_t stride,
                                    std::int64_t begin, std::int64_t end, const Load& load,
                                    const Store& store) {
  F32x16 sums[queries][tile];
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < queries * tile; ++i)
    sums[i / tile][i % tile] = load(out + i / tile * row + 16 * (i % tile));
  for (std::int64_t j = begin; j < end; ++j) {
    const float* value = v[j] + at;
    if (queries == 1) prefetch(v[std::min(j + 16, end - 1)] + at, 16 * tile);
    F32x16 values[tile];
    IDEFICS_CPU_UNROLL
    for (int e = 0; e < tile; ++e) values[e] = load(value + 16 * e);
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < queries; ++i) {
      const F32x16 weight = F32x16::set(weights[i * stride + j]);
      IDEFICS_CPU_UNROLL
      for (int e = 0; e < tile; ++e) sums[i][e] = F32x16::fma(weight, values[e], sums[i][e]);
    }
  }
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < queries * tile; ++i)
    store(sums[i / tile][i % tile], out + i / tile * row + 16 * (i % tile));
}

template <int queries>
inline void add_values(const AttentionArgs& t, const HeadRows& v, std::int64_t head,
                       std::int64_t query, const float* weights, std::int64_t stride,
                       std::int64_t begin, std::int64_t end) {
  constexpr int tile = 4 / queries;
  const std::int64_t row = t.heads * t.width;
  float* out = t.out + (query * t.heads + head) * t.width;
  std::int64_t e = 0;
  const auto load16 = [](const float* p) IDEFICS_CPU_LAMBDA { return F32x16::load(p); };
  const auto store16 = [](F32x16 x, float* p) IDEFICS_CPU_LAMBDA { x.store(p); };
  for (; e + 16 * tile <= t.width; e += 16 * tile)
    values_tile<queries, tile>(v, e, out + e, row, weights, stride, begin, end, load16, store16);
  for_each_vector(t.width - e, [&](std::int64_t i, auto load, auto store) IDEFICS_CPU_LAMBDA {
    values_tile<queries, 1>(v, e + i, out + e + i, row, weights, stride, begin, end, load, store);
  });
}

inline void divide_by(float* out, float sum, std::int64_t width) {
  const F32x16 divisor = F32x16::set(sum);
  for_each_vector(width, [=](std::int64_t e, auto load, auto store)
                             IDEFICS_CPU_LAMBDA { store(load(out + e) / divisor, out + e); });
}

/// `queries` consecutive queries; a later one sees at least the keys of an earlier one.
template <int queries>
inline void attend(const AttentionArgs& t, const AttentionSegment& s, const HeadRows& k,
                   const HeadRows& v, std::int64_t head, std::int64_t query, float* scores) {
  const auto stride = round_up(static_cast<std::int64_t>(s.key_rows.size()), 16);
  const std::int64_t shared = visible_keys(s, query);
  const std::int64_t most = visible_keys(s, query + queries - 1);
  float sums[queries];
  scores_of<queries>(t, k, head, query, most, scores, stride);
  for (int i = 0; i < queries; ++i) {
    float* out = t.out + ((query + i) * t.heads + head) * t.width;
    std::memset(out, 0, static_cast<std::size_t>(t.width) * sizeof(float));
    sums[i] = exponentials(scores + i * stride, visible_keys(s, query + i), t.scale);
  }
  add_values<queries>(t, v, head, query, scores, stride, 0, shared);
  if (most > shared)
    add_values<1>(t, v, head, query + queries - 1, scores + (queries - 1) * stride, stride, shared,
                  most);
  for (int i = 0; i < queries; ++i)
    if (visible_keys(s, query + i) > 0)
      divide_by(t.out + ((query + i) * t.heads + head) * t.width, sums[i], t.width);
}

/// Copies the first `count` rows to contiguous memory.
inline HeadRows gathered(const HeadRows& from, std::int64_t count, std::int64_t width, float* to) {
  for (std::int64_t j = 0; j < count; ++j)
    std::memcpy(to + j * width, from[j], static_cast<std::size_t>(width) * sizeof(float));
  return {to, nullptr, width};
}

inline void attention(const AttentionArgs& t, const AttentionSegment& s, std::int64_t head,
                      std::int64_t query, std::int64_t query_end, float* scratch) {
  const std::int64_t row = t.heads * t.width;
  HeadRows k = {t.k + head * t.width, s.key_rows.data(), row};
  HeadRows v = {t.v + head * t.width, s.key_rows.data(), row};
  if (query_end - query >= attention_copy_queries) {
    const std::int64_t count = visible_keys(s, query_end - 1);
    const auto keys = static_cast<std::int64_t>(s.key_rows.size());
    float* copies = scratch + attention_scratch(keys, 0);
    k = gathered(k, count, t.width, copies);
    v = gathered(v, count, t.width, copies + keys * t.width);
  }
  for (; query + 2 <= query_end; query += 2) attend<2>(t, s, k, v, head, query, scratch);
  if (query < query_end) attend<1>(t, s, k, v, head, query, scratch);
}

/// The weights of the keys of one query and head, bit for bit those that `attention` uses.
inline void attention_weights(const AttentionArgs& t, const AttentionSegment& s, std::int64_t head,
                              std::int64_t query, float* scratch) {
  const HeadRows k = {t.k + head * t.width, s.key_rows.data(), t.heads * t.width};
  const std::int64_t keys = visible_keys(s, query);
  scores_of<1>(t, k, head, query, keys, scratch, 0);
  const float sum = exponentials(scratch, keys, t.scale);
  divide_by(scratch, sum, keys);
  std::memcpy(t.out, scratch, static_cast<std::size_t>(keys) * sizeof(float));
}
