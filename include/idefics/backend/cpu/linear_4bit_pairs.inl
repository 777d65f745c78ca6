// The bf16 order of linear_4bit.inl.
//
// Of every chunk of 128 values (64 bytes of codes), lane d holds values 8 d to 8 d + 7, a word of
// 32 bits. Step j multiplies the pair 8 d + j and 8 d + 4 + j, whose codes are in different halves
// of the word, so a register of codes needs a shift and a lookup per step, and no shuffle. The
// values of a lane share a block: their sum starts from zero and is scaled by its absmax.

inline constexpr int chunk = FourBitPairKernels::chunk, chunk_bytes = chunk / 2, chunk_steps = 4;

constexpr int chunk_vectors(Layout layout) { return layout == Layout::paired ? 4 : 8; }

/// Rounds a chunk of x to bf16 and pairs its values as above, with zeros from `count` on.
template <Layout layout>
inline void pack_chunk(const float* x, std::int64_t count,
                       F32x16 (&vectors)[chunk_vectors(layout)]) {
  float padded[chunk];
  if (count < chunk) {
    std::memset(padded, 0, sizeof padded);
    std::memcpy(padded, x, static_cast<std::size_t>(count) * sizeof(float));
    x = padded;
  }
  std::uint64_t halves[32];  // per lane: four values added second, then four added first
  for (int i = 0; i < chunk / 16; ++i)
    F32x16::load(x + 16 * i).store_bf16(reinterpret_cast<std::byte*>(halves) + 32 * i);
  for (int j = 0; j < chunk_steps; ++j) {
    std::uint32_t pairs[16];
    for (int d = 0; d < 16; ++d)
      pairs[d] = static_cast<std::uint32_t>((halves[2 * d] >> 16 * j & 0xffff) |
                                            (halves[2 * d + 1] >> 16 * j & 0xffff) << 16);
    if constexpr (layout == Layout::paired) {
      vectors[j] = F32x16::load(pairs);
    } else {
      vectors[2 * j] = F32x16::load_bf16_odd(pairs);
      vectors[2 * j + 1] = F32x16::load_bf16_even(pairs);
    }
  }
}

/// Packs rows [begin, end) of x, the vectors of a row contiguous.
template <Layout layout>
inline void pack_chunk_rows(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                            std::int64_t, std::int64_t k) {
  constexpr int vectors = chunk_vectors(layout);
  for (std::int64_t m = begin; m < end; ++m)
    for (std::int64_t c = 0; c < ceil_div(k, chunk); ++c) {
      F32x16 values[vectors];
      pack_chunk<layout>(x + m * k + c * chunk, k - c * chunk, values);
      float* to = packed + (m * ceil_div(k, chunk) + c) * vectors * 16;
      for (int v = 0; v < vectors; ++v) values[v].store(to + 16 * v);
    }
}

/// The codes of a chunk, of which `bytes` exist, zero-padded.
IDEFICS_CPU_INLINE const std::uint8_t* padded_chunk(const std::uint8_t* codes, std::int64_t bytes,
                                                    std::uint8_t (&padded)[chunk_bytes]) {
  if (bytes >= chunk_bytes) return codes;
  std::memset(padded, 0, sizeof padded);
  std::memcpy(padded, codes, static_cast<std::size_t>(bytes));
  return padded;
}

/// The products of a chunk of x and one of weights, summed from zero in one group of lanes.
template <Layout layout>
IDEFICS_CPU_INLINE Lanes multiply_chunk(const float* x, const Lanes (&pairs)[chunk_steps]) {
  Lanes sum = Lanes::zero();
  IDEFICS_CPU_UNROLL
  for (int j = 0; j < chunk_steps; ++j) {
    if constexpr (layout == Layout::paired) {
      sum = product<true>(Lanes::load(x + 16 * j), pairs[j], sum);
    } else {
      sum = Lanes::fma(Lanes::load(x + 32 * j), pairs[j].odd_bf16(), sum);
      sum = Lanes::fma(Lanes::load(x + 32 * j + 16), pairs[j].even_bf16(), sum);
    }
  }
  return sum;
}

