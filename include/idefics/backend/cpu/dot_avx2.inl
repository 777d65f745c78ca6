// Sums of products of int8 codes as in dot_scalar.inl: codes are widened to 16 bits, and pairs of
// products are added by one instruction.

struct CodeSum {
  static constexpr int width = 16;
  // 8 sums, 2 weights, 1 input, 1 product: latencies are hidden, and a weight is widened once
  static constexpr int x_rows = 4, w_rows = 2;
  using Codes = __m256i;
  __m256i total;

  static IDEFICS_CPU_INLINE CodeSum zero() { return {_mm256_setzero_si256()}; }
  static IDEFICS_CPU_INLINE Codes load(const std::int8_t* w) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
  }
  IDEFICS_CPU_INLINE void add(const std::int16_t* x, Codes w) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    total = _mm256_add_epi32(total, _mm256_madd_epi16(codes, w));
  }
  IDEFICS_CPU_INLINE std::int32_t sum() const {
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
  }
};
