// out[m,n] = sum_k x[m,k] w[n,k] + b[n] with w in 4 bits.  x [M,K] f32, w codes in blocks, out [M,N] f32
// Source: bitsandbytes' Linear4bit; docs/determinism.md has both orders. Parallel over n.
//   f32   w = table[code] * absmax, rounded, then the f32 order: equal to a dequantized matrix
//   bf16  each block is summed in the bf16 order with table values rounded to bf16; what other blocks
//         hold counts as zero; then total = fma(sum of the block, absmax, total) in each lane
// Bound: few rows by the bytes of the codes and by the lookups; many rows by the peak of the products.

/// absmax [begin, end): map[code] * nested, rounded, + offset.
inline void expand_absmax(float* out, const std::uint8_t* codes, const NestedConstants& nested,
                          std::int64_t begin, std::int64_t end) {
  const float* map = reinterpret_cast<const float*>(nested.map.raw());
  const float* factors = reinterpret_cast<const float*>(nested.absmax.raw());
  const F32x16 offset = F32x16::set(nested.offset);
  for (std::int64_t at = begin; at < end;) {
    const std::int64_t group = at / NestedConstants::blocksize;
    const std::int64_t group_end = std::min(end, (group + 1) * NestedConstants::blocksize);
    const F32x16 factor = F32x16::set(factors[group]);
    float* const to = out + at - begin;  // first the lookups, then the sums: neither waits
    for (std::int64_t i = at; i < group_end; ++i) to[i - at] = map[codes[i]];
    std::int64_t i = 0;
    for (; i + 16 <= group_end - at; i += 16)
      (F32x16::load(to + i) * factor + offset).store(to + i);
    const std::int64_t rest = group_end - at - i;
    store_part(load_part(to + i, rest) * factor + offset, to + i, rest);
    at = group_end;
  }
}

/// Code `i` of the flattened matrix.
IDEFICS_CPU_INLINE int code_at(const std::uint8_t* codes, std::int64_t i) {
  return i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15;
}

/// Values [begin, end) of the flattened matrix.
inline void dequantize(float* out, const FourBitMatrix& w, const float* absmax, std::int64_t begin,
                       std::int64_t end) {
  const Lookup lookup(w.table);
  for (std::int64_t at = begin; at < end; ++absmax) {
    const std::int64_t block_end = std::min(end, (at / w.blocksize + 1) * w.blocksize);
    const auto block = lookup.scaled(*absmax);
    while (at < block_end) {
      if (at % 32 == 0 && at + 32 <= block_end) {
        F32x16 values[2];
        lookup.values(block, w.codes + at / 2, values);
        values[0].store(out + at - begin);
        values[1].store(out + at - begin + 16);
        at += 32;
      } else {
        out[at - begin] = w.table[code_at(w.codes, at)] * *absmax;
        ++at;
      }
    }
  }
}

// ---- few rows of x: codes are looked up on the way from memory to the products ------------------

IDEFICS_CPU_INLINE float bias_of(const LinearTask& t, std::int64_t n) {
  return t.bias == nullptr ? 0.0f : t.bias[n];
}

/// Values between two looks at a counter, since every block holds them, and how many bytes ahead codes
/// are called in.
inline constexpr int piece = 64, codes_ahead = 4096;

/// Weight row n against rows m.. m + cols of x.
template <int cols>
inline void multiply_row_f32(const LinearTask& t, const FourBitMatrix& w, const Lookup& lookup,
                             const float* absmax, std::int64_t n, std::int64_t m) {
  const std::uint8_t* codes = w.codes + n * w.k / 2;
  const float* x = t.x + m * w.k;
  F32x16 sums[cols];
  IDEFICS_CPU_UNROLL
  for (int c = 0; c < cols; ++c) sums[c] = F32x16::zero();
  for (std::int64_t b = 0; b < w.k; b += w.blocksize, ++absmax) {
    const auto block = lookup.scaled(*absmax);
    __builtin_prefetch(codes + codes_ahead);
    for (std::int64_t i = 0; i < w.blocksize; i += piece, x += piece, codes += piece / 2) {
      IDEFICS_CPU_UNROLL
      for (int k = 0; k < piece; k += 32) {
        F32x16 values[2];
        lookup.values(block, codes + k / 2, values);
        IDEFICS_CPU_UNROLL
        for (int c = 0; c < cols; ++c) {
          sums[c] = F32x16::fma(F32x16::load(x + c * w.k + k), values[0], sums[c]);
          sums[c] = F32x16::fma(F32x16::load(x + c * w.k + k + 16), values[1], sums[c]);
        }
      }
    }
  }
  for (int c = 0; c < cols; ++c) t.out[(m + c) * t.n + n] = sums[c].sum() + bias_of(t, n);
}

