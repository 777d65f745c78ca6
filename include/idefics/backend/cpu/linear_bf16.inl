// The bf16 order of linear layers: x and w are rounded to bf16, and of every 32 values of K
//
//   e = o = 0;   e = fma(x, w, e) over even k, o = fma(x, w, o) over odd k;   sum = sum + (e + o)
//
// without subnormal numbers, which is what `tdpbf16ps` computes (docs/determinism.md). A chain
// cannot be divided among lanes, so the lanes are weight rows, which are transposed in registers on
// their way from memory. `vdpbf16ps` does two steps of one chain if its pair is k and k + 2.
// Parallel over n. Bound: bytes of w (GEMV), product peak (GEMM).

/// A block is sixteen vectors of weights. A lane holds an even k in its lower half and the odd one
/// after it in its upper half; paired, vectors alternate between even and odd k, each with the first
/// of two in the upper half and the second in the lower.
inline constexpr int block_dwords = 16;

/// Packs `count` values of a block of x; packed floats are `stride` apart.
template <Layout layout>
inline void pack_block(float* packed, std::int64_t stride, const float* x, std::int64_t count) {
  std::uint16_t values[block_values];
  for (std::int64_t i = 0; i < block_values; i += 16) {
    const std::int64_t rest = std::clamp<std::int64_t>(count - i, 0, 16);
    (rest == 16 ? F32x16::load(x + i) : load_part(x + i, rest)).store_bf16(values + i);
  }
  constexpr int per_four = layout == Layout::paired ? 2 : 4;
  for (int i = 0; i < block_values; i += 4, packed += per_four * stride) {
    std::uint32_t bits[4];
    if constexpr (layout == Layout::paired) {
      bits[0] = std::uint32_t{values[i]} << 16 | values[i + 2];
      bits[1] = std::uint32_t{values[i + 1]} << 16 | values[i + 3];
    } else {
      for (int j = 0; j < 4; ++j) bits[j] = std::uint32_t{values[i + j]} << 16;
    }
    for (int j = 0; j < per_four; ++j) std::memcpy(packed + j * stride, bits + j, 4);
  }
}

/// Rounds `count` values of each of `rows` weight rows to bf16; with zeros, these are rows_end rows of
/// `row_values`.
template <class T>
inline void copy_rows(std::byte* copy, std::int64_t rows_end, std::int64_t row_values,
                      const std::byte* p, std::int64_t row_bytes, std::int64_t rows,
                      std::int64_t count) {
  std::memset(copy, 0, static_cast<std::size_t>(rows_end * row_values * 2));
  for (std::int64_t r = 0; r < rows; ++r, p += row_bytes, copy += row_values * 2) {
    if constexpr (std::is_same_v<T, bf16_t>) {
      std::memcpy(copy, p, static_cast<std::size_t>(count * 2));
    } else {
      constexpr auto size = static_cast<std::int64_t>(sizeof(T));
      for (std::int64_t i = 0; i < count; i += 16)
        (i + 16 <= count ? load_as_f32<T>(p + i * size) : load_tail<T>(p + i * size, count - i))
            .store_bf16(copy + 2 * i);
    }
  }
}

// ---- few rows of x (GEMV) -----------------------------------------------------------------------
//
// A vector has two neighbouring blocks, one in each half, of half as many weight rows: rows whose
// distance is a power of two share sets of the L1 cache, which has room for a line of eight.

inline constexpr std::int64_t gemv_w_rows = Lanes::width / 2, gemv_values = 2 * block_values;

/// Packs rows [begin, end) of x for few rows, each contiguous.
template <Layout layout>
inline void pack_bf16_rows(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                           std::int64_t, std::int64_t k) {
  const std::int64_t padded = round_up(k, gemv_values), size = packed_floats(layout, padded);
  for (std::int64_t m = begin; m < end; ++m)
    for (std::int64_t at = 0; at < padded; at += block_values)
      pack_block<layout>(packed + m * size + packed_floats(layout, at), 1, x + m * k + at, k - at);
}

