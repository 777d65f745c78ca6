// Sixteen f32 lanes as two 256-bit registers. f32x16_scalar.inl defines the operations.

/// The lanes of one register, the unit of the GEMV and GEMM: here, eight.
struct Lanes {
  static constexpr int width = 8;
  // 4 bits, bf16 order
  static constexpr int tile_x_rows = 4, tile_w_rows = 3;
  // 4 x 2 sums, 2 inputs, 1 weight; the other registers let iterations overlap
  static constexpr int gemv_x_rows = 2;
  static constexpr int code_streams = 1;
  // 2 x 4 sums, 2 queries, 1 key: 11 registers; 4 x 2 sums, 2 values, 1 weight: 11
  static constexpr int score_queries = 2, value_vectors = 1;
  // 4 x 3 sums, 3 weights, 1 input: 16; bf16 order: 2 x 2 sums next to 8 weights
  static constexpr int chain_x_rows = 4, chain_w_vectors = 3, gemv_chain_rows = 2;
  static constexpr bool both_chains = false;
  __m256 v;

  static IDEFICS_CPU_INLINE Lanes zero() { return {_mm256_setzero_ps()}; }
  static IDEFICS_CPU_INLINE Lanes set(float x) { return {_mm256_set1_ps(x)}; }
  static IDEFICS_CPU_INLINE Lanes load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static IDEFICS_CPU_INLINE Lanes load_f16(const void* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
  }
  static IDEFICS_CPU_INLINE Lanes load_bf16(const void* p) {
    const __m128i half = _mm_loadu_si128(static_cast<const __m128i*>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16))};
  }
  IDEFICS_CPU_INLINE Lanes odd_bf16() const {
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(v), upper))};
  }
  IDEFICS_CPU_INLINE Lanes even_bf16() const {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16))};
  }
  static IDEFICS_CPU_INLINE Lanes set_halves(float a, float b, int group) {
    return set(group == 0 ? a : b);
  }
  static IDEFICS_CPU_INLINE Lanes multiply_then_add(Lanes a, Lanes b, Lanes c) {
    return {_mm256_add_ps(Lanes{_mm256_mul_ps(a.v, b.v)}.held().v, c.v)};
  }
  /// Sixteen dwords of each of four rows, `stride` bytes apart, and of four more that begin `upper`
  /// bytes after: vector i has dword i of all rows.
  template <bool>
  static IDEFICS_CPU_INLINE void transposed(const std::byte* p, std::int64_t stride,
                                            std::int64_t upper, Lanes (&rows)[16]) {
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < 16; i += 4, p += 16) {
      __m256 r[4];  // rows j and j + 4
      IDEFICS_CPU_UNROLL
      for (int j = 0; j < 4; ++j)
        r[j] = _mm256_insertf128_ps(_mm256_castps128_ps256(quarter_at(p + j * stride)),
                                    quarter_at(p + j * stride + upper), 1);
      transpose(r, rows + i);
    }
  }
  static IDEFICS_CPU_INLINE Lanes halves(const float* a, const float* b) {
    return {_mm256_blend_ps(_mm256_broadcast_ss(a), _mm256_broadcast_ss(b), 0xf0)};
  }
  /// The upper half of the lanes in the lower half.
  IDEFICS_CPU_INLINE Lanes upper_half() const { return {_mm256_permute2f128_ps(v, v, 0x11)}; }
  IDEFICS_CPU_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  static IDEFICS_CPU_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) {
    return {_mm256_fmadd_ps(a.v, b.v, c.v)};
  }
  /// This value, forced into a register instead of a memory operand of each use.
  IDEFICS_CPU_INLINE Lanes held() const {
    __m256 x = v;
    __asm__("" : "+x"(x));
    return {x};
  }
  IDEFICS_CPU_INLINE Lanes operator+(Lanes b) const { return {_mm256_add_ps(v, b.v)}; }

 private:
  static IDEFICS_CPU_INLINE void transpose(const __m256 (&r)[4], Lanes* to) {
    const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r[0], r[1]));
    const __m256d b = _mm256_castps_pd(_mm256_unpacklo_ps(r[2], r[3]));
    const __m256d c = _mm256_castps_pd(_mm256_unpackhi_ps(r[0], r[1]));
    const __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(r[2], r[3]));
    to[0] = {_mm256_castpd_ps(_mm256_unpacklo_pd(a, b))};
    to[1] = {_mm256_castpd_ps(_mm256_unpackhi_pd(a, b))};
    to[2] = {_mm256_castpd_ps(_mm256_unpacklo_pd(c, d))};
    to[3] = {_mm256_castpd_ps(_mm256_unpackhi_pd(c, d))};
  }
  static IDEFICS_CPU_INLINE __m128 quarter_at(const std::byte* p) {
    return _mm_loadu_ps(reinterpret_cast<const float*>(p));
  }
};

struct F32x16 {
  static constexpr int width = 16;
  __m256 lo, hi;

