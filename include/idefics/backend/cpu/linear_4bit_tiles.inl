// The bf16 order of linear_4bit.inl for many rows of x and an aligned matrix: tiles of both operands
// are packed, then multiplied. A packed tile of `tile` rows is ordered by block of K, group of lanes,
// vector, and row. The groups of lanes are independent sums, so each has a pass of its own that can
// use all registers.

inline constexpr std::int64_t panel_vectors = FourBitPairKernels::panel_values / 16;

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

/// Packs tiles [begin, end) of x.
template <Layout layout>
inline void pack_chunk_tiles(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                             std::int64_t m, std::int64_t k) {
  constexpr int tile = Lanes::tile_x_rows, step = chunk_vectors(layout);
  const std::int64_t vectors = ceil_div(k, chunk) * step;
  for (std::int64_t i = begin; i < end; ++i)
    for (std::int64_t v = 0; v < vectors; v += panel_vectors)
      pack_tile<step, tile>(
          packed + (i * vectors + v) * 16 * tile, v, std::min(v + panel_vectors, vectors),
          [&](std::int64_t r, std::int64_t at, F32x16(&values)[step]) IDEFICS_CPU_LAMBDA {
            const std::int64_t row = i * tile + r, first = at / step * chunk;
            if (row < m)
              pack_chunk<layout>(x + row * k + first, k - first, values);
            else
              for (auto& vector : values) vector = F32x16::zero();
          });
}

/// Decodes one chunk of a weight row, without absmax.
template <Layout layout>
IDEFICS_CPU_INLINE void expand_chunk(const PairLookup& lookup, const std::uint8_t* codes,
                                     F32x16 (&vectors)[chunk_vectors(layout)]) {
  constexpr int groups = 16 / Lanes::width;
  Lanes pairs[groups][chunk_steps];
  for (int g = 0; g < groups; ++g) lookup.pairs(codes + g * (chunk_bytes / groups), pairs[g]);
  for (int j = 0; j < chunk_steps; ++j) {
    Lanes odd[groups], even[groups];
    for (int g = 0; g < groups; ++g) {
      odd[g] = layout == Layout::paired ? pairs[g][j] : pairs[g][j].odd_bf16();
      even[g] = pairs[g][j].even_bf16();
    }
    if constexpr (layout == Layout::paired) {
      vectors[j] = F32x16::join(odd);
    } else {
      vectors[2 * j] = F32x16::join(odd);
      vectors[2 * j + 1] = F32x16::join(even);
    }
  }
}

/// Packs vectors [begin, end) of a tile of weight rows from n on.
template <Layout layout>
inline void pack_codes(float* packed, const PairLookup& lookup, const FourBitMatrix& w,
                       std::int64_t n, std::int64_t n_end, std::int64_t begin, std::int64_t end) {
  constexpr int step = chunk_vectors(layout);
  pack_tile<step, Lanes::tile_w_rows>(
      packed, begin, end,
      [&](std::int64_t r, std::int64_t v, F32x16(&vectors)[step]) IDEFICS_CPU_LAMBDA {
        if (n + r >= n_end) {
          for (auto& vector : vectors) vector = F32x16::zero();
          return;
        }
        const std::int64_t at = v / step * chunk;
        std::uint8_t padded[chunk_bytes];
        expand_chunk<layout>(
            lookup, padded_chunk(w.codes + ((n + r) * w.k + at) / 2, (w.k - at) / 2, padded),
            vectors);
      });
}