/// e + o of two blocks, which are in the halves of the lanes, for x_rows rows of x.
template <Layout layout, int x_rows>
IDEFICS_CPU_INLINE void multiply_blocks(const Lanes (&w)[16], const float* x, std::int64_t stride,
                                        Lanes (&parts)[x_rows]) {
  Lanes odd[x_rows];
  IDEFICS_CPU_UNROLL
  for (int c = 0; c < x_rows; ++c) parts[c] = odd[c] = Lanes::zero();
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < block_dwords; ++i) {
    if constexpr (layout == Layout::paired) {
      IDEFICS_CPU_UNROLL
      for (int c = 0; c < x_rows; ++c) {
        const float* at = x + c * stride + i;
        Lanes& chain = i % 2 == 0 ? parts[c] : odd[c];
        chain = product<true>(Lanes::halves(at, at + 16), w[i], chain);
      }
    } else {
      const Lanes first = w[i].even_bf16(), second = w[i].odd_bf16();
      IDEFICS_CPU_UNROLL
      for (int c = 0; c < x_rows; ++c) {
        const float* at = x + c * stride + 2 * i;
        parts[c] = Lanes::fma(Lanes::halves(at, at + 32), first, parts[c]);
        odd[c] = Lanes::fma(Lanes::halves(at + 1, at + 33), second, odd[c]);
      }
    }
  }
  IDEFICS_CPU_UNROLL
  for (int c = 0; c < x_rows; ++c) parts[c] = parts[c] + odd[c];
}

/// Values [k, k_end) of gemv_w_rows weight rows from n on, of which `rows` exist, times x_rows rows of
/// x; adds to `totals`, of which the lower half counts. Prefetches a kilobyte ahead, where the next
/// rows begin after the end of these.
template <Layout layout, int x_rows>
IDEFICS_CPU_OUTLINE inline void multiply_rows(const LinearArgs& t, const float* x, float* totals,
                                              std::int64_t n, std::int64_t rows, std::int64_t k,
                                              std::int64_t k_end, bool prefetch) {
  const std::int64_t row_bytes = t.k * 2;
  const std::int64_t stride = packed_floats(layout, round_up(t.k, gemv_values));
  Lanes total[x_rows];
  IDEFICS_CPU_UNROLL
  for (int c = 0; c < x_rows; ++c) total[c] = Lanes::load(totals + c * Lanes::width);
  for (; k < k_end; k += gemv_values) {
    const std::byte* p = t.weight + n * row_bytes + k * 2;
    std::int64_t apart = row_bytes, upper = 64;
    if (prefetch) {
      const std::byte* ahead = p + 1024 + (k + 512 < t.k ? 0 : (gemv_w_rows - 1) * row_bytes);
      IDEFICS_CPU_UNROLL
      for (int r = 0; r < gemv_w_rows; ++r) {
        __builtin_prefetch(ahead + r * row_bytes);
        __builtin_prefetch(ahead + r * row_bytes + 64);
      }
    }
    std::byte copy[gemv_w_rows * gemv_values * 2];
    if (rows < gemv_w_rows || t.k - k < gemv_values) {
      copy_rows<bf16_t>(copy, gemv_w_rows, gemv_values, p, row_bytes, rows,
                        std::min(gemv_values, t.k - k));
      p = copy, apart = gemv_values * 2;
    }
    Lanes w[16], parts[x_rows];
    Lanes::template transposed<layout == Layout::paired>(p, apart, upper, w);
    multiply_blocks<layout>(w, x + packed_floats(layout, k), stride, parts);
    IDEFICS_CPU_UNROLL
    for (int c = 0; c < x_rows; ++c) total[c] = total[c] + parts[c];
    if (t.k - k <= block_values) break;
    IDEFICS_CPU_UNROLL
    for (int c = 0; c < x_rows; ++c) total[c] = total[c] + parts[c].upper_half();
  }
  IDEFICS_CPU_UNROLL
  for (int c = 0; c < x_rows; ++c) total[c].store(totals + c * Lanes::width);
}