/// The same in the bf16 order. Blocks start from zero, so their chains overlap.
template <Layout layout, int cols>
inline void multiply_row_pairs(const LinearTask& t, const FourBitMatrix& w,
                               const PairLookup<layout>& lookup, const float* absmax,
                               std::int64_t n, std::int64_t m) {
  constexpr int vectors = Step<layout>::vectors, piece_floats = piece / 2 * vectors;
  const std::int64_t stride = w.k / 32 * 16 * vectors;
  const std::uint8_t* codes = w.codes + n * w.k / 2;
  const float* x = t.x + m * stride;
  F32x16 totals[cols];
  IDEFICS_CPU_UNROLL
  for (int c = 0; c < cols; ++c) totals[c] = F32x16::zero();
  for (std::int64_t b = 0; b < w.k; b += w.blocksize, ++absmax) {
    F32x16 sums[cols];
    IDEFICS_CPU_UNROLL
    for (int c = 0; c < cols; ++c) sums[c] = F32x16::zero();
    __builtin_prefetch(codes + codes_ahead);
    for (std::int64_t i = 0; i < w.blocksize; i += piece, x += piece_floats, codes += piece / 2) {
      IDEFICS_CPU_UNROLL
      for (int k = 0; k < piece; k += 32) {
        F32x16 values[vectors];
        lookup.values(codes + k / 2, values);
        IDEFICS_CPU_UNROLL
        for (int c = 0; c < cols; ++c) {
          const float* inputs = x + c * stride + k / 2 * vectors;
          IDEFICS_CPU_UNROLL
          for (int v = 0; v < vectors; ++v)
            sums[c] = product<layout == Layout::whole_pairs>(F32x16::load(inputs + 16 * v),
                                                             values[v], sums[c]);
        }
      }
    }
    const F32x16 factor = F32x16::set(*absmax);
    IDEFICS_CPU_UNROLL
    for (int c = 0; c < cols; ++c) totals[c] = F32x16::fma(sums[c], factor, totals[c]);
  }
  for (int c = 0; c < cols; ++c) t.out[(m + c) * t.n + n] = totals[c].sum() + bias_of(t, n);
}

/// Calls row.template operator()<cols>(n, absmax, m): each weight row passes over all rows of x, four,
/// two or one at a time, while its codes are in the nearest cache.
template <class Row>
inline void for_rows(const LinearTask& t, const FourBitMatrix& w, const float* absmax,
                     std::int64_t begin, std::int64_t end, const Row& row) {
  for (std::int64_t n = begin; n < end; ++n, absmax += w.k / w.blocksize) {
    std::int64_t m = 0;
    for (; m + 4 <= t.m; m += 4) row.template operator()<4>(n, absmax, m);
    if (m + 2 <= t.m) row.template operator()<2>(n, absmax, m), m += 2;
    if (m < t.m) row.template operator()<1>(n, absmax, m);
  }
}

inline void multiply_f32(const LinearTask& t, const FourBitMatrix& w, const float* absmax,
                         std::int64_t begin, std::int64_t end) {
  const Lookup lookup(w.table);
  for_rows(t, w, absmax, begin, end,
           [&]<int cols>(std::int64_t n, const float* constants, std::int64_t m) {
             multiply_row_f32<cols>(t, w, lookup, constants, n, m);
           });
}

template <Layout layout>
inline void multiply_pairs(const LinearTask& t, const FourBitMatrix& w, const float* absmax,
                           std::int64_t begin, std::int64_t end) {
  const PairLookup<layout> lookup(w.table);
  for_rows(t, w, absmax, begin, end,
           [&]<int cols>(std::int64_t n, const float* constants, std::int64_t m) {
             multiply_row_pairs<layout, cols>(t, w, lookup, constants, n, m);
           });
}

// ---- many rows of x in the bf16 order: the tiles of linear.inl, with a factor for each block ----

