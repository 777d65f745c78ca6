// out[m,n] = sum_k x[m,k] w[n,k] + b[n].          x [M,K] f32, w [N,K] f32, f16 or bf16, out [M,N]
// f32 Source: torch.nn.Linear; docs/kernels/linear.md. Parallel over n. Order: 16 lanes, one chain
// of fused multiply-adds over the whole of K per lane and output, then the tree 16, 8, 4, 2, 1
// (docs/determinism.md); the same in both kernels below. Bound: direct by the bytes of w, blocked
// by the peak of the products.

template <bool pairs, class V>
IDEFICS_CPU_INLINE V product(V a, V b, V c) {
#if IDEFICS_CPU_BF16_PRODUCTS
  if constexpr (pairs)
    return V::fma_pairs(a, b, c);
  else
#endif
    return V::fma(a, b, c);
}

// ---- few rows: every weight row is read once, where it lies -------------------------------------

/// Rows [begin, end) of x, each as a line of vectors.
template <Layout layout>
inline void pack_rows(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                      std::int64_t, std::int64_t k) {
  using S = Step<layout>;
  const std::int64_t stride = 16 * vectors_of(layout, k);
  for (std::int64_t m = begin; m < end; ++m) {
    const auto* from = reinterpret_cast<const std::byte*>(x + m * k);
    float* to = packed + m * stride;
    for (std::int64_t at = 0; at < k; at += S::values, to += 16 * S::vectors) {
      F32x16 vectors[S::vectors];
      if (at + S::values <= k)
        fetch<layout, float>(from + at * 4, vectors);
      else
        fetch_part<layout, float>(from + at * 4, k - at, vectors);
      for (int v = 0; v < S::vectors; ++v) vectors[v].store(to + 16 * v);
    }
  }
}

/// One step of `rows` weight rows against `cols` rows of x.
template <Layout layout, int rows, int cols>
IDEFICS_CPU_INLINE void accumulate(F32x16 (&sums)[rows][cols],
                                   const F32x16 (&w)[rows][Step<layout>::vectors],
                                   const float* const (&x)[cols], std::int64_t at) {
  IDEFICS_CPU_UNROLL
  for (int v = 0; v < Step<layout>::vectors; ++v) {
    IDEFICS_CPU_UNROLL
    for (int c = 0; c < cols; ++c) {
      const F32x16 input = F32x16::load(x[c] + at + 16 * v);
      IDEFICS_CPU_UNROLL
      for (int r = 0; r < rows; ++r)
        sums[r][c] = product<layout == Layout::whole_pairs>(input, w[r][v], sums[r][c]);
    }
  }
}

/// Outputs of weight rows n.. n + rows and rows m.. m + cols of x.
template <Layout layout, class T, int rows, int cols>
inline void direct_tile(const LinearTask& t, std::int64_t n, std::int64_t m) {
  using S = Step<layout>;
  const std::int64_t row_bytes = t.k * static_cast<std::int64_t>(sizeof(T));
  const std::int64_t stride = 16 * vectors_of(layout, t.k);
  const std::byte* w[rows];
  const float* x[cols];
  F32x16 sums[rows][cols];
  for (int r = 0; r < rows; ++r) w[r] = t.weight + (n + r) * row_bytes;
  for (int c = 0; c < cols; ++c) x[c] = t.x + (m + c) * stride;
  for (auto& row : sums)
    for (auto& sum : row) sum = F32x16::zero();

  std::int64_t at = 0, word = 0;
  F32x16 weights[rows][S::vectors];
  for (; at + S::values <= t.k; at += S::values, word += 16 * S::vectors) {
    const std::int64_t offset = at * static_cast<std::int64_t>(sizeof(T));
    IDEFICS_CPU_UNROLL
    for (int r = 0; r < rows; ++r) fetch<layout, T>(w[r] + offset, weights[r]);
    accumulate<layout>(sums, weights, x, word);
  }
  if (at < t.k) {
    const std::int64_t offset = at * static_cast<std::int64_t>(sizeof(T));
    for (int r = 0; r < rows; ++r) fetch_part<layout, T>(w[r] + offset, t.k - at, weights[r]);
    accumulate<layout>(sums, weights, x, word);
  }
  for (int c = 0; c < cols; ++c)
    for (int r = 0; r < rows; ++r)
      t.out[(m + c) * t.n + n + r] = sums[r][c].sum() + (t.bias == nullptr ? 0.0f : t.bias[n + r]);
}