template <Layout layout>
inline void gemv_bf16(const LinearArgs& t, std::int64_t n_begin, std::int64_t n_end) {
  const std::int64_t stride = packed_floats(layout, round_up(t.k, gemv_values));
  for (std::int64_t n = n_begin; n < n_end; n += gemv_w_rows) {
    const std::int64_t rows = std::min(gemv_w_rows, n_end - n);
    float totals[gemv_rows_max * Lanes::width] = {};
    for (std::int64_t k = 0; k < t.k; k += gemv_piece)
      for_rows_of_x<Lanes::gemv_chain_rows>(0, t.m, [&]<int x_rows>(std::int64_t m) {
        multiply_rows<layout, x_rows>(t, t.x + m * stride, totals + m * Lanes::width, n, rows, k,
                                      std::min(k + gemv_piece, t.k), m == 0);
      });
    for (std::int64_t m = 0; m < t.m; ++m)
      for (std::int64_t r = 0; r < rows; ++r)
        t.out[m * t.n + n + r] = totals[m * Lanes::width + r] + t.bias_of(n + r);
  }
}

// ---- many rows of x (GEMM): weight rows are transposed once, then multiplied from cache ---------
//
// A panel has Lanes::chain_w_vectors vectors of weight rows and a piece of K; its vectors follow
// each other in the order of K.

/// Packs tiles [begin, end) of x: the rows of a tile alternate.
template <Layout layout>
inline void pack_bf16_tiles(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                            std::int64_t m, std::int64_t k) {
  constexpr std::int64_t tile = Lanes::chain_x_rows;
  for (std::int64_t row = begin * tile; row < std::min(end * tile, m); ++row) {
    float* to = packed + row / tile * tile * packed_floats(layout, k) + row % tile;
    for (std::int64_t at = 0; at < k; at += block_values)
      pack_block<layout>(to + packed_floats(layout, at) * tile, tile, x + row * k + at, k - at);
  }
}

/// Packs values [k, k_end) of a vector of weight rows from n on, of which `rows` exist.
template <Layout layout, class T>
inline void pack_vector(float* to, const LinearArgs& t, std::int64_t n, std::int64_t rows,
                        std::int64_t k, std::int64_t k_end) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(T));
  constexpr int stride = Lanes::chain_w_vectors * Lanes::width;
  for (; k < k_end; k += block_values) {
    const std::byte* p = t.weight + (n * t.k + k) * size;
    std::int64_t apart = t.k * size;
    std::byte copy[Lanes::width * block_values * 2];
    if (!std::is_same_v<T, bf16_t> || rows < Lanes::width || t.k - k < block_values) {
      copy_rows<T>(copy, Lanes::width, block_values, p, apart, rows,
                   std::min(block_values, t.k - k));
      p = copy, apart = block_values * 2;
    }
    Lanes w[16];
    Lanes::template transposed<layout == Layout::paired>(p, apart, Lanes::width / 2 * apart, w);
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < block_dwords; ++i) {
      if constexpr (layout == Layout::paired) {
        w[i].store(to), to += stride;
      } else {
        w[i].even_bf16().store(to);
        w[i].odd_bf16().store(to + stride), to += 2 * stride;
      }
    }
  }
}

template <int x_rows, int vectors>
IDEFICS_CPU_INLINE void clear(Lanes (&acc)[x_rows][vectors]) {
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < x_rows * vectors; ++i) acc[i / vectors][i % vectors] = Lanes::zero();
}

/// One step of a chain for x_rows rows of a tile of x times a panel.
template <Layout layout, int x_rows, int vectors>
IDEFICS_CPU_INLINE void add_step(Lanes (&acc)[x_rows][vectors], const float* x, const float* w) {
  Lanes weights[vectors];
  IDEFICS_CPU_UNROLL
  for (int j = 0; j < vectors; ++j) weights[j] = Lanes::load(w + j * Lanes::width);
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < x_rows; ++i) {
    const Lanes input = Lanes::set(x[i]);
    IDEFICS_CPU_UNROLL
    for (int j = 0; j < vectors; ++j)
      acc[i][j] = product<layout == Layout::paired>(input, weights[j], acc[i][j]);
  }
}

