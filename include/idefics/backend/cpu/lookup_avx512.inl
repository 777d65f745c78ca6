// Decodes 4-bit codes as in lookup_scalar.inl, with permutes: a table register holds all 16 values,
// and the upper bits of an index are ignored.
//
// Bound: on a Zen 4, shifts and permutes of 512 bits share two ports, and so do products; loads
// that broadcast 32 or 64 bits use none of them.

struct Lookup {
  using Scaled = __m512;  // the table times absmax, computed once per block
  __m512 table;

  explicit Lookup(const float* values) : table(_mm512_loadu_ps(values)) {}
  IDEFICS_CPU_INLINE Scaled scaled(float absmax) const {
    return (F32x16{table} * F32x16::set(absmax)).v;
  }
  IDEFICS_CPU_INLINE void values(Scaled block, const std::uint8_t* codes, F32x16 (&w)[2]) const {
    w[0] = {_mm512_permutexvar_ps(index(codes), block)};
    w[1] = {_mm512_permutexvar_ps(index(codes + 8), block)};
  }

  /// Lookup order is that of a broadcast of eight bytes: lane 2 i has value i, the next one 8 + i.
  static IDEFICS_CPU_INLINE F32x16 to_lookup_order(F32x16 x) {
    static constexpr std::int32_t from[16] = {0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15};
    return {_mm512_permutexvar_ps(_mm512_loadu_si512(from), x.v)};
  }
  static IDEFICS_CPU_INLINE F32x16 to_natural_order(F32x16 x) {
    static constexpr std::int32_t from[16] = {0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15};
    return {_mm512_permutexvar_ps(_mm512_loadu_si512(from), x.v)};
  }

 private:
  /// Broadcasts eight bytes to all lanes and shifts each lane to its own code.
  static IDEFICS_CPU_INLINE __m512i index(const std::uint8_t* codes) {
    std::int64_t eight;
    std::memcpy(&eight, codes, sizeof eight);
    static constexpr std::int32_t shifts[16] = {4,  4,  0,  0,  12, 12, 8,  8,
                                                20, 20, 16, 16, 28, 28, 24, 24};
    return _mm512_srlv_epi32(_mm512_set1_epi64(eight), _mm512_loadu_si512(shifts));
  }
};

struct PairLookup {
  __m512i table;

  explicit PairLookup(const float* values) {
    std::uint16_t twice[32];  // duplicated, since bit 4 of an index belongs to another code
    for (int i = 0; i < 32; ++i) twice[i] = to_bf16(values[i % 16]).bits;
    table = _mm512_loadu_si512(twice);
  }

  IDEFICS_CPU_INLINE void pairs(const std::uint8_t* codes, Lanes (&w)[4]) const {
    const __m512i words = _mm512_loadu_si512(codes);
    w[0] = {found(_mm512_srli_epi16(words, 4))};
    w[1] = {found(words)};
    w[2] = {found(_mm512_srli_epi16(words, 12))};
    w[3] = {found(_mm512_srli_epi16(words, 8))};
  }

 private:
  IDEFICS_CPU_INLINE __m512 found(__m512i index) const {
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(index, table));
  }
};
