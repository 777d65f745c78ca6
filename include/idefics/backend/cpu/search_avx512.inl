// Binary search for the code of a value as in search_scalar.inl, with permutes of midpoint tables.

struct CodeSearch {
  __m512 halves[4];  // midpoint of the remaining range, by the rank so far
  __m256i order;     // codes by rank, in both halves

  explicit CodeSearch(const CodeRule& rule) {
    for (int i = 0; i < 4; ++i) {
      const int half = 8 >> i;
      float thresholds[16] = {};
      for (int rank = 0; rank < 16; rank += 2 * half)
        thresholds[rank] = rule.thresholds[static_cast<std::size_t>(rank + half - 1)];
      halves[i] = _mm512_loadu_ps(thresholds);
    }
    order = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(rule.order.data())));
  }

  IDEFICS_CPU_INLINE void codes(const F32x16 (&v)[2], std::uint8_t* out) const {
    const __m256i ranks =
        _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(rank(v[0].v))),
                                _mm512_cvtepi32_epi8(rank(v[1].v)), 1);
    const __m256i codes = _mm256_shuffle_epi8(order, ranks);
    const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x0110));
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(out),
        _mm_packus_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1)));
  }

 private:
  IDEFICS_CPU_INLINE __m512i rank(__m512 v) const {
    __m512i r = _mm512_castps_si512(_mm512_setzero_ps());
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m512 threshold = _mm512_permutexvar_ps(r, halves[i]);
      r = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(v, threshold, _CMP_NLE_UQ), r,
                                  _mm512_add_epi32(r, _mm512_set1_epi32(8 >> i)));
    }
    return r;
  }
};
