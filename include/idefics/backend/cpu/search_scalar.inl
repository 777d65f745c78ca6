// The code of a value by halving: four comparisons with midpoints, the upper half for what is above
// one, or NaN. What the other two files mean.

struct CodeSearch {
  const CodeRule& rule;

  explicit CodeSearch(const CodeRule& r) : rule(r) {}

  /// Thirty-two values to sixteen bytes, the first of a pair in the high nibble.
  void codes(const F32x16 (&v)[2], std::uint8_t* out) const {
    for (int i = 0; i < 16; ++i)
      out[i] = static_cast<std::uint8_t>(code(v[i / 8].v[2 * i % 16]) << 4 |
                                         code(v[i / 8].v[2 * i % 16 + 1]));
  }

 private:
  int code(float x) const {
    std::size_t rank = 0;
    for (const std::size_t half : {8u, 4u, 2u, 1u})
      if (!(x <= rule.thresholds[rank + half - 1])) rank += half;
    return rule.order[rank];
  }
};
