// Sums of products of int8 codes, exact in 32 bits in any order. The definition of CodeSum.

struct CodeSum {
  static constexpr int width = 16;              // codes of one step
  static constexpr int x_rows = 1, w_rows = 1;  // of a tile
  using Codes = const std::int8_t*;
  std::int32_t total;

  static CodeSum zero() { return {0}; }
  static Codes load(const std::int8_t* w) { return w; }
  void add(const std::int16_t* x, Codes w) {
    for (int i = 0; i < width; ++i) total += x[i] * w[i];
  }
  std::int32_t sum() const { return total; }
};
