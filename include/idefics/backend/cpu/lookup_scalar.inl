// Decodes 4-bit codes by table lookup: the definition of Lookup and PairLookup.

/// f32 order: 32 codes give two vectors; in natural order, lane l of vector i has value 16 i + l.
struct Lookup {
  /// The table scaled for a block.
  struct Scaled {
    float values[16];
  };
  float table[16];

  explicit Lookup(const float* values) { std::memcpy(table, values, sizeof table); }
  /// codebook * absmax, each product rounded.
  Scaled scaled(float absmax) const {
    Scaled s;
    for (int i = 0; i < 16; ++i) s.values[i] = table[i] * absmax;
    return s;
  }
  void values(const Scaled& block, const std::uint8_t* codes, F32x16 (&w)[2]) const {
    for (int i = 0; i < 32; ++i)
      w[i / 16].v[i % 16] = block.values[i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15];
  }
  /// Conversions from and to the lane order of values(), the cheapest one of an instruction set.
  static F32x16 to_natural_order(F32x16 x) { return x; }
  static F32x16 to_lookup_order(F32x16 x) { return x; }
};

/// bf16 order: the four bytes b of a lane give four pairs of table values, rounded to bf16:
///   step      0       1       2       3
///   even   b[0].hi b[0].lo b[1].hi b[1].lo    the lower half of the lane
///   odd    b[2].hi b[2].lo b[3].hi b[3].lo    the upper half
struct PairLookup {
  std::uint16_t table[16];

  explicit PairLookup(const float* values) {
    for (int i = 0; i < 16; ++i) table[i] = to_bf16(values[i]).bits;
  }
  void pairs(const std::uint8_t* codes, F32x16 (&w)[4]) const {
    for (int l = 0; l < 16; ++l, codes += 4)
      for (int j = 0; j < 4; ++j) {
        const int shift = j % 2 == 0 ? 4 : 0;
        const std::uint32_t even = table[codes[j / 2] >> shift & 15];
        const std::uint32_t odd = table[codes[2 + j / 2] >> shift & 15];
        w[j].v[l] = std::bit_cast<float>(even | odd << 16);
      }
  }
};