/// One group of lanes of a register tile over one block of K; totals are in memory between blocks.
/// Each chunk is summed from zero and then added to the totals, scaled by the factors of its weight
/// row. Three weight rows at most leave registers for totals.
template <Layout layout>
inline void multiply_scaled_tile(float* totals, const float* x, const float* w,
                                 std::int64_t vectors,
                                 const float* const (&factors)[Lanes::tile_w_rows], int group,
                                 bool first) {
  constexpr int x_rows = Lanes::tile_x_rows, w_rows = Lanes::tile_w_rows, width = Lanes::width;
  constexpr int part = std::min(w_rows, 3), steps = chunk_vectors(layout);
  static_assert(w_rows % part == 0);
  for (int from = 0; from < w_rows; from += part) {
    const auto total_of = [&](int i, int j) { return totals + (i * w_rows + from + j) * width; };
    const float *x_chunk = x, *w_chunk = w + from * width;
    Lanes partial[x_rows][part];
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < x_rows * part; ++i)
      partial[i / part][i % part] =
          first ? Lanes::zero() : Lanes::load(total_of(i / part, i % part));
    for (std::int64_t c = 0; c < vectors / steps; ++c) {
      Lanes acc[x_rows][part];
      IDEFICS_CPU_UNROLL
      for (int i = 0; i < x_rows * part; ++i) acc[i / part][i % part] = Lanes::zero();
      IDEFICS_CPU_UNROLL
      for (int v = 0; v < steps; ++v)
        tile_step<layout == Layout::paired>(acc, x_chunk + v * x_rows * width,
                                            w_chunk + v * w_rows * width);
      x_chunk += steps * x_rows * width;
      w_chunk += steps * w_rows * width;
      IDEFICS_CPU_UNROLL
      for (int j = 0; j < part; ++j) {
        const Lanes factor = PlainFactors{factors[from + j]}.two(2 * c, group);
        IDEFICS_CPU_UNROLL
        for (int i = 0; i < x_rows; ++i)
          partial[i][j] = Lanes::fma(acc[i][j], factor, partial[i][j]);
      }
    }
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < x_rows * part; ++i)
      partial[i / part][i % part].store(total_of(i / part, i % part));
  }
}

/// Weight rows [n_begin, n_end) of an aligned matrix times all tiles of x. Scratch: packed weights,
/// then all sums.
template <Layout layout>
inline void blocked_pairs(const LinearArgs& t, const FourBitMatrix& matrix, const float* factors,
                          float* scratch, std::int64_t n_begin, std::int64_t n_end) {
  constexpr int x_rows = Lanes::tile_x_rows, w_rows = Lanes::tile_w_rows,
                groups = 16 / Lanes::width;
  constexpr std::int64_t tile_sums = x_rows * w_rows * 16;
  const PairLookup lookup(matrix.table);
  const std::int64_t vectors = ceil_div(t.k, chunk) * chunk_vectors(layout);
  const std::int64_t m_tiles = ceil_div(t.m, x_rows), n_tiles = ceil_div(n_end - n_begin, w_rows);
  float* const sums = scratch + n_tiles * w_rows * 16 * std::min(panel_vectors, vectors);
  for (std::int64_t v = 0; v < vectors; v += panel_vectors) {
    const std::int64_t count = std::min(panel_vectors, vectors - v);
    const std::int64_t x_group = count * x_rows * Lanes::width,
                       w_group = count * w_rows * Lanes::width;
    for (std::int64_t j = 0; j < n_tiles; ++j)
      pack_codes<layout>(scratch + j * groups * w_group, lookup, matrix, n_begin + j * w_rows,
                         n_end, v, v + count);
    for (std::int64_t i = 0; i < m_tiles; ++i)
      for (int g = 0; g < groups; ++g)
        for (std::int64_t j = 0; j < n_tiles; ++j) {
          const float* tile_factors[w_rows];
          for (int c = 0; c < w_rows; ++c)  // rows after the last are zero: any factor will do
            tile_factors[c] = factors +
                              std::min(j * w_rows + c, n_end - n_begin - 1) * matrix.row_factors() +
                              2 * (v / chunk_vectors(layout));
          multiply_scaled_tile<layout>(
              sums + (i * n_tiles + j) * tile_sums + g * (tile_sums / groups),
              t.x + (i * vectors + v) * 16 * x_rows + g * x_group,
              scratch + (j * groups + g) * w_group, count, tile_factors, g, v == 0);
        }
  }
  for (std::int64_t i = 0; i < m_tiles; ++i)
    for (std::int64_t j = 0; j < n_tiles; ++j)
      finish_tile(t, sums + (i * n_tiles + j) * tile_sums, i * x_rows, n_begin + j * w_rows, n_end);
}

template <Layout layout>
constexpr FourBitPairKernels four_bit_pair_kernels() {
  return {Lanes::tile_x_rows,       Lanes::tile_w_rows,     pack_chunk_rows<layout>,
          pack_chunk_tiles<layout>, multiply_pairs<layout>, blocked_pairs<layout>,
          multiply_any<layout>};
}
