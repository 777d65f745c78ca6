// The f32 order of linear layers.
// out[m,n] = sum_k x[m,k] w[n,k] + b[n].   x [M,K], out [M,N], b [N] f32, w [N,K] f32, f16 or bf16
// Source: torch.nn.Linear; docs/kernels/linear.md. Parallel over n. Order: 16 lanes, one chain of
// fused multiply-adds over all of K per lane and output, then the tree 16, 8, 4, 2, 1
// (docs/determinism.md), in both kernels below. Bound: bytes of w (GEMV), product peak (GEMM).

// ---- few rows of x (GEMV): every weight row is read once, in place ------------------------------

/// Packs rows [begin, end) of x, each contiguous.
inline void pack_rows(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                      std::int64_t, std::int64_t k) {
  for (std::int64_t m = begin; m < end; ++m) {
    const float* from = x + m * k;
    float* to = packed + m * round_up(k, 16);
    for (std::int64_t at = 0; at < k; at += 16)
      (at + 16 <= k ? F32x16::load(from + at) : load_part(from + at, k - at)).store(to + at);
  }
}

/// One vector of w_rows weight rows times x_rows rows of x, for the lanes from `lane` on.
template <class T, class V, int w_rows, int x_rows>
IDEFICS_CPU_INLINE void accumulate(V (&sums)[w_rows][x_rows], const std::byte* const (&w)[w_rows],
                                   const float* const (&x)[x_rows], std::int64_t offset,
                                   std::int64_t at, int lane) {
  // Unless held, inputs are reloaded for every weight row; AVX2 lacks the registers to hold three.
  constexpr bool hold = x_rows != 3 || Lanes::gemv_x_rows > 3;
  V inputs[x_rows];
  IDEFICS_CPU_UNROLL
  for (int c = 0; c < x_rows; ++c) {
    inputs[c] = V::load(x[c] + at + lane);
    if (hold) inputs[c] = inputs[c].held();
  }
  IDEFICS_CPU_UNROLL
  for (int r = 0; r < w_rows; ++r) {
    const V weight = load_as_f32<T, V>(w[r] + offset + lane * static_cast<int>(sizeof(T)));
    IDEFICS_CPU_UNROLL
    for (int c = 0; c < x_rows; ++c) sums[r][c] = V::fma(inputs[c], weight, sums[r][c]);
  }
}

/// K values [k_begin, k_end) for the lanes from `lane` on; sums are in memory between calls. With
/// several rows of x, a piece takes longer than hardware prefetchers look ahead, so the weight rows
/// `next`, at the following piece, are prefetched: one of them to L1, several to L2, since L1
/// supports few outstanding misses.
template <class T, class V, int w_rows, int x_rows, int prefetches>
inline void gemv_block(float* partial, const std::byte* const (&w)[w_rows],
                       const float* const (&x)[x_rows], std::int64_t k_begin, std::int64_t k_end,
                       int lane, const std::byte* const (&next)[prefetches]) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(T));
  V sums[w_rows][x_rows];
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < w_rows * x_rows; ++i)
    sums[i / x_rows][i % x_rows] = V::load(partial + i * V::width);
  std::int64_t k = k_begin;
  for (; k + 16 <= k_end; k += 16) {
    if constexpr (x_rows > 1)
      for (const std::byte* row : next)
        __builtin_prefetch(row + k * size, 0, prefetches > 1 ? 2 : 3);
    accumulate<T>(sums, w, x, k * size, k, lane);
  }
  if (k < k_end) {  // the tail of a row, zero-padded
    std::byte rest[w_rows][16 * sizeof(T)] = {};
    const std::byte* padded[w_rows];
    for (int r = 0; r < w_rows; ++r) {
      std::memcpy(rest[r], w[r] + k * size, static_cast<std::size_t>((k_end - k) * size));
      padded[r] = rest[r];
    }
    accumulate<T>(sums, padded, x, 0, k, lane);
  }
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < w_rows * x_rows; ++i)
    sums[i / x_rows][i % x_rows].store(partial + i * V::width);
}

