// Sixteen f32 lanes as one 512-bit register. f32x16_scalar.inl defines the operations.

/// The lanes of one register, the unit of the GEMV and GEMM: here, all sixteen.
struct Lanes {
  static constexpr int width = 16;
  // 4 bits, bf16 order: 12 sums, 12 totals, 3 weights, 1 input: 28 registers
  static constexpr int tile_x_rows = 4, tile_w_rows = 6;
  // 4 x 4 sums, 4 inputs, 1 weight: 21 registers
  static constexpr int gemv_x_rows = 4;
  static constexpr int code_streams = 4;
  // 4 x 4 sums, 4 queries, 1 key: 21 registers; 4 x 6 sums, 6 values, 1 weight: 31
  static constexpr int score_queries = 4, value_vectors = 6;
  // 8 x 3 sums, 3 weights, 1 input: 28; bf16 order: 4 x 2 sums next to 16 weights
  static constexpr int chain_x_rows = 8, chain_w_vectors = 3, gemv_chain_rows = 4;
  static constexpr bool both_chains = true;  // 4 x 3 sums of both chains of the bf16 order: 28
  __m512 v;

  static IDEFICS_CPU_INLINE Lanes zero() { return {_mm512_setzero_ps()}; }
  static IDEFICS_CPU_INLINE Lanes set(float x) { return {_mm512_set1_ps(x)}; }
  static IDEFICS_CPU_INLINE Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static IDEFICS_CPU_INLINE Lanes load_f16(const void* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
  }
  static IDEFICS_CPU_INLINE Lanes load_bf16(const void* p) {
    const __m256i half = _mm256_loadu_si256(static_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
  }
  /// Elements 1, 3, 5, … of 16 bf16 pairs; even_bf16() gives elements 0, 2, 4, …
  IDEFICS_CPU_INLINE Lanes odd_bf16() const {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), upper))};
  }
  IDEFICS_CPU_INLINE Lanes even_bf16() const {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 16))};
  }
  static IDEFICS_CPU_INLINE Lanes set_halves(float a, float b, int) {
    return {_mm512_mask_blend_ps(0xff00, _mm512_set1_ps(a), _mm512_set1_ps(b))};
  }
  static IDEFICS_CPU_INLINE Lanes multiply_then_add(Lanes a, Lanes b, Lanes c) {
    return {_mm512_add_ps(Lanes{_mm512_mul_ps(a.v, b.v)}.held().v, c.v)};
  }
  /// Sixteen dwords of each of eight rows, `stride` bytes apart, and of eight more that begin `upper`
  /// bytes after: vector i has dword i of all rows, one per lane. With `pairs`, four bf16 k … k + 3
  /// first become the pairs k + 2, k and k + 3, k + 1. Both halves of a line are read together.
  template <bool pairs>
  static IDEFICS_CPU_INLINE void transposed(const std::byte* p, std::int64_t stride,
                                            std::int64_t upper, Lanes (&rows)[16]) {
    __m512i r[2][8];  // rows i and i + 8
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < 16; ++i) {
      const std::byte* from = p + i / 2 * stride + i % 2 * 32;
      __m512i& two = r[i % 2][i / 2];
      two = _mm512_inserti64x4(_mm512_castsi256_si512(half_at(from)), half_at(from + upper), 1);
      if constexpr (pairs) two = _mm512_shuffle_epi8(two, _mm512_loadu_si512(pair_order));
    }
    transpose(r[0], rows);
    transpose(r[1], rows + 8);
  }
  /// *a in the lower half of the lanes, *b in the upper.
  static IDEFICS_CPU_INLINE Lanes halves(const float* a, const float* b) {
    return {_mm512_mask_broadcastss_ps(_mm512_set1_ps(*a), 0xff00, _mm_load_ss(b))};
  }
  /// The upper half of the lanes in the lower half.
  IDEFICS_CPU_INLINE Lanes upper_half() const { return {_mm512_shuffle_f32x4(v, v, 0xee)}; }
  IDEFICS_CPU_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  static IDEFICS_CPU_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
  }
  IDEFICS_CPU_INLINE Lanes operator+(Lanes b) const { return {_mm512_add_ps(v, b.v)}; }
  IDEFICS_CPU_INLINE Lanes held() const {
    __m512 x = v;
    __asm__("" : "+v"(x));
    return {x};
  }