  static IDEFICS_CPU_INLINE F32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static IDEFICS_CPU_INLINE F32x16 set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static IDEFICS_CPU_INLINE F32x16 load(const void* p) {
    const auto* f = static_cast<const float*>(p);
    return {_mm256_loadu_ps(f), _mm256_loadu_ps(f + 8)};
  }
  IDEFICS_CPU_INLINE void store(float* p) const {
    _mm256_storeu_ps(p, lo);
    _mm256_storeu_ps(p + 8, hi);
  }
  IDEFICS_CPU_INLINE void store_f16(void* p) const {
    auto* half = static_cast<__m128i*>(p);
    _mm_storeu_si128(half, _mm256_cvtps_ph(lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(half + 1, _mm256_cvtps_ph(hi, _MM_FROUND_TO_NEAREST_INT));
  }
  IDEFICS_CPU_INLINE void store_bf16(void* p) const {
    const __m256i mixed = _mm256_packus_epi32(rounded_to_bf16(lo), rounded_to_bf16(hi));
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm256_permute4x64_epi64(mixed, 0xd8));
  }

  static IDEFICS_CPU_INLINE F32x16 load_f16(const void* p) {
    return {Lanes::load_f16(p).v, Lanes::load_f16(static_cast<const char*>(p) + 16).v};
  }
  static IDEFICS_CPU_INLINE F32x16 load_bf16(const void* p) {
    return {Lanes::load_bf16(p).v, Lanes::load_bf16(static_cast<const char*>(p) + 16).v};
  }

  static IDEFICS_CPU_INLINE F32x16 load_bf16_even(const void* p) {
    const F32x16 pairs = load(p);
    return {Lanes{pairs.lo}.even_bf16().v, Lanes{pairs.hi}.even_bf16().v};
  }
  static IDEFICS_CPU_INLINE F32x16 load_bf16_odd(const void* p) {
    const F32x16 pairs = load(p);
    return {Lanes{pairs.lo}.odd_bf16().v, Lanes{pairs.hi}.odd_bf16().v};
  }

  static IDEFICS_CPU_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  IDEFICS_CPU_INLINE F32x16 operator+(F32x16 b) const {
    return {_mm256_add_ps(lo, b.lo), _mm256_add_ps(hi, b.hi)};
  }
  IDEFICS_CPU_INLINE F32x16 operator-(F32x16 b) const {
    return {_mm256_sub_ps(lo, b.lo), _mm256_sub_ps(hi, b.hi)};
  }
  IDEFICS_CPU_INLINE F32x16 operator*(F32x16 b) const {
    return {pinned(_mm256_mul_ps(lo, b.lo)), pinned(_mm256_mul_ps(hi, b.hi))};
  }
  IDEFICS_CPU_INLINE F32x16 operator/(F32x16 b) const {
    return {_mm256_div_ps(lo, b.lo), _mm256_div_ps(hi, b.hi)};
  }
  IDEFICS_CPU_INLINE F32x16 operator-() const {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_xor_ps(lo, sign), _mm256_xor_ps(hi, sign)};
  }
  IDEFICS_CPU_INLINE F32x16 abs() const {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, lo), _mm256_andnot_ps(sign, hi)};
  }
  IDEFICS_CPU_INLINE F32x16 with_sign_of(F32x16 from) const {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_or_ps(lo, _mm256_and_ps(sign, from.lo)),
            _mm256_or_ps(hi, _mm256_and_ps(sign, from.hi))};
  }
  static IDEFICS_CPU_INLINE F32x16 min(F32x16 a, F32x16 b) {
    return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
  }
  static IDEFICS_CPU_INLINE F32x16 max(F32x16 a, F32x16 b) {
    return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
  }
  static IDEFICS_CPU_INLINE F32x16 where_less(F32x16 a, F32x16 b, F32x16 yes, F32x16 no) {
    return {_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
            _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
  }
  IDEFICS_CPU_INLINE F32x16 times_power_of_two(F32x16 shifted) const {
    return {scale(lo, shifted.lo), scale(hi, shifted.hi)};
  }

  IDEFICS_CPU_INLINE float sum() const {
    const __m256 eight = _mm256_add_ps(lo, hi);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  /// The same tree for four vectors: after each step, two half-filled registers become one.
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
    IDEFICS_CPU_UNROLL_TILE
    for (int i = 0; i < rows; ++i) sum4(a[i], out + i * stride);
  }
  IDEFICS_CPU_INLINE float max_lane() const {
    const __m256 eight = _mm256_max_ps(lo, hi);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }

  /// This value, forced into a register instead of a memory operand of each use.
  IDEFICS_CPU_INLINE F32x16 held() const { return {pinned(lo), pinned(hi)}; }
  IDEFICS_CPU_INLINE Lanes group(int i) const { return {i == 0 ? lo : hi}; }
  static IDEFICS_CPU_INLINE F32x16 join(const F32x16* groups) { return groups[0]; }
  static IDEFICS_CPU_INLINE F32x16 join(const Lanes* groups) { return {groups[0].v, groups[1].v}; }

 private:
  /// to_bf16 of each lane, in the lower half of a 32-bit word.
  static IDEFICS_CPU_INLINE __m256i rounded_to_bf16(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x), upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, up), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded, quiet, nan);
  }
  static IDEFICS_CPU_INLINE __m256 pinned(__m256 x) {
    __asm__("" : "+x"(x));
    return x;
  }
  static IDEFICS_CPU_INLINE __m128 four_lanes(F32x16 a) {
    const __m256 eight = _mm256_add_ps(a.lo, a.hi);
    return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  }
  static IDEFICS_CPU_INLINE __m256 power(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  static IDEFICS_CPU_INLINE __m256 scale(__m256 x, __m256 shifted) {
    const __m256i n = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(0x4b400000));
    const __m256i half = _mm256_srai_epi32(n, 1);
    return pinned(_mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(_mm256_sub_epi32(n, half))));
  }
};
