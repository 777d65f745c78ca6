// Codes of 4 bits to values, as table lookups: what the other two files mean.

/// f32 order: 32 codes give two vectors, lane l of vector i the value of code 16 i + l, after `undealt`.
struct Lookup {
  /// A block's view of the table.
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
  /// From the order of lanes in which an instruction set has values most easily, and into it.
  static F32x16 undealt(F32x16 x) { return x; }
  static F32x16 dealt(F32x16 x) { return x; }
};

/// bf16 order: a lane's four bytes b give four pairs, each from a table rounded to bf16:
///   step       0       1       2       3       high nibbles first, as they come;
///   below   b[0].hi b[0].lo b[1].hi b[1].lo    `below` is the lower half of the lane and the even
///   above   b[2].hi b[2].lo b[3].hi b[3].lo    element of the pair
struct PairLookup {
  std::uint16_t table[16];

  explicit PairLookup(const float* values) {
    for (int i = 0; i < 16; ++i) table[i] = to_bf16(values[i]).bits;
  }
  void pairs(const std::uint8_t* codes, F32x16 (&w)[4]) const {
    for (int l = 0; l < 16; ++l, codes += 4)
      for (int j = 0; j < 4; ++j) {
        const int shift = j % 2 == 0 ? 4 : 0;
        const std::uint32_t below = table[codes[j / 2] >> shift & 15];
        const std::uint32_t above = table[codes[2 + j / 2] >> shift & 15];
        w[j].v[l] = std::bit_cast<float>(below | above << 16);
      }
  }
};
