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

// ---- many rows of x (GEMM): one pass over all of K for each of the sixteen lanes ----------------
//
// A vector has a value of as many weight rows as a register has lanes. A packed tile, of x or of
// the weight, has the sixteen lanes of the order one after the other: of each, its steps k = l,
// l + 16, …, and of each step a value of every row.

/// Sixteen values of each of `rows` rows of T at p, of which `count` exist; with zeros, these are
/// rows_end rows of f32.
template <class T>
inline void copy_values(float* copy, std::int64_t rows_end, const std::byte* p,
                        std::int64_t row_bytes, std::int64_t rows, std::int64_t count) {
  for (std::int64_t r = 0; r < rows_end; ++r, p += row_bytes, copy += 16)
    (r >= rows || count <= 0 ? F32x16::zero()
     : count < 16            ? load_tail<T>(p, count)
                             : load_as_f32<T>(p))
        .store(copy);
}

/// Packs tiles [begin, end) of x. A vector has two steps of all rows.
inline void pack_tiles(float* packed, const float* x, std::int64_t begin, std::int64_t end,
                       std::int64_t m, std::int64_t k) {
  constexpr std::int64_t tile = Lanes::chain_x_rows;
  static_assert(2 * tile == Lanes::width);
  const std::int64_t lane = lane_floats(tile, k);
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t rows = std::min(tile, m - i * tile);
    float* to = packed + i * 16 * lane;
    for (std::int64_t at = 0; at < k; at += 32, to += Lanes::width) {
      const auto* p = reinterpret_cast<const std::byte*>(x + i * tile * k + at);
      std::int64_t apart = 4 * k, upper = 64;
      float copy[2 * tile * 16];
      if (rows < tile || k - at < 32) {
        copy_values<float>(copy, tile, p, apart, rows, k - at);
        copy_values<float>(copy + tile * 16, tile, p + upper, apart, rows, k - at - 16);
        p = reinterpret_cast<const std::byte*>(copy), apart = 64, upper = tile * 64;
      }
      Lanes steps[16];
      Lanes::transposed<false>(p, apart, upper, steps);
      IDEFICS_CPU_UNROLL
      for (int l = 0; l < 16; ++l) steps[l].store(to + l * lane);
    }
  }
}

/// Packs a vector of weight rows from n on, of which `rows` exist.
template <class T>
inline void pack_weights(float* to, const LinearArgs& t, std::int64_t n, std::int64_t rows) {
  constexpr auto size = static_cast<std::int64_t>(sizeof(T));
  constexpr std::int64_t panel = Lanes::chain_w_vectors * Lanes::width;
  const std::int64_t lane = lane_floats(panel, t.k);
  const std::byte* p = t.weight + n * t.k * size;
  for (std::int64_t at = 0; at < t.k; at += 16, p += 16 * size, to += panel) {
    const std::byte* from = p;
    std::int64_t apart = t.k * size;
    float copy[Lanes::width * 16];
    if (!std::is_same_v<T, float> || rows < Lanes::width || t.k - at < 16) {
      copy_values<T>(copy, Lanes::width, p, apart, rows, t.k - at);
      from = reinterpret_cast<const std::byte*>(copy), apart = 64;
    }
    Lanes steps[16];
    Lanes::transposed<false>(from, apart, Lanes::width / 2 * apart, steps);
    IDEFICS_CPU_UNROLL
    for (int l = 0; l < 16; ++l) steps[l].store(to + l * lane);
  }
}

/// The weights that a thread probably needs next: a pass prefetches from `next` on, `bytes` for each
/// step.
struct Ahead {
  const std::byte* next;
  std::int64_t bytes;
};

/// The lane that pass i sums. In this order the tree needs five levels of sums: those of 1, 2, 4, 8
/// and 16 lanes.
inline constexpr int lane_of_pass[16] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};