/// Weight rows [n, n + w_rows) times rows [m, m + x_rows) of x over K values [k_begin, k_end), one
/// pass per group of lanes that a register holds. Each of several passes prefetches one weight row.
template <class T, class V, int w_rows, int x_rows>
inline void gemv_tile(const LinearArgs& t, float* sums, std::int64_t n, std::int64_t m,
                      std::int64_t k_begin, std::int64_t k_end) {
  const std::byte* w[w_rows];
  const float* x[x_rows];
  for (int r = 0; r < w_rows; ++r)
    w[r] = t.weight + (n + r) * t.k * static_cast<std::int64_t>(sizeof(T));
  for (int c = 0; c < x_rows; ++c) x[c] = t.x + (m + c) * round_up(t.k, 16);
  constexpr int groups = 16 / V::width;
  constexpr int prefetches = groups == 1 ? w_rows : 1;
  const std::int64_t ahead = k_end < t.k ? gemv_piece : w_rows * t.k - k_begin;
  for (int g = 0; g < groups; ++g) {
    const std::byte* next[prefetches];
    for (int i = 0; i < prefetches; ++i)
      next[i] =
          w[(m / x_rows * groups + g + i) % w_rows] + ahead * static_cast<std::int64_t>(sizeof(T));
    gemv_block<T, V>(sums + g * w_rows * x_rows * V::width, w, x, k_begin, k_end, g * V::width,
                     next);
  }
}

/// Adds up the lanes of a GEMV tile and stores its outputs.
template <class V, int w_rows, int x_rows>
inline void finish_gemv(const LinearArgs& t, const float* sums, std::int64_t n, std::int64_t m) {
  constexpr int groups = 16 / V::width;
  for (int c = 0; c < x_rows; ++c)
    for (int r = 0; r < w_rows; ++r) {
      V parts[groups];
      for (int g = 0; g < groups; ++g)
        parts[g] = V::load(sums + ((g * w_rows + r) * x_rows + c) * V::width);
      t.out[(m + c) * t.n + n + r] = F32x16::join(parts).sum() + t.bias_of(n + r);
    }
}

/// Weight rows [n, n + w_rows) times row m of x.
template <class T, int w_rows>
inline void gemv_row(const LinearArgs& t, std::int64_t n, std::int64_t m) {
  float sums[w_rows * 16] = {};
  gemv_tile<T, F32x16, w_rows, 1>(t, sums, n, m, 0, t.k);
  finish_gemv<F32x16, w_rows, 1>(t, sums, n, m);
}

/// Calls body.template operator()<x_rows>(m) for groups of gemv_x_rows, three or two rows of x.
template <class Body>
inline void for_few_rows(std::int64_t m_end, const Body& body) {
  constexpr int most = Lanes::gemv_x_rows;
  std::int64_t m = 0;
  for (; m_end - m == most || m_end - m > most + 1; m += most) body.template operator()<most>(m);
  if (m_end - m > 2) body.template operator()<3>(m), m += 3;
  if (m_end - m > 1) body.template operator()<2>(m);
}

/// Weight rows [n, n + 4) times all rows of x. Weights are streamed without a break; all groups of
/// rows and lanes process a piece of them while it is in L1.
template <class T>
inline void gemv_rows(const LinearArgs& t, std::int64_t n) {
  float sums[4 * gemv_rows_max * 16] = {};
  for (std::int64_t k = 0; k < t.k; k += gemv_piece)
    for_few_rows(t.m, [&]<int x_rows>(std::int64_t m) {
      gemv_tile<T, Lanes, 4, x_rows>(t, sums + m * 4 * 16, n, m, k, std::min(k + gemv_piece, t.k));
    });
  for_few_rows(t.m, [&]<int x_rows>(std::int64_t m) {
    finish_gemv<Lanes, 4, x_rows>(t, sums + m * 4 * 16, n, m);
  });
}

