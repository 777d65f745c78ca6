// Binary search for the code of a value: four comparisons with midpoints, continuing in the upper
// half if the value is above the midpoint or NaN. The definition of CodeSearch.

struct CodeSearch {
  const CodeRule& rule;

  explicit CodeSearch(const CodeRule& r) : rule(r) {}

  /// Encodes 32 values in 16 bytes, the first of each pair in the high nibble.
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