/// Vectors [begin, end) of a tile of weight rows from n on, without their absmax.
template <Layout layout>
inline void pack_codes(float* packed, const PairLookup<layout>& lookup, const FourBitMatrix& w,
                       std::int64_t n, std::int64_t n_end, std::int64_t begin, std::int64_t end) {
  constexpr int step = Step<layout>::vectors;
  pack_block<layout, Lanes::tile_cols>(
      packed, begin, end,
      [&](std::int64_t r, std::int64_t v, F32x16(&vectors)[step]) IDEFICS_CPU_LAMBDA {
        if (n + r < n_end)
          lookup.values(w.codes + ((n + r) * w.k + v / step * 32) / 2, vectors);
        else
          for (auto& vector : vectors) vector = F32x16::zero();
      });
}

/// multiply_tile, but blocks of `per_block` vectors start from zero and are added to the totals scaled:
/// those of weight row j by absmax[j].
template <bool pairs>
inline void multiply_scaled_tile(float* totals, const float* x, const float* w,
                                 std::int64_t vectors, std::int64_t per_block,
                                 const float* const (&absmax)[Lanes::tile_cols], bool first) {
  constexpr int rows = Lanes::tile_rows, cols = Lanes::tile_cols, width = Lanes::width;
  for (std::int64_t b = 0; b < vectors / per_block; ++b, first = false) {
    Lanes acc[rows][cols];
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < rows * cols; ++i) acc[i / cols][i % cols] = Lanes::zero();
    for (std::int64_t v = 0; v < per_block; ++v, x += rows * width, w += cols * width)
      tile_step<pairs>(acc, x, w);
    IDEFICS_CPU_UNROLL
    for (int j = 0; j < cols; ++j) {
      const Lanes factor = Lanes::set(absmax[j][b]);
      IDEFICS_CPU_UNROLL
      for (int i = 0; i < rows; ++i) {
        float* const total = totals + (i * cols + j) * width;
        Lanes::fma(acc[i][j], factor, first ? Lanes::zero() : Lanes::load(total)).store(total);
      }
    }
  }
}

/// Weight rows [n_begin, n_end) of an aligned matrix against all tiles of x, as `blocked` does it.
template <Layout layout>
inline void blocked_pairs(const LinearTask& t, const FourBitMatrix& matrix, const float* absmax,
                          float* scratch, std::int64_t n_begin, std::int64_t n_end) {
  constexpr int rows = Lanes::tile_rows, cols = Lanes::tile_cols, groups = 16 / Lanes::width;
  constexpr std::int64_t tile_sums = rows * cols * 16;
  const PairLookup<layout> lookup(matrix.table);
  const std::int64_t vectors = vectors_of(layout, t.k), row_blocks = t.k / matrix.blocksize;
  const std::int64_t per_block = vectors_of(layout, matrix.blocksize);
  const std::int64_t m_tiles = ceil_div(t.m, rows), n_tiles = ceil_div(n_end - n_begin, cols);
  float* const sums = scratch + n_tiles * cols * 16 * std::min(block_vectors, vectors);
  for (std::int64_t v = 0; v < vectors; v += block_vectors) {
    const std::int64_t count = std::min(block_vectors, vectors - v);
    const std::int64_t x_group = count * rows * Lanes::width, w_group = count * cols * Lanes::width;
    for (std::int64_t j = 0; j < n_tiles; ++j)
      pack_codes(scratch + j * groups * w_group, lookup, matrix, n_begin + j * cols, n_end, v,
                 v + count);
    for (std::int64_t i = 0; i < m_tiles; ++i)
      for (int g = 0; g < groups; ++g)
        for (std::int64_t j = 0; j < n_tiles; ++j) {
          const float* factors[cols];
          for (int c = 0; c < cols; ++c)  // rows behind the last one are zero: any factor will do
            factors[c] =
                absmax + std::min(j * cols + c, n_end - n_begin - 1) * row_blocks + v / per_block;
          multiply_scaled_tile<layout == Layout::whole_pairs>(
              sums + (i * n_tiles + j) * tile_sums + g * (tile_sums / groups),
              t.x + (i * vectors + v) * 16 * rows + g * x_group,
              scratch + (j * groups + g) * w_group, count, per_block, factors, v == 0);
        }
  }
  for (std::int64_t i = 0; i < m_tiles; ++i)
    for (std::int64_t j = 0; j < n_tiles; ++j)
      finish_tile(t, sums + (i * n_tiles + j) * tile_sums, i * rows, n_begin + j * cols, n_end);
}