/// Adds up the lanes of `totals` and stores the outputs.
template <int w_rows, int x_rows>
IDEFICS_CPU_INLINE void finish_rows(const LinearArgs& t,
                                    const Lanes (&totals)[w_rows][x_rows][16 / Lanes::width],
                                    std::int64_t first, std::int64_t apart, std::int64_t m) {
  for (int r = 0; r < w_rows; ++r)
    for (int c = 0; c < x_rows; ++c) {
      const std::int64_t n = first + r * apart;
      t.out[(m + c) * t.n + n] = F32x16::join(totals[r][c]).sum() + t.bias_of(n);
    }
}

/// Doubly quantized factors: map[code] * nested, rounded, + offset. Computing them between products
/// is free; in a pass of their own, memory would be idle.
struct NestedFactors {
  const std::uint8_t* codes;
  const float *map, *nested;
  float offset;
  std::int64_t first;

  NestedFactors from(std::int64_t i) const { return {codes, map, nested, offset, first + i}; }
  IDEFICS_CPU_INLINE Lanes two(std::int64_t i, int group) const {
    i += first;  // even, so both are in one group of 256
    const Lanes values = Lanes::set_halves(map[codes[i]], map[codes[i + 1]], group);
    const Lanes scale = Lanes::set(nested[i / NestedConstants::blocksize]);
    return Lanes::multiply_then_add(values, scale, Lanes::set(offset));
  }
};

/// w_rows weight rows times rows [m, m + x_rows) of x.
template <Layout layout, int w_rows, int x_rows, class Factors>
IDEFICS_CPU_OUTLINE inline void multiply_rows_pairs(const LinearArgs& t, const FourBitMatrix& w,
                                                    const PairLookup& lookup,
                                                    const CodeRows<Factors>& at, std::int64_t m) {
  constexpr int groups = 16 / Lanes::width, group_bytes = chunk_bytes / groups;
  const std::int64_t codes_apart = at.apart * w.k / 2, factors_apart = at.apart * w.row_factors();
  const std::int64_t stride = ceil_div(w.k, chunk) * chunk_vectors(layout) * 16;
  const std::uint8_t* codes = w.codes + at.n * w.k / 2;
  const float* x = t.x + m * stride;
  Lanes totals[w_rows][x_rows][groups];
  for (auto& row : totals)
    for (auto& total : row)
      for (auto& lanes : total) lanes = Lanes::zero();
  const Factors factors = at.factors;
  const auto step = [&](int r, const std::uint8_t* from, std::int64_t i) IDEFICS_CPU_LAMBDA {
    IDEFICS_CPU_UNROLL
    for (int g = 0; g < groups; ++g) {
      Lanes pairs[chunk_steps];
      lookup.pairs(from + g * group_bytes, pairs);
      const Lanes factor = factors.two(r * factors_apart + 2 * i, g);
      IDEFICS_CPU_UNROLL
      for (int c = 0; c < x_rows; ++c)
        totals[r][c][g] =
            Lanes::fma(multiply_chunk<layout>(x + c * stride + g * Lanes::width, pairs), factor,
                       totals[r][c][g]);
    }
  };
  for (std::int64_t i = 0; i < w.k / chunk; ++i) {
    IDEFICS_CPU_UNROLL
    for (int r = 0; r < w_rows; ++r) {
      prefetch_codes(codes + r * codes_apart);
      step(r, codes + r * codes_apart, i);
    }
    codes += chunk_bytes, x += chunk_vectors(layout) * 16;
  }
  if (w.k % chunk != 0)
    for (int r = 0; r < w_rows; ++r) {
      std::uint8_t padded[chunk_bytes];
      step(r, padded_chunk(codes + r * codes_apart, w.k % chunk / 2, padded), w.k / chunk);
    }
  finish_rows(t, totals, at.n, at.apart, m);
}

template <Layout layout>
inline void multiply_pairs(const LinearArgs& t, const FourBitMatrix& w,
                           const FourBitFactors& factors, std::int64_t begin, std::int64_t end) {
  const PairLookup lookup(w.table);
  const auto multiply = [&]<int w_rows, int x_rows>(const auto& at, std::int64_t m) {
    multiply_rows_pairs<layout, w_rows, x_rows>(t, w, lookup, at, m);
  };
  if (factors.nested == nullptr)
    return for_rows(t, w, PlainFactors{factors.values}, begin, end, multiply);
  const NestedConstants& nested = *factors.nested;
  const NestedFactors nested_factors{
      factors.codes, reinterpret_cast<const float*>(nested.map.raw()),
      reinterpret_cast<const float*>(nested.absmax.raw()), nested.offset, begin * w.row_factors()};
  for_rows(t, w, nested_factors, begin, end, multiply);
}

