// Binary search for the code of a value as in search_scalar.inl, with the permute of eight lanes.
//
// A true comparison is -1, so ranks are negative. An index uses only their low bits, and the tables
// of midpoints and codes are laid out accordingly.

struct CodeSearch {
  __m256 first, second[2], third, fourth;  // midpoints: of all, halves, quarters, eighths
  __m256i order;                           // codes by rank, in both halves

  explicit CodeSearch(const CodeRule& rule) {
    const auto& t = rule.thresholds;
    first = _mm256_set1_ps(t[7]);
    second[0] = _mm256_set1_ps(t[3]), second[1] = _mm256_set1_ps(t[11]);
    third = _mm256_setr_ps(t[1], 0, 0, 0, 0, t[13], t[9], t[5]);
    fourth = _mm256_setr_ps(t[0], t[14], t[12], t[10], t[8], t[6], t[4], t[2]);
    std::uint8_t codes[16];
    for (std::size_t rank = 0; rank < 16; ++rank) codes[(16 - rank) % 16] = rule.order[rank];
    order = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
  }

  IDEFICS_CPU_INLINE void codes(const F32x16 (&v)[2], std::uint8_t* out) const {
    // lower half: values 0..3 of each of the four registers; upper half: values 4..7
    const __m256i words = _mm256_packs_epi16(_mm256_packs_epi32(rank(v[0].lo), rank(v[0].hi)),
                                             _mm256_packs_epi32(rank(v[1].lo), rank(v[1].hi)));
    const __m256i codes = _mm256_shuffle_epi8(order, _mm256_and_si256(words, _mm256_set1_epi8(15)));
    const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x0110));
    const __m256i bytes = _mm256_packus_epi16(pairs, pairs);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(out),
        _mm_unpacklo_epi16(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
  }

 private:
  static IDEFICS_CPU_INLINE __m256i above(__m256 v, __m256 threshold) {
    return _mm256_castps_si256(_mm256_cmp_ps(v, threshold, _CMP_NLE_UQ));
  }
  static IDEFICS_CPU_INLINE __m256i twice_and(__m256i r, __m256i more) {
    return _mm256_add_epi32(_mm256_add_epi32(r, r), more);
  }
  IDEFICS_CPU_INLINE __m256i rank(__m256 v) const {
    __m256i r = above(v, first);
    r = twice_and(r, above(v, _mm256_blendv_ps(second[0], second[1], _mm256_castsi256_ps(r))));
    r = twice_and(r, above(v, _mm256_permutevar8x32_ps(third, r)));
    return twice_and(r, above(v, _mm256_permutevar8x32_ps(fourth, r)));
  }
};
