// out[m,n] = sum_k x[m,k] w[n,k] + b[n] with w in 4 bits.  x [M,K] f32, w codes in blocks, out [M,N] f32
// Source: bitsandbytes' Linear4bit; docs/determinism.md has both orders. Parallel over n.
//   f32   w = table[code] * absmax, rounded, then the f32 order: equal to a dequantized matrix
//   bf16  each block is summed in the bf16 order with table values rounded to bf16; what other blocks
//         hold counts as zero; then total = fma(sum of the block, absmax, total) in each lane
// Bound: one row by the bytes of the codes and by the lookups; many rows by the peak of the products.

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
    for (; at < group_end; at += 16) {
      float values[16] = {};
      const std::int64_t count = std::min<std::int64_t>(16, group_end - at);
      for (std::int64_t i = 0; i < count; ++i) values[i] = map[codes[at + i]];
      store_part(F32x16::load(values) * factor + offset, out + at - begin, count);
    }
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

// ---- one row of x: codes are looked up on the way from memory to the products -------------------

IDEFICS_CPU_INLINE float bias_of(const LinearTask& t, std::int64_t n) {
  return t.bias == nullptr ? 0.0f : t.bias[n];
}

/// `rows` weight rows from n on, whose absmax begin at `absmax`.
template <int rows>
inline void multiply_rows_f32(const LinearTask& t, const FourBitMatrix& w, const Lookup& lookup,
                              const float* absmax, std::int64_t n) {
  const std::int64_t blocks = w.k / w.blocksize;
  const std::uint8_t* codes = w.codes + n * w.k / 2;
  const float* x = t.x;
  F32x16 sums[rows];
  IDEFICS_CPU_UNROLL
  for (int r = 0; r < rows; ++r) sums[r] = F32x16::zero();
  for (std::int64_t b = 0; b < blocks; ++b) {
    typename Lookup::Scaled block[rows];
    IDEFICS_CPU_UNROLL
    for (int r = 0; r < rows; ++r) block[r] = lookup.scaled(absmax[r * blocks + b]);
    for (std::int64_t i = 0; i < w.blocksize; i += 32, x += 32, codes += 16) {
      IDEFICS_CPU_UNROLL
      for (int r = 0; r < rows; ++r) {
        F32x16 values[2];
        lookup.values(block[r], codes + r * w.k / 2, values);
        sums[r] = F32x16::fma(F32x16::load(x), values[0], sums[r]);
        sums[r] = F32x16::fma(F32x16::load(x + 16), values[1], sums[r]);
      }
    }
  }
  for (int r = 0; r < rows; ++r) t.out[n + r] = sums[r].sum() + bias_of(t, n + r);
}

inline void multiply_f32(const LinearTask& t, const FourBitMatrix& w, const float* absmax,
                         std::int64_t begin, std::int64_t end) {
  const Lookup lookup(w.table);
  const std::int64_t blocks = w.k / w.blocksize;
  for (; begin + 2 <= end; begin += 2, absmax += 2 * blocks)
    multiply_rows_f32<2>(t, w, lookup, absmax, begin);
  for (; begin < end; ++begin, absmax += blocks) multiply_rows_f32<1>(t, w, lookup, absmax, begin);
}

/// Blocks start from zero, so their chains overlap and one weight row at a time fills the CPU.
template <Layout layout>
inline void multiply_pairs(const LinearTask& t, const FourBitMatrix& w, const float* absmax,
                           std::int64_t begin, std::int64_t end) {
  constexpr int vectors = Step<layout>::vectors;
  const PairLookup<layout> lookup(w.table);
  const std::uint8_t* codes = w.codes + begin * w.k / 2;
  for (std::int64_t n = begin; n < end; ++n) {
    F32x16 total = F32x16::zero();
    const float* x = t.x;
    for (std::int64_t b = 0; b < w.k; b += w.blocksize, ++absmax) {
      F32x16 sum = F32x16::zero();
      for (std::int64_t i = 0; i < w.blocksize; i += 32, codes += 16, x += 16 * vectors) {
        F32x16 values[vectors];
        lookup.values(codes, values);
        IDEFICS_CPU_UNROLL
        for (int v = 0; v < vectors; ++v)
          sum = product<layout == Layout::whole_pairs>(F32x16::load(x + 16 * v), values[v], sum);
      }
      total = F32x16::fma(sum, F32x16::set(*absmax), total);
    }
    t.out[n] = total.sum() + bias_of(t, n);
  }
}