/// A lane of x_rows rows of a tile of x times that of a panel. Its sums are added to those of the
/// lanes with which the tree joins it; levels of the tree are `level` floats apart. Not inlined:
/// compilers would not keep sums in registers.
template <int x_rows>
IDEFICS_CPU_OUTLINE inline void multiply_lane(float* sums, std::int64_t level, int pass,
                                              const float* x, const float* w, std::int64_t steps,
                                              Ahead ahead) {
  constexpr int vectors = Lanes::chain_w_vectors, width = Lanes::width;
  Lanes acc[x_rows][vectors];
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < x_rows * vectors; ++i) acc[i / vectors][i % vectors] = Lanes::zero();
  for (; steps > 0; --steps, x += Lanes::chain_x_rows, w += vectors * width) {
    __builtin_prefetch(ahead.next, 0, 2);
    ahead.next += ahead.bytes;
    Lanes weights[vectors];
    IDEFICS_CPU_UNROLL
    for (int j = 0; j < vectors; ++j) weights[j] = Lanes::load(w + j * width);
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < x_rows; ++i) {
      const Lanes input = Lanes::set(x[i]);
      IDEFICS_CPU_UNROLL
      for (int j = 0; j < vectors; ++j) acc[i][j] = Lanes::fma(input, weights[j], acc[i][j]);
    }
  }
  for (; pass % 2 == 1; pass /= 2, sums += level) {
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < x_rows * vectors; ++i) {
      Lanes& sum = acc[i / vectors][i % vectors];
      sum = Lanes::load(sums + i * width) + sum;
    }
  }
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < x_rows * vectors; ++i) acc[i / vectors][i % vectors].store(sums + i * width);
}

/// Weight rows [n_begin, n_end) times all tiles of x; `pack` is pack_weights for T of `size` bytes.
/// Scratch: packed weights, then five levels of sums.
inline void gemm_lanes(const LinearArgs& t, decltype(&pack_weights<float>) pack, std::int64_t size,
                       std::int64_t n_begin, std::int64_t n_end, float* scratch) {
  constexpr std::int64_t tile = Lanes::chain_x_rows, width = Lanes::width,
                         vectors = Lanes::chain_w_vectors, panel = vectors * width;
  const std::int64_t panels = ceil_div(n_end - n_begin, panel), steps = ceil_div(t.k, 16);
  const std::int64_t x_lane = lane_floats(tile, t.k), w_lane = lane_floats(panel, t.k);
  for (std::int64_t v = 0; v < panels * vectors; ++v) {
    const std::int64_t n = std::min(n_begin + v * width, n_end);
    pack(scratch + v / vectors * 16 * w_lane + v % vectors * width, t, n,
         std::min(n_end - n, width));
  }
  float* sums = scratch + panels * 16 * w_lane;
  const std::int64_t level = panels * panel * t.m, next = n_begin + t.rows_to_next;
  const std::int64_t bytes = std::min(n_end - n_begin, t.n - next) * t.k * size;
  Ahead ahead{t.weight, 0};
  if (t.rows_to_next > 0 && bytes > 0)
    ahead = {t.weight + next * t.k * size, bytes / (16 * ceil_div(t.m, tile) * panels * steps)};
  for (int pass = 0; pass < 16; ++pass)
    for (std::int64_t j = 0; j < panels; ++j) {
      const int lane = lane_of_pass[pass];
      const float* w = scratch + (j * 16 + lane) * w_lane;
      for (std::int64_t i = 0; i < t.m; i += tile, ahead.next += steps * ahead.bytes) {
        const float* x = t.x + (i / tile * 16 + lane) * x_lane;
        for_rows_of_x<tile>(i, std::min(i + tile, t.m), [&]<int x_rows>(std::int64_t m) {
          multiply_lane<x_rows>(sums + (j * t.m + m) * panel, level, pass, x + m - i, w, steps,
                                ahead);
        });
      }
    }
  store_panels(t, sums + 4 * level, n_begin, n_end);
}

template <class T>
inline void gemm(const LinearArgs& t, std::int64_t n_begin, std::int64_t n_end, float* scratch) {
  gemm_lanes(t, pack_weights<T>, sizeof(T), n_begin, n_end, scratch);
}

inline constexpr LinearKernels linear_f32_kernels = {
    Layout::natural,
    Lanes::chain_x_rows,
    Lanes::chain_w_vectors* Lanes::width,
    pack_rows,
    pack_tiles,
    gemv_rows_max,
    {gemv<float>, gemv<f16_t>, gemv<bf16_t>},
    {gemm<float>, gemm<f16_t>, gemm<bf16_t>},
};
