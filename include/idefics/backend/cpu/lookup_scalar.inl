// Codes of 4 bits to values, as table lookups: what the other two files mean.

/// f32 order: 32 codes give two vectors, lane l of vector i the value of code 16 i + l.
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
};

/// bf16 order: 32 codes give one step of the layout, from a table rounded to bf16.
template <Layout layout>
struct PairLookup {
  static_assert(layout == Layout::split_pairs);
  float table[16];

  explicit PairLookup(const float* values) {
    for (int i = 0; i < 16; ++i) table[i] = to_f32(to_bf16(values[i]));
  }
  void values(const std::uint8_t* codes, F32x16 (&w)[2]) const {
    for (int l = 0; l < 16; ++l) {
      w[0].v[l] = table[codes[l] & 15];
      w[1].v[l] = table[codes[l] >> 4];
    }
  }
};