// ---- several rows of x in the bf16 order: codes become bf16 rows first --------------------------

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

/// Weight rows n.. n + rows, expanded in `w_rows`, against rows m.. m + cols of x. Several weight rows
/// at a time only when the matrix is aligned: their blocks then end together.
template <Layout layout, int rows, int cols>
inline void multiply_pair_tile(const LinearTask& t, const FourBitMatrix& w, const bf16_t* w_rows,
                               const float* absmax, std::int64_t n, std::int64_t m) {
  constexpr int vectors = Step<layout>::vectors;
  const std::int64_t first = n * w.k, stride = 16 * vectors_of(layout, w.k);
  const std::int64_t row_blocks = w.k / w.blocksize;
  const float* x = t.x + m * stride;
  F32x16 totals[rows][cols];
  for (auto& row : totals)
    for (auto& total : row) total = F32x16::zero();
  for (std::int64_t b = first / w.blocksize; b * w.blocksize < first + w.k; ++b, ++absmax) {
    const std::int64_t begin = std::max<std::int64_t>(b * w.blocksize - first, 0);
    const std::int64_t end = std::min((b + 1) * w.blocksize - first, w.k);
    F32x16 sums[rows][cols];
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < rows * cols; ++i) sums[i / cols][i % cols] = F32x16::zero();
    for (std::int64_t k = begin / 32 * 32; k < end; k += 32) {
      bf16_t room[rows][32];
      const std::byte* steps[rows];
      IDEFICS_CPU_UNROLL
      for (int r = 0; r < rows; ++r)
        steps[r] = masked_step(w_rows + r * w.k, k, begin, end, room[r]);
      IDEFICS_CPU_UNROLL
      for (int v = 0; v < vectors; ++v) {
        F32x16 weights[rows];
        IDEFICS_CPU_UNROLL
        for (int r = 0; r < rows; ++r) weights[r] = fetch<layout, bf16_t, F32x16>(steps[r], v, 0);
        IDEFICS_CPU_UNROLL
        for (int c = 0; c < cols; ++c) {
          const F32x16 input = F32x16::load(x + c * stride + k / 32 * 16 * vectors + 16 * v);
          IDEFICS_CPU_UNROLL
          for (int r = 0; r < rows; ++r)
            sums[r][c] = product<layout == Layout::whole_pairs>(input, weights[r], sums[r][c]);
        }
      }
    }
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < cols; ++c)
        totals[r][c] = F32x16::fma(sums[r][c], F32x16::set(absmax[r * row_blocks]), totals[r][c]);
  }
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c)
      t.out[(m + c) * t.n + n + r] = totals[r][c].sum() + bias_of(t, n + r);
}

/// All rows of x against `rows` weight rows.
template <Layout layout, int rows>
inline void multiply_pair_rows(const LinearTask& t, const FourBitMatrix& w, const bf16_t* w_rows,
                               const float* absmax, std::int64_t n, std::int64_t m,
                               std::int64_t m_end) {
  for (; m + 3 <= m_end; m += 3) multiply_pair_tile<layout, rows, 3>(t, w, w_rows, absmax, n, m);
  for (; m < m_end; ++m) multiply_pair_tile<layout, rows, 1>(t, w, w_rows, absmax, n, m);
}

/// Weight rows [begin, end) against all rows of x, a few of both at a time, so that both stay in cache.
template <Layout layout>
inline void multiply_expanded(const LinearTask& t, const FourBitMatrix& w, const float* absmax,
                              bf16_t* rows, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t together = 6;
  expand_codes(rows, w, begin * w.k, end * w.k);
  const std::int64_t first_block = begin * w.k / w.blocksize;
  for (std::int64_t m = 0; m < t.m; m += together)
    for (std::int64_t n = begin; n < end;) {
      const float* constants = absmax + (n * w.k / w.blocksize - first_block);
      const bf16_t* w_rows = rows + (n - begin) * w.k;
      const std::int64_t m_end = std::min(m + together, t.m);
      if (w.aligned() && n + 2 <= end) {
        multiply_pair_rows<layout, 2>(t, w, w_rows, constants, n, m, m_end);
        n += 2;
      } else {
        multiply_pair_rows<layout, 1>(t, w, w_rows, constants, n, m, m_end);
        n += 1;
      }
    }
}

template <Layout layout>
constexpr FourBitPairKernels four_bit_pair_kernels() {
  return {multiply_pairs<layout>, multiply_expanded<layout>};
}