/// Adds blocks of K to the sums of x_rows rows of a tile of x times a panel. With registers for one
/// chain only, the even one waits in memory. Not inlined: compilers would not keep its sums in
/// registers.
template <Layout layout, int x_rows>
IDEFICS_CPU_OUTLINE inline void multiply_panel(float* sums, const float* x, const float* w,
                                               std::int64_t blocks) {
  constexpr int vectors = Lanes::chain_w_vectors, width = Lanes::width, lanes = block_lanes(layout);
  constexpr int x_step = Lanes::chain_x_rows, w_step = vectors * width;
  alignas(64) float waiting[Lanes::both_chains ? 1 : x_rows * w_step];
  for (; blocks > 0; --blocks, x += lanes * x_step, w += lanes * w_step) {
    Lanes even[x_rows][vectors], odd[x_rows][vectors];
    clear(even);
    if constexpr (Lanes::both_chains) {
      clear(odd);
      for (int s = 0; s < lanes; s += 2) {
        add_step<layout>(even, x + s * x_step, w + s * w_step);
        add_step<layout>(odd, x + (s + 1) * x_step, w + (s + 1) * w_step);
      }
    } else {
      for (int s = 0; s < lanes; s += 2) add_step<layout>(even, x + s * x_step, w + s * w_step);
      IDEFICS_CPU_UNROLL
      for (int i = 0; i < x_rows * vectors; ++i)
        even[i / vectors][i % vectors].store(waiting + i * width);
      clear(odd);
      for (int s = 1; s < lanes; s += 2) add_step<layout>(odd, x + s * x_step, w + s * w_step);
    }
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < x_rows * vectors; ++i) {
      const Lanes e =
          Lanes::both_chains ? even[i / vectors][i % vectors] : Lanes::load(waiting + i * width);
      (Lanes::load(sums + i * width) + (e + odd[i / vectors][i % vectors])).store(sums + i * width);
    }
  }
}

/// Asks for share i of `shares` of the lines of a piece of some weight rows, between products.
inline void prefetch_share(const std::byte* first, std::int64_t row_bytes, std::int64_t rows,
                           std::int64_t lines, std::int64_t i, std::int64_t shares) {
  for (std::int64_t line = i * rows * lines / shares; line < (i + 1) * rows * lines / shares;
       ++line)
    __builtin_prefetch(first + line / lines * row_bytes + line % lines * 64, 0, 2);
}

/// Weight rows [n_begin, n_end) times all tiles of x; `pack` is pack_vector for T of `size` bytes.
/// Scratch: a piece of all panels, then all sums.
template <Layout layout>
inline void gemm_panels(const LinearArgs& t, decltype(&pack_vector<layout, float>) pack,
                        std::int64_t size, std::int64_t n_begin, std::int64_t n_end,
                        float* scratch) {
  constexpr std::int64_t tile = Lanes::chain_x_rows, width = Lanes::width,
                         vectors = Lanes::chain_w_vectors, w_rows = vectors * width,
                         piece = panel_values;
  constexpr int rows = Lanes::both_chains ? tile / 2 : tile;
  const std::int64_t k_end = round_up(t.k, block_values);
  const std::int64_t panels = ceil_div(n_end - n_begin, w_rows), row_bytes = t.k * size;
  float* const sums = scratch + panels * w_rows * packed_floats(layout, std::min(piece, k_end));
  std::fill_n(sums, panels * w_rows * t.m, 0.0f);
  for (std::int64_t k = 0; k < k_end; k += piece) {
    const std::int64_t end = std::min(k + piece, k_end), floats = packed_floats(layout, end - k);
    for (std::int64_t v = 0; v < panels * vectors; ++v) {
      const std::int64_t n = std::min(n_begin + v * width, n_end);
      pack(scratch + v / vectors * w_rows * floats + v % vectors * width, t, n,
           std::min(n_end - n, width), k, end);
    }
    const std::int64_t lines = ceil_div(std::clamp<std::int64_t>(t.k - end, 0, piece) * size, 64);
    for (std::int64_t i = 0; i < t.m; i += tile) {
      const float* x = t.x + i * packed_floats(layout, k_end) + packed_floats(layout, k) * tile;
      for_rows_of_x<rows>(i, std::min(i + tile, t.m), [&]<int x_rows>(std::int64_t m) {
        for (std::int64_t j = 0; j < panels; ++j)
          multiply_panel<layout, x_rows>(sums + (j * t.m + m) * w_rows, x + m - i,
                                         scratch + j * w_rows * floats, (end - k) / block_values);
      });
      prefetch_share(t.weight + n_begin * row_bytes + end * size, row_bytes, n_end - n_begin, lines,
                     i / tile, ceil_div(t.m, tile));
    }
  }
  store_panels(t, sums, n_begin, n_end);
}