#if IDEFICS_CPU_BF16_PRODUCTS
  /// c + a.odd * b.odd, then + a.even * b.even, each a fused multiply-add with FTZ and DAZ.
  static IDEFICS_CPU_INLINE Lanes fma_pairs(Lanes a, Lanes b, Lanes c) {
    return {
        _mm512_dpbf16_ps(c.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v))};
  }
#endif

 private:
  static constexpr std::uint8_t pair_order[64] = {
      4, 5, 0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11,  //
      4, 5, 0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11,  //
      4, 5, 0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11,  //
      4, 5, 0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11};
  static constexpr std::int64_t first_dwords[8] = {0, 1, 8, 9, 4, 5, 12, 13};
  static constexpr std::int64_t second_dwords[8] = {2, 3, 10, 11, 6, 7, 14, 15};

  static IDEFICS_CPU_INLINE __m256i half_at(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static IDEFICS_CPU_INLINE void transpose(const __m512i (&r)[8], Lanes* rows) {
    __m512i s[8];
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < 8; i += 2) {
      s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
      s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < 4; ++i) {  // dwords i and i + 4 of rows 0-3 and 8-11, 4-7 and 12-15
      const int at = i / 2;
      const __m512i low = i % 2 == 0 ? _mm512_unpacklo_epi64(s[at], s[at + 2])
                                     : _mm512_unpackhi_epi64(s[at], s[at + 2]);
      const __m512i high = i % 2 == 0 ? _mm512_unpacklo_epi64(s[at + 4], s[at + 6])
                                      : _mm512_unpackhi_epi64(s[at + 4], s[at + 6]);
      rows[i] = joined(low, high, first_dwords);
      rows[i + 4] = joined(low, high, second_dwords);
    }
  }
  static IDEFICS_CPU_INLINE Lanes joined(__m512i a, __m512i b, const std::int64_t (&order)[8]) {
    return {_mm512_castsi512_ps(_mm512_permutex2var_epi64(a, _mm512_loadu_si512(order), b))};
  }
};

struct F32x16 {
  static constexpr int width = 16;
  __m512 v;

