// out[m,n] = sum_k x[m,k] w[n,k] + b[n].        x [M,K], out [M,N] f32, w [N,K] in blocks of 4 bits
// Source: bitsandbytes' Linear4bit; docs/determinism.md has both orders. Parallel over n.
//   f32   w = table[code] * absmax, rounded, then the f32 order: the bits of a dequantized matrix
//   bf16  of every 128 values a lane sums eight neighbours from zero, times table values rounded to
//         bf16; then total = fma(sum, absmax, total)
// Bound: bytes of the codes and lookups for few rows of x, the product peak for many.

/// absmax [begin, end): map[code] * nested, rounded, + offset.
inline void expand_absmax(float* out, const std::uint8_t* codes, const NestedConstants& nested,
                          std::int64_t begin, std::int64_t end) {
  const auto* map = reinterpret_cast<const std::uint32_t*>(nested.map.raw());
  const float* factors = reinterpret_cast<const float*>(nested.absmax.raw());
  const F32x16 offset = F32x16::set(nested.offset);
  for (std::int64_t at = begin; at < end;) {
    const std::int64_t group = at / NestedConstants::blocksize;
    const std::int64_t group_end = std::min(end, (group + 1) * NestedConstants::blocksize);
    const F32x16 factor = F32x16::set(factors[group]);
    float* const to = out + at - begin;  // looked up as integers, then scaled
    std::int64_t i = 0;
    for (; i + 16 <= group_end - at; i += 16) {
      IDEFICS_CPU_UNROLL
      for (int j = 0; j < 16; ++j) std::memcpy(to + i + j, map + codes[at + i + j], 4);
    }
    for (; i < group_end - at; ++i) std::memcpy(to + i, map + codes[at + i], 4);
    i = 0;
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
        Lookup::to_natural_order(values[0]).store(out + at - begin);
        Lookup::to_natural_order(values[1]).store(out + at - begin + 16);
        at += 32;
      } else {
        out[at - begin] = w.table[code_at(w.codes, at)] * *absmax;
        ++at;
      }
    }
  }
}

// ---- few rows of x: codes are looked up on the way from memory to the products ------------------

/// Prefetches codes that are read soon, to L2: L1 supports few outstanding misses.
IDEFICS_CPU_INLINE void prefetch_codes(const std::uint8_t* codes) {
  __builtin_prefetch(codes + 2048, 0, 2);
}

/// Factors of weight rows, stored as f32.
struct PlainFactors {
  const float* values;

  PlainFactors from(std::int64_t i) const { return {values + i}; }
  /// Factor i in lanes 0 to 7 and i + 1 in the others, for the lanes of `group`.
  IDEFICS_CPU_INLINE Lanes two(std::int64_t i, int group) const {
    return Lanes::set_halves(values[i], values[i + 1], group);
  }
};

/// The weight rows of one pass, n, n + apart, …, and the factors of the first.
template <class Factors>
struct CodeRows {
  Factors factors;
  std::int64_t n, apart;
};

/// Packs rows [begin, end) of x for the f32 order, in the lane order of Lookup::values.
inline void pack_lookup_rows(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                             std::int64_t m, std::int64_t k) {
  pack_rows(packed, x, begin, end, m, k);
  for (std::int64_t i = 0; i < (end - begin) * ceil_div(k, 16); ++i)
    Lookup::to_lookup_order(F32x16::load(packed + 16 * i)).store(packed + 16 * i);
}

