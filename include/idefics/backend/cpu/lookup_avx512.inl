// Codes of 4 bits to values with permutes, whose tables hold all 16. lookup_scalar.inl says what is
// meant.

struct Lookup {
  using Scaled = __m512;  // the products of the whole table, once per block
  __m512 table;

  explicit Lookup(const float* values) : table(_mm512_loadu_ps(values)) {}
  IDEFICS_CPU_INLINE Scaled scaled(float absmax) const {
    return (F32x16{table} * F32x16::set(absmax)).v;
  }
  IDEFICS_CPU_INLINE void values(Scaled block, const std::uint8_t* codes, F32x16 (&w)[2]) const {
    w[0] = {_mm512_permutexvar_ps(index(codes), block)};
    w[1] = {_mm512_permutexvar_ps(index(codes + 8), block)};
  }

 private:
  /// Eight bytes to sixteen lanes: each byte twice, shifted for its high nibble. Permutes ignore the
  /// upper bits of an index.
  static IDEFICS_CPU_INLINE __m512i index(const std::uint8_t* codes) {
    std::int64_t eight;
    std::memcpy(&eight, codes, sizeof eight);
    static constexpr std::int32_t twice[16] = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7};
    const __m512i dealt = _mm512_shuffle_epi8(_mm512_set1_epi64(eight), _mm512_loadu_si512(twice));
    return _mm512_srlv_epi32(dealt, _mm512_set1_epi64(4));
  }
};

template <Layout layout>
struct PairLookup {
  __m512i table;

  explicit PairLookup(const float* values) {
    if constexpr (layout == Layout::whole_pairs) {
      std::uint16_t twice[32];  // the fifth bit of an index is a neighbour's: it must not matter
      for (int i = 0; i < 32; ++i) twice[i] = to_bf16(values[i % 16]).bits;
      table = _mm512_loadu_si512(twice);
    } else {
      float rounded[16];
      for (int i = 0; i < 16; ++i) rounded[i] = to_f32(to_bf16(values[i]));
      table = _mm512_loadu_si512(rounded);
    }
  }

  IDEFICS_CPU_INLINE void values(const std::uint8_t* codes,
                                 F32x16 (&w)[layout == Layout::whole_pairs ? 1 : 2]) const {
    const __m512i bytes =
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    if constexpr (layout == Layout::whole_pairs) {
      const __m512i index =
          _mm512_or_si512(_mm512_srli_epi32(bytes, 4), _mm512_slli_epi32(bytes, 16));
      w[0] = {_mm512_castsi512_ps(_mm512_permutexvar_epi16(index, table))};
    } else {
      const __m512 values = _mm512_castsi512_ps(table);
      w[0] = {_mm512_permutexvar_ps(bytes, values)};
      w[1] = {_mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), values)};
    }
  }
};