template <class T>
inline void gemv(const LinearArgs& t, std::int64_t n, std::int64_t n_end) {
  for (; n + 4 <= n_end; n += 4) {
    if (t.m == 1)
      gemv_row<T, 4>(t, n, 0);
    else
      gemv_rows<T>(t, n);
  }
  for (; n < n_end; ++n)
    for (std::int64_t m = 0; m < t.m; ++m) gemv_row<T, 1>(t, n, m);
}

// ---- many rows of x (GEMM): tiles of both operands are packed, then multiplied from cache -------
//
// A packed tile of `tile` rows is ordered by block of K, group of lanes, vector, and row. The
// groups of lanes are independent sums, so each has a pass of its own that can use all registers.

inline constexpr std::int64_t panel_vectors = panel_values(Layout::natural) / 16;

/// Packs vectors [begin, end) of a tile; fetch(r, v, vectors) loads `step` of row r from v on.
template <int step, int tile, class Fetch>
IDEFICS_CPU_INLINE void pack_tile(float* packed, std::int64_t begin, std::int64_t end,
                                  const Fetch& fetch) {
  constexpr int groups = 16 / Lanes::width;
  const std::int64_t group_stride = (end - begin) * tile * Lanes::width;
  for (std::int64_t r = 0; r < tile; ++r) {
    float* to = packed + r * Lanes::width;
    for (std::int64_t v = begin; v < end; v += step) {
      F32x16 vectors[step];
      fetch(r, v, vectors);
      for (int i = 0; i < step; ++i, to += tile * Lanes::width)
        for (int g = 0; g < groups; ++g) vectors[i].group(g).store(to + g * group_stride);
    }
  }
}

/// The same for `rows` rows of T; further rows of the tile are zero.
template <class T, int tile>
inline void pack_values(float* packed, const std::byte* x, std::int64_t rows, std::int64_t k,
                        std::int64_t begin, std::int64_t end) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(T));
  pack_tile<1, tile>(
      packed, begin, end,
      [=](std::int64_t r, std::int64_t v, F32x16(&vector)[1]) IDEFICS_CPU_LAMBDA {
        const std::byte* p = x + (r * k + 16 * v) * size;
        __builtin_prefetch(p + 2 * k * size);  // pieces of rows are too short for the hardware
        vector[0] = r >= rows           ? F32x16::zero()
                    : 16 * (v + 1) <= k ? load_as_f32<T>(p)
                                        : load_tail<T>(p, k - 16 * v);
      });
}

/// Packs tiles [begin, end) of x.
inline void pack_tiles(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                       std::int64_t m, std::int64_t k) {
  constexpr int tile = Lanes::tile_x_rows;
  const std::int64_t vectors = ceil_div(k, 16);
  for (std::int64_t i = begin; i < end; ++i) {
    const auto* rows = reinterpret_cast<const std::byte*>(x + i * tile * k);
    for (std::int64_t v = 0; v < vectors; v += panel_vectors)
      pack_values<float, tile>(packed + (i * vectors + v) * 16 * tile, rows, m - i * tile, k, v,
                               std::min(v + panel_vectors, vectors));
  }
}

/// One vector of each row of x times one of each weight row.
template <bool pairs, int x_rows, int w_rows>
IDEFICS_CPU_INLINE void tile_step(Lanes (&acc)[x_rows][w_rows], const float* x, const float* w) {
  Lanes weights[w_rows];
  IDEFICS_CPU_UNROLL
  for (int j = 0; j < w_rows; ++j) weights[j] = Lanes::load(w + j * Lanes::width);
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < x_rows; ++i) {
    const Lanes input = Lanes::load(x + i * Lanes::width);
    IDEFICS_CPU_UNROLL
    for (int j = 0; j < w_rows; ++j) acc[i][j] = product<pairs>(input, weights[j], acc[i][j]);
  }
}

/// One group of lanes of a register tile over one block of K; sums are in memory between blocks.
inline void multiply_tile(float* sums, const float* x, const float* w, std::int64_t vectors,
                          bool first) {
  constexpr int x_rows = Lanes::tile_x_rows, w_rows = Lanes::tile_w_rows, width = Lanes::width;
  Lanes acc[x_rows][w_rows];
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < x_rows * w_rows; ++i)
    acc[i / w_rows][i % w_rows] = first ? Lanes::zero() : Lanes::load(sums + i * width);
  for (; vectors > 0; --vectors, x += x_rows * width, w += w_rows * width)
    tile_step<false>(acc, x, w);
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < x_rows * w_rows; ++i) acc[i / w_rows][i % w_rows].store(sums + i * width);
}