/// w_rows weight rows times rows [m, m + x_rows) of x.
template <int w_rows, int x_rows>
IDEFICS_CPU_OUTLINE inline void multiply_rows_f32(const LinearArgs& t, const FourBitMatrix& w,
                                                  const Lookup& lookup,
                                                  const CodeRows<PlainFactors>& at,
                                                  std::int64_t m) {
  const std::int64_t codes_apart = at.apart * w.k / 2, factors_apart = at.apart * w.row_factors();
  const std::uint8_t* codes = w.codes + at.n * w.k / 2;
  const float* x = t.x + m * w.k;
  F32x16 sums[w_rows][x_rows];
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < w_rows * x_rows; ++i) sums[i / x_rows][i % x_rows] = F32x16::zero();
  for (std::int64_t b = 0; b < w.k / 64; ++b, codes += 32, x += 64) {
    typename Lookup::Scaled blocks[w_rows];
    IDEFICS_CPU_UNROLL
    for (int r = 0; r < w_rows; ++r) {
      blocks[r] = lookup.scaled(at.factors.values[r * factors_apart + b]);
      prefetch_codes(codes + r * codes_apart);
    }
    IDEFICS_CPU_UNROLL
    for (int k = 0; k < 64; k += 32) {
      IDEFICS_CPU_UNROLL
      for (int r = 0; r < w_rows; ++r) {
        F32x16 values[2];
        lookup.values(blocks[r], codes + r * codes_apart + k / 2, values);
        IDEFICS_CPU_UNROLL
        for (int c = 0; c < x_rows; ++c) {
          sums[r][c] = F32x16::fma(F32x16::load(x + c * w.k + k), values[0], sums[r][c]);
          sums[r][c] = F32x16::fma(F32x16::load(x + c * w.k + k + 16), values[1], sums[r][c]);
        }
      }
    }
  }
  for (int r = 0; r < w_rows; ++r)
    for (int c = 0; c < x_rows; ++c) {
      const std::int64_t n = at.n + r * at.apart;
      t.out[(m + c) * t.n + n] = Lookup::to_natural_order(sums[r][c]).sum() + t.bias_of(n);
    }
}

/// `streams` weight rows times all rows of x, four, two or one of these at a time while the codes
/// are in L1. At most sixteen sums are computed at once.
template <int streams, class Factors, class Multiply>
IDEFICS_CPU_INLINE void multiply_streams(const LinearArgs& t, const FourBitMatrix& w,
                                         const CodeRows<Factors>& at, const Multiply& multiply) {
  const auto all = [&]<int x_rows>(std::int64_t m) IDEFICS_CPU_LAMBDA {
    constexpr int w_rows = std::min(streams, 16 / x_rows);
    for (int r = 0; r < streams; r += w_rows)
      multiply.template operator()<w_rows, x_rows>(
          CodeRows<Factors>{at.factors.from(r * at.apart * w.row_factors()), at.n + r * at.apart,
                            at.apart},
          m);
  };
  std::int64_t m = 0;
  for (; m + 4 <= t.m; m += 4) all.template operator()<4>(m);
  if (m + 2 <= t.m) all.template operator()<2>(m), m += 2;
  if (m < t.m) all.template operator()<1>(m);
}

/// Calls multiply.template operator()<w_rows, x_rows>(weight rows, m) for weight rows [begin, end)
/// and all rows of x. Several weight rows at a time hide the latency of their sums and share loads
/// of x. They come from different parts of the range, since prefetchers follow one stream per page.
template <class Factors, class Multiply>
inline void for_rows(const LinearArgs& t, const FourBitMatrix& w, const Factors& factors,
                     std::int64_t begin, std::int64_t end, const Multiply& multiply) {
  constexpr int streams = Lanes::code_streams;
  const std::int64_t apart = (end - begin) / streams;
  const auto rows_from = [&](std::int64_t n) {
    return CodeRows<Factors>{factors.from((n - begin) * w.row_factors()), n, apart};
  };
  std::int64_t n = begin;
  for (; n < begin + apart; ++n) multiply_streams<streams>(t, w, rows_from(n), multiply);
  for (n = begin + streams * apart; n < end; ++n) multiply_streams<1>(t, w, rows_from(n), multiply);
}

inline void multiply_f32(const LinearArgs& t, const FourBitMatrix& w, const float* factors,
                         std::int64_t begin, std::int64_t end) {
  const Lookup lookup(w.table);
  for_rows(t, w, PlainFactors{factors}, begin, end,
           [&]<int w_rows, int x_rows>(const CodeRows<PlainFactors>& at, std::int64_t m) {
             multiply_rows_f32<w_rows, x_rows>(t, w, lookup, at, m);
           });
}