// ---- blocks that run over the ends of rows, or are longer than a packed piece: bf16 rows first ---

/// Table values of [begin, end) of the flattened matrix in bf16, without their absmax.
inline void expand_codes(bf16_t* out, const FourBitMatrix& w, std::int64_t begin,
                         std::int64_t end) {
  bf16_t table[16], pairs[256][2];
  for (int i = 0; i < 16; ++i) table[i] = to_bf16(w.table[i]);
  for (int i = 0; i < 256; ++i) {
    pairs[i][0] = table[i >> 4];
    pairs[i][1] = table[i & 15];
  }
  std::int64_t at = begin;
  if (at % 2 == 1 && at < end) *out++ = table[code_at(w.codes, at++)];
  for (; at + 2 <= end; at += 2, out += 2) std::memcpy(out, pairs[w.codes[at / 2]], 4);
  if (at < end) *out = table[code_at(w.codes, at)];
}

/// Values [begin, end) of a step of 32, zeros for the others.
IDEFICS_CPU_INLINE const std::byte* masked_step(const bf16_t* row, std::int64_t step,
                                                std::int64_t begin, std::int64_t end,
                                                bf16_t (&room)[32]) {
  const std::int64_t from = std::max(begin, step), to = std::min(end, step + 32);
  if (to - from == 32) return reinterpret_cast<const std::byte*>(row + step);
  std::memset(room, 0, sizeof room);
  std::memcpy(room + (from - step), row + from, static_cast<std::size_t>(to - from) * 2);
  return reinterpret_cast<const std::byte*>(room);
}

/// Weight row n, expanded in `row`, against rows m.. m + cols of x.
template <Layout layout, int cols>
inline void multiply_expanded_row(const LinearTask& t, const FourBitMatrix& w, const bf16_t* row,
                                  const float* absmax, std::int64_t n, std::int64_t m) {
  constexpr int vectors = Step<layout>::vectors;
  const std::int64_t first = n * w.k, stride = 16 * vectors_of(layout, w.k);
  const float* x = t.x + m * stride;
  F32x16 totals[cols];
  for (auto& total : totals) total = F32x16::zero();
  for (std::int64_t b = first / w.blocksize; b * w.blocksize < first + w.k; ++b, ++absmax) {
    const std::int64_t begin = std::max<std::int64_t>(b * w.blocksize - first, 0);
    const std::int64_t end = std::min((b + 1) * w.blocksize - first, w.k);
    F32x16 sums[cols];
    for (auto& sum : sums) sum = F32x16::zero();
    for (std::int64_t k = begin / 32 * 32; k < end; k += 32) {
      bf16_t room[32];
      const std::byte* step = masked_step(row, k, begin, end, room);
      for (int v = 0; v < vectors; ++v) {
        const F32x16 weight = fetch<layout, bf16_t, F32x16>(step, v, 0);
        for (int c = 0; c < cols; ++c)
          sums[c] = product<layout == Layout::whole_pairs>(
              F32x16::load(x + c * stride + k / 32 * 16 * vectors + 16 * v), weight, sums[c]);
      }
    }
    for (int c = 0; c < cols; ++c)
      totals[c] = F32x16::fma(sums[c], F32x16::set(*absmax), totals[c]);
  }
  for (int c = 0; c < cols; ++c) t.out[(m + c) * t.n + n] = totals[c].sum() + bias_of(t, n);
}

/// Weight rows [begin, end) of any matrix against all rows of x; `row` has room for K values.
template <Layout layout>
inline void multiply_any(const LinearTask& t, const FourBitMatrix& w, const float* absmax,
                         bf16_t* row, std::int64_t begin, std::int64_t end) {
  const std::int64_t first_block = begin * w.k / w.blocksize;
  for (std::int64_t n = begin; n < end; ++n) {
    const float* constants = absmax + (n * w.k / w.blocksize - first_block);
    expand_codes(row, w, n * w.k, (n + 1) * w.k);
    std::int64_t m = 0;
    for (; m + 3 <= t.m; m += 3) multiply_expanded_row<layout, 3>(t, w, row, constants, n, m);
    for (; m < t.m; ++m) multiply_expanded_row<layout, 1>(t, w, row, constants, n, m);
  }
}

template <Layout layout>
constexpr FourBitPairKernels four_bit_pair_kernels() {
  return {multiply_pairs<layout>, blocked_pairs<layout>, multiply_any<layout>};
}