/// Adds up the lanes of a register tile, four sums at a time, and stores its outputs.
inline void finish_tile(const LinearArgs& t, const float* sums, std::int64_t m, std::int64_t n,
                        std::int64_t n_end) {
  constexpr int x_rows = Lanes::tile_x_rows, w_rows = Lanes::tile_w_rows, width = Lanes::width;
  constexpr int count = x_rows * w_rows, groups = 16 / width;
  static_assert(count % 4 == 0);
  float dots[count];
  for (int i = 0; i < count; i += 4) {
    F32x16 four[4];
    for (int j = 0; j < 4; ++j) {
      Lanes parts[groups];
      for (int g = 0; g < groups; ++g) parts[g] = Lanes::load(sums + (g * count + i + j) * width);
      four[j] = F32x16::join(parts);
    }
    F32x16::sum4(four, dots + i);
  }
  for (int i = 0; i < x_rows && m + i < t.m; ++i)
    for (int j = 0; j < w_rows && n + j < n_end; ++j)
      t.out[(m + i) * t.n + n + j] = dots[i * w_rows + j] + t.bias_of(n + j);
}

/// Weight rows [n_begin, n_end) times all tiles of x. Scratch: packed weights, then all sums.
template <class T>
inline void gemm(const LinearArgs& t, std::int64_t n_begin, std::int64_t n_end, float* scratch) {
  constexpr int x_rows = Lanes::tile_x_rows, w_rows = Lanes::tile_w_rows,
                groups = 16 / Lanes::width;
  constexpr std::int64_t tile_sums = x_rows * w_rows * 16;
  const std::int64_t vectors = ceil_div(t.k, 16);
  const std::int64_t m_tiles = ceil_div(t.m, x_rows), n_tiles = ceil_div(n_end - n_begin, w_rows);
  const std::int64_t row_bytes = t.k * static_cast<std::int64_t>(sizeof(T));
  float* const packed = scratch;
  float* const sums = scratch + n_tiles * w_rows * 16 * std::min(panel_vectors, vectors);
  for (std::int64_t v = 0; v < vectors; v += panel_vectors) {
    const std::int64_t count = std::min(panel_vectors, vectors - v);
    const std::int64_t x_group = count * x_rows * Lanes::width,
                       w_group = count * w_rows * Lanes::width;
    for (std::int64_t j = 0; j < n_tiles; ++j)
      pack_values<T, w_rows>(packed + j * groups * w_group,
                             t.weight + (n_begin + j * w_rows) * row_bytes,
                             n_end - n_begin - j * w_rows, t.k, v, v + count);
    for (std::int64_t i = 0; i < m_tiles; ++i)
      for (int g = 0; g < groups; ++g)  // the group of x stays in L1
        for (std::int64_t j = 0; j < n_tiles; ++j)
          multiply_tile(sums + (i * n_tiles + j) * tile_sums + g * (tile_sums / groups),
                        t.x + (i * vectors + v) * 16 * x_rows + g * x_group,
                        packed + (j * groups + g) * w_group, count, v == 0);
  }
  for (std::int64_t i = 0; i < m_tiles; ++i)
    for (std::int64_t j = 0; j < n_tiles; ++j)
      finish_tile(t, sums + (i * n_tiles + j) * tile_sums, i * x_rows, n_begin + j * w_rows, n_end);
}

inline constexpr LinearKernels linear_f32_kernels = {
    Layout::natural,
    Lanes::tile_x_rows,
    Lanes::tile_w_rows,
    pack_rows,
    pack_tiles,
    gemv_rows_max,
    {gemv<float>, gemv<f16_t>, gemv<bf16_t>},
    {gemm<float>, gemm<f16_t>, gemm<bf16_t>},
};