  static IDEFICS_CPU_INLINE F32x16 zero() { return {_mm512_setzero_ps()}; }
  static IDEFICS_CPU_INLINE F32x16 set(float x) { return {_mm512_set1_ps(x)}; }
  static IDEFICS_CPU_INLINE F32x16 load(const void* p) { return {_mm512_loadu_ps(p)}; }
  IDEFICS_CPU_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  IDEFICS_CPU_INLINE void store_f16(void* p) const {
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  IDEFICS_CPU_INLINE void store_bf16(void* p) const {
    const __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, up), 16);
    const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    _mm256_storeu_si256(static_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(nan, rounded, quiet)));
  }

  static IDEFICS_CPU_INLINE F32x16 load_f16(const void* p) { return {Lanes::load_f16(p).v}; }
  static IDEFICS_CPU_INLINE F32x16 load_bf16(const void* p) { return {Lanes::load_bf16(p).v}; }
  static IDEFICS_CPU_INLINE F32x16 load_bf16_even(const void* p) {
    return {Lanes{load(p).v}.even_bf16().v};
  }
  static IDEFICS_CPU_INLINE F32x16 load_bf16_odd(const void* p) {
    return {Lanes{load(p).v}.odd_bf16().v};
  }

  static IDEFICS_CPU_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
  }
  IDEFICS_CPU_INLINE F32x16 operator+(F32x16 b) const { return {_mm512_add_ps(v, b.v)}; }
  IDEFICS_CPU_INLINE F32x16 operator-(F32x16 b) const { return {_mm512_sub_ps(v, b.v)}; }
  IDEFICS_CPU_INLINE F32x16 operator*(F32x16 b) const { return {pinned(_mm512_mul_ps(v, b.v))}; }
  IDEFICS_CPU_INLINE F32x16 operator/(F32x16 b) const { return {_mm512_div_ps(v, b.v)}; }
  IDEFICS_CPU_INLINE F32x16 operator-() const { return {_mm512_xor_ps(v, _mm512_set1_ps(-0.0f))}; }
  IDEFICS_CPU_INLINE F32x16 abs() const { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), v)}; }
  IDEFICS_CPU_INLINE F32x16 with_sign_of(F32x16 from) const {
    return {_mm512_or_ps(v, _mm512_and_ps(_mm512_set1_ps(-0.0f), from.v))};
  }
  static IDEFICS_CPU_INLINE F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
  static IDEFICS_CPU_INLINE F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
  static IDEFICS_CPU_INLINE F32x16 where_less(F32x16 a, F32x16 b, F32x16 yes, F32x16 no) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
  }
  IDEFICS_CPU_INLINE F32x16 times_power_of_two(F32x16 shifted) const {
    const __m512 n = _mm512_sub_ps(shifted.v, _mm512_set1_ps(0x1.8p23f));
    return {pinned(_mm512_scalef_ps(v, n))};
  }

  IDEFICS_CPU_INLINE float sum() const {
    const __m128 four = four_lanes(*this);
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static IDEFICS_CPU_INLINE void sum4(const F32x16 (&a)[4], float* out) {
    const __m128 s0 = four_lanes(a[0]), s1 = four_lanes(a[1]);
    const __m128 s2 = four_lanes(a[2]), s3 = four_lanes(a[3]);
    const __m128 p = _mm_add_ps(_mm_movelh_ps(s0, s1), _mm_movehl_ps(s1, s0));  // 0 0 1 1
    const __m128 q = _mm_add_ps(_mm_movelh_ps(s2, s3), _mm_movehl_ps(s3, s2));  // 2 2 3 3
    _mm_storeu_ps(out, _mm_add_ps(_mm_shuffle_ps(p, q, _MM_SHUFFLE(2, 0, 2, 0)),
                                  _mm_shuffle_ps(p, q, _MM_SHUFFLE(3, 1, 3, 1))));
  }
  template <int rows>
  static IDEFICS_CPU_INLINE void sum4(const F32x16 (&a)[rows][4], float* out, std::int64_t stride) {
    static_assert(rows == 4);
    __m512 column[4];  // column[j]: four lanes of each row
    IDEFICS_CPU_UNROLL_TILE
    for (int j = 0; j < 4; ++j) {
      const __m512 p = eight_lanes(a[0][j].v, a[1][j].v), q = eight_lanes(a[2][j].v, a[3][j].v);
      column[j] = _mm512_add_ps(_mm512_shuffle_f32x4(p, q, _MM_SHUFFLE(2, 0, 2, 0)),
                                _mm512_shuffle_f32x4(p, q, _MM_SHUFFLE(3, 1, 3, 1)));
    }
    const __m512 p = two_lanes(column[0], column[1]), q = two_lanes(column[2], column[3]);
    const __m512 sums = _mm512_add_ps(_mm512_shuffle_ps(p, q, _MM_SHUFFLE(2, 0, 2, 0)),
                                      _mm512_shuffle_ps(p, q, _MM_SHUFFLE(3, 1, 3, 1)));
    _mm_storeu_ps(out, _mm512_castps512_ps128(sums));
    _mm_storeu_ps(out + stride, _mm512_extractf32x4_ps(sums, 1));
    _mm_storeu_ps(out + 2 * stride, _mm512_extractf32x4_ps(sums, 2));
    _mm_storeu_ps(out + 3 * stride, _mm512_extractf32x4_ps(sums, 3));
  }
  IDEFICS_CPU_INLINE float max_lane() const { return _mm512_reduce_max_ps(v); }

  IDEFICS_CPU_INLINE F32x16 held() const { return {pinned(v)}; }
  IDEFICS_CPU_INLINE Lanes group(int) const { return {v}; }
  static IDEFICS_CPU_INLINE F32x16 join(const F32x16* groups) { return groups[0]; }
  static IDEFICS_CPU_INLINE F32x16 join(const Lanes* groups) { return {groups[0].v}; }

 private:
  static IDEFICS_CPU_INLINE __m512 pinned(__m512 x) {
    __asm__("" : "+v"(x));
    return x;
  }
  /// The lower and upper halves of a, added, and those of b.
  static IDEFICS_CPU_INLINE __m512 eight_lanes(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, _MM_SHUFFLE(1, 0, 1, 0)),
                         _mm512_shuffle_f32x4(a, b, _MM_SHUFFLE(3, 2, 3, 2)));
  }
  /// The same within each four lanes.
  static IDEFICS_CPU_INLINE __m512 two_lanes(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0)),
                         _mm512_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2)));
  }
  static IDEFICS_CPU_INLINE __m128 four_lanes(F32x16 a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  }
};