// ---- unaligned matrices: K is not a multiple of 64, or blocks are small -------------------------

/// A chunk gathered from an unaligned matrix: its codes, and a factor for every lane.
struct GatheredChunk {
  std::uint8_t codes[chunk_bytes];
  float factors[16];
};

/// Passes per chunk: if K is not a multiple of 8, the eight values of a lane may span two blocks.
constexpr int gather_passes(std::int64_t k) { return k % 8 == 0 ? 1 : 2; }

/// A chunk of weight row n from `at` on, with the values in the first block of each lane (pass 0)
/// or in the second (pass 1), and zeros for the others.
inline GatheredChunk gather_chunk(const FourBitMatrix& w, const float* absmax, std::int64_t n,
                                  std::int64_t at, int pass) {
  const std::int64_t row = n * w.k;
  const int zero = static_cast<int>(std::find(w.table, w.table + 16, 0.0f) - w.table);
  GatheredChunk out{};
  for (int i = 0; i < chunk; i += 8) {
    const std::int64_t block = (row + at + i) / w.blocksize + pass;
    const std::int64_t begin = block * w.blocksize - row;
    const std::int64_t end = std::min(begin + w.blocksize, w.k);
    for (int j = i; j < i + 8; ++j) {
      const bool in_block = at + j >= begin && at + j < end;
      const int code = in_block ? code_at(w.codes, row + at + j) : zero;
      out.codes[j / 2] = static_cast<std::uint8_t>(out.codes[j / 2] << 4 | code);
      if (in_block) out.factors[i / 8] = absmax[block - row / w.blocksize];
    }
  }
  return out;
}

/// Weight row n, gathered in `row`, times rows [m, m + x_rows) of x.
template <Layout layout, int x_rows>
inline void multiply_gathered_row(const LinearArgs& t, const GatheredChunk* row,
                                  const PairLookup& lookup, std::int64_t n, std::int64_t m) {
  constexpr int groups = 16 / Lanes::width, vectors = chunk_vectors(layout);
  const std::int64_t chunks = ceil_div(t.k, chunk), stride = chunks * vectors * 16;
  Lanes totals[1][x_rows][groups];
  for (auto& total : totals[0])
    for (auto& lanes : total) lanes = Lanes::zero();
  for (std::int64_t i = 0; i < chunks * gather_passes(t.k); ++i, ++row) {
    const float* x = t.x + m * stride + i / gather_passes(t.k) * vectors * 16;
    for (int g = 0; g < groups; ++g) {
      Lanes pairs[chunk_steps];
      lookup.pairs(row->codes + g * (chunk_bytes / groups), pairs);
      const Lanes factor = Lanes::load(row->factors + g * Lanes::width);
      for (int c = 0; c < x_rows; ++c)
        totals[0][c][g] =
            Lanes::fma(multiply_chunk<layout>(x + c * stride + g * Lanes::width, pairs), factor,
                       totals[0][c][g]);
    }
  }
  finish_rows(t, totals, n, 0, m);
}

/// Weight rows [begin, end) of any matrix times all rows of x.
template <Layout layout>
inline void multiply_any(const LinearArgs& t, const FourBitMatrix& w, const float* absmax,
                         float* scratch, std::int64_t begin, std::int64_t end) {
  const PairLookup lookup(w.table);
  auto* const row = reinterpret_cast<GatheredChunk*>(scratch);
  const std::int64_t first_block = begin * w.k / w.blocksize;
  const int passes = gather_passes(w.k);
  for (std::int64_t n = begin; n < end; ++n) {
    const float* row_absmax = absmax + (n * w.k / w.blocksize - first_block);
    for (std::int64_t i = 0; i < ceil_div(w.k, chunk) * passes; ++i)
      row[i] = gather_chunk(w, row_absmax, n, i / passes * chunk, static_cast<int>(i % passes));
    std::int64_t m = 0;
    for (; m + 3 <= t.m; m += 3) multiply_gathered_row<layout, 3>(t, row, lookup, n, m);
    for (; m < t.m; ++m) multiply_gathered_row<layout, 1>(t, row, lookup, n, m);
  }
}
