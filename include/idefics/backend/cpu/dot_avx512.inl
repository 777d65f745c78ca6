// Sums of products of int8 codes as in dot_avx2.inl, 32 at a time.

struct CodeSum {
  static constexpr int width = 32;
  static constexpr int x_rows = 4, w_rows = 4;  // 16 sums, 4 weights, 1 input
  using Codes = __m512i;
  __m512i total;

  static IDEFICS_CPU_INLINE CodeSum zero() { return {_mm512_castps_si512(_mm512_setzero_ps())}; }
  static IDEFICS_CPU_INLINE Codes load(const std::int8_t* w) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
  }
  IDEFICS_CPU_INLINE void add(const std::int16_t* x, Codes w) {
    total = _mm512_add_epi32(total, _mm512_madd_epi16(_mm512_loadu_si512(x), w));
  }
  IDEFICS_CPU_INLINE std::int32_t sum() const { return _mm512_reduce_add_epi32(total); }
};