template <Layout layout, class T>
inline void direct(const LinearTask& t, std::int64_t n, std::int64_t n_end) {
  if (t.m == 1)
    for (; n + 4 <= n_end; n += 4) direct_tile<layout, T, 4, 1>(t, n, 0);
  else
    for (; n + 2 <= n_end; n += 2) {  // two weight rows stay in cache for all rows of x
      std::int64_t m = 0;
      for (; t.m - m == 3 || t.m - m > 4; m += 3) direct_tile<layout, T, 2, 3>(t, n, m);
      for (; m < t.m; m += 2) direct_tile<layout, T, 2, 2>(t, n, m);
    }
  for (; n < n_end; ++n)
    for (std::int64_t m = 0; m < t.m; ++m) direct_tile<layout, T, 1, 1>(t, n, m);
}

// ---- many rows: tiles of both sides are packed, then multiplied from cache ----------------------
//
// A packed tile holds `tile` rows: for each block of K, for each group of lanes, for each vector,
// the lanes of row 0, row 1, … The groups of lanes are independent sums, so each takes its own pass
// and has all registers to itself.

/// Vectors [begin, end) of `rows` rows of T, `tile` of them in the tile (the others zero).
template <Layout layout, class T, int tile>
inline void pack_block(float* packed, const std::byte* x, std::int64_t rows, std::int64_t k,
                       std::int64_t begin, std::int64_t end) {
  using S = Step<layout>;
  constexpr int groups = 16 / Lanes::width;
  const std::int64_t group_stride = (end - begin) * tile * Lanes::width;
  for (std::int64_t r = 0; r < tile; ++r) {
    const std::byte* row = x + r * k * static_cast<std::int64_t>(sizeof(T));
    float* to = packed + r * Lanes::width;
    for (std::int64_t v = begin; v < end; v += S::vectors) {
      const std::int64_t at = v / S::vectors * S::values;
      const std::byte* from = row + at * static_cast<std::int64_t>(sizeof(T));
      F32x16 vectors[S::vectors];
      if (r >= rows)
        for (auto& vector : vectors) vector = F32x16::zero();
      else if (at + S::values <= k)
        fetch<layout, T>(from, vectors);
      else
        fetch_part<layout, T>(from, k - at, vectors);
      for (int i = 0; i < S::vectors; ++i, to += tile * Lanes::width)
        for (int g = 0; g < groups; ++g) vectors[i].group(g).store(to + g * group_stride);
    }
  }
}

/// Tiles [begin, end) of x.
template <Layout layout>
inline void pack_tiles(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                       std::int64_t m, std::int64_t k) {
  constexpr int tile = Lanes::tile_rows;
  const std::int64_t vectors = vectors_of(layout, k);
  for (std::int64_t i = begin; i < end; ++i) {
    const auto* rows = reinterpret_cast<const std::byte*>(x + i * tile * k);
    for (std::int64_t v = 0; v < vectors; v += block_vectors)
      pack_block<layout, float, tile>(packed + (i * vectors + v) * 16 * tile, rows, m - i * tile, k,
                                      v, std::min(v + block_vectors, vectors));
  }
}

