// The bf16 order for 3 to 128 rows of x, where registers hold a block of bf16 weights: it is transposed
// on its way from memory and multiplied by all rows of x before the next one. The GEMV transposes
// again for every few rows of x; the GEMM writes what it has transposed and reads it back.
//
//   for sixteen weight rows       total = 0                           [M] vectors
//     for each block of K         w = sixteen vectors, transposed     from memory
//       for four rows of x        total = total + (e + o)             e, o: 2 x 4 vectors
//
// Parallel over n. Bound: bytes of w up to about 12 rows, then the product peak.

/// Registers for sixteen weights, two chains of four sums, and an input: with fewer, weights would be
/// read from memory for every product.
inline constexpr bool blocks_in_registers = Lanes::width == 16 && Lanes::both_chains;
inline constexpr std::int64_t block_x_rows = 4, blocks_rows_max = 128;

/// A block of weight rows times x_rows rows of a tile of x; adds to their totals.
template <Layout layout, int x_rows>
IDEFICS_CPU_INLINE void multiply_block(const Lanes (&w)[block_dwords], const float* x,
                                       float* totals) {
  constexpr int tile = Lanes::chain_x_rows;
  Lanes even[x_rows], odd[x_rows];
  IDEFICS_CPU_UNROLL
  for (int c = 0; c < x_rows; ++c) even[c] = odd[c] = Lanes::zero();
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < block_dwords; ++i) {
    IDEFICS_CPU_UNROLL
    for (int c = 0; c < x_rows; ++c) {
      // an address unknown to the compiler, which would read all inputs early and spill them
      __asm__("" : "+r"(x));
      if constexpr (layout == Layout::paired) {
        Lanes& chain = i % 2 == 0 ? even[c] : odd[c];
        chain = product<true>(Lanes::set(x[i * tile + c]), w[i], chain);
      } else {
        even[c] = Lanes::fma(Lanes::set(x[2 * i * tile + c]), w[i].even_bf16(), even[c]);
        odd[c] = Lanes::fma(Lanes::set(x[(2 * i + 1) * tile + c]), w[i].odd_bf16(), odd[c]);
      }
    }
  }
  IDEFICS_CPU_UNROLL
  for (int c = 0; c < x_rows; ++c, totals += Lanes::width)
    (Lanes::load(totals) + (even[c] + odd[c])).store(totals);
}

/// Sixteen weight rows from n on, of which `rows` exist, times all rows of x: totals [M,16]. Prefetches
/// half a kilobyte ahead, to L2: lines of rows whose distance is a power of two share a set of L1.
template <Layout layout>
inline void multiply_blocks_of_rows(const LinearArgs& t, std::int64_t n, std::int64_t rows,
                                    float* totals) {
  constexpr std::int64_t tile = Lanes::chain_x_rows, ahead = 256;
  const std::int64_t k_end = round_up(t.k, block_values), row_bytes = t.k * 2;
  for (std::int64_t k = 0; k < k_end; k += block_values) {
    const std::byte* p = t.weight + n * row_bytes + k * 2;
    const std::byte* next = p + ahead * 2 + (k + ahead < t.k ? 0 : (Lanes::width - 1) * row_bytes);
    IDEFICS_CPU_UNROLL
    for (int r = 0; r < Lanes::width; ++r) __builtin_prefetch(next + r * row_bytes, 0, 2);
    std::int64_t apart = row_bytes;
    std::byte copy[Lanes::width * block_values * 2];
    if (rows < Lanes::width || t.k - k < block_values) {
      copy_rows<bf16_t>(copy, Lanes::width, block_values, p, row_bytes, rows,
                        std::min(block_values, t.k - k));
      p = copy, apart = block_values * 2;
    }
    Lanes w[block_dwords];
    Lanes::template transposed<layout == Layout::paired>(p, apart, Lanes::width / 2 * apart, w);
    const float* x = t.x + packed_floats(layout, k) * tile;
    for (std::int64_t i = 0; i < t.m; i += tile, x += packed_floats(layout, k_end) * tile)
      for_rows_of_x<block_x_rows>(i, std::min(i + tile, t.m), [&]<int x_rows>(std::int64_t m) {
        multiply_block<layout, x_rows>(w, x + m - i, totals + m * Lanes::width);
      });
  }
}

template <Layout layout>
inline void multiply_in_blocks(const LinearArgs& t, std::int64_t n_begin, std::int64_t n_end) {
  constexpr std::int64_t width = Lanes::width;
  for (std::int64_t n = n_begin; n < n_end; n += width) {
    const std::int64_t rows = std::min(width, n_end - n);
    alignas(64) float totals[blocks_rows_max * width];
    std::fill_n(totals, t.m * width, 0.0f);
    multiply_blocks_of_rows<layout>(t, n, rows, totals);
    for (std::int64_t m = 0; m < t.m; ++m) store_outputs(t, totals + m * width, m, n, rows);
  }
}

template <Layout layout, class T>
inline void gemm_bf16(const LinearArgs& t, std::int64_t n_begin, std::int64_t n_end,
                      float* scratch) {
  if constexpr (blocks_in_registers && std::is_same_v<T, bf16_t>)
    if (t.m <= blocks_rows_max) return multiply_in_blocks<layout>(t, n_begin, n_end);
  gemm_panels<layout>(t, pack_vector<layout, T>, sizeof(T), n_begin, n_end, scratch);
}

template <Layout layout>
constexpr LinearKernels linear_bf16_kernels() {
  return {layout,
          Lanes::chain_x_rows,
          Lanes::chain_w_vectors * Lanes::width,
          pack_bf16_rows<layout>,
          pack_bf16_tiles<layout>,
          2,  // rows of x for which transposing again is cheapest
          {nullptr, nullptr, gemv_bf16<layout>},
          {gemm_bf16<layout, float>, gemm_bf16<layout, f16_t>, gemm_bf16<layout, bf16_t>}};
}