/// One group of lanes of one register tile over one block of K; the sums wait in memory in between.
template <bool pairs>
inline void multiply_tile(float* sums, const float* x, const float* w, std::int64_t vectors,
                          bool first) {
  constexpr int rows = Lanes::tile_rows, cols = Lanes::tile_cols, width = Lanes::width;
  Lanes acc[rows][cols];
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < rows * cols; ++i)
    acc[i / cols][i % cols] = first ? Lanes::zero() : Lanes::load(sums + i * width);
  for (; vectors > 0; --vectors, x += rows * width, w += cols * width) {
    Lanes weights[cols];
    IDEFICS_CPU_UNROLL
    for (int j = 0; j < cols; ++j) weights[j] = Lanes::load(w + j * width);
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < rows; ++i) {
      const Lanes input = Lanes::load(x + i * width);
      IDEFICS_CPU_UNROLL
      for (int j = 0; j < cols; ++j) acc[i][j] = product<pairs>(input, weights[j], acc[i][j]);
    }
  }
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < rows * cols; ++i) acc[i / cols][i % cols].store(sums + i * width);
}

/// The trees over the lanes of one register tile, and its outputs.
inline void finish_tile(const LinearTask& t, const float* sums, std::int64_t m, std::int64_t n,
                        std::int64_t n_end) {
  constexpr int rows = Lanes::tile_rows, cols = Lanes::tile_cols, width = Lanes::width;
  for (int i = 0; i < rows && m + i < t.m; ++i)
    for (int j = 0; j < cols && n + j < n_end; ++j) {
      Lanes groups[16 / width];
      for (int g = 0; g < 16 / width; ++g)
        groups[g] = Lanes::load(sums + ((g * rows + i) * cols + j) * width);
      t.out[(m + i) * t.n + n + j] =
          F32x16::join(groups).sum() + (t.bias == nullptr ? 0.0f : t.bias[n + j]);
    }
}

/// Weight rows [n_begin, n_end) against all tiles of x. Scratch: packed weights, then all sums.
template <Layout layout, class T>
inline void blocked(const LinearTask& t, std::int64_t n_begin, std::int64_t n_end, float* scratch) {
  constexpr int rows = Lanes::tile_rows, cols = Lanes::tile_cols, groups = 16 / Lanes::width;
  constexpr std::int64_t tile_sums = rows * cols * 16;
  const std::int64_t vectors = vectors_of(layout, t.k);
  const std::int64_t m_tiles = ceil_div(t.m, rows), n_tiles = ceil_div(n_end - n_begin, cols);
  const std::int64_t row_bytes = t.k * static_cast<std::int64_t>(sizeof(T));
  float* const packed = scratch;
  float* const sums = scratch + n_tiles * cols * 16 * block_vectors;
  for (std::int64_t v = 0; v < vectors; v += block_vectors) {
    const std::int64_t count = std::min(block_vectors, vectors - v);
    const std::int64_t x_group = count * rows * Lanes::width, w_group = count * cols * Lanes::width;
    for (std::int64_t j = 0; j < n_tiles; ++j)
      pack_block<layout, T, cols>(packed + j * groups * w_group,
                                  t.weight + (n_begin + j * cols) * row_bytes,
                                  n_end - n_begin - j * cols, t.k, v, v + count);
    for (std::int64_t i = 0; i < m_tiles; ++i)
      for (std::int64_t j = 0; j < n_tiles; ++j)
        for (int g = 0; g < groups; ++g)
          multiply_tile<layout == Layout::whole_pairs>(
              sums + (i * n_tiles + j) * tile_sums + g * (tile_sums / groups),
              t.x + (i * vectors + v) * 16 * rows + g * x_group,
              packed + (j * groups + g) * w_group, count, v == 0);
  }
  for (std::int64_t i = 0; i < m_tiles; ++i)
    for (std::int64_t j = 0; j < n_tiles; ++j)
      finish_tile(t, sums + (i * n_tiles + j) * tile_sums, i * rows, n_begin + j * cols, n_end);
}

template <Layout layout>
constexpr LinearKernels linear_kernels() {
  return {layout,
          Lanes::tile_rows,
          Lanes::tile_cols,
          pack_rows<layout>,
          pack_tiles<layout>,
          {direct<layout, float>, direct<layout, f16_t>, direct<layout, bf16_t>},
          {blocked<layout, float>, blocked<layout, f16_t>, blocked<layout, bf16_t>}};
}
