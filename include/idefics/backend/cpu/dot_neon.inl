// Sums of products of int8 codes as in dot_scalar.inl: products of 16 bits, added in 32.

struct CodeSum {
  static constexpr int width = 16;
  // 8 sums of 2 registers, 2 weights of 2, 1 input of 2
  static constexpr int x_rows = 4, w_rows = 2;
  struct Codes {
    int16x8_t lo, hi;
  };
  int32x4_t a, b;

  static IDEFICS_CPU_INLINE CodeSum zero() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
  static IDEFICS_CPU_INLINE Codes load(const std::int8_t* w) {
    const int8x16_t codes = vld1q_s8(w);
    return {vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes)};
  }
  IDEFICS_CPU_INLINE void add(const std::int16_t* x, Codes w) {
    const int16x8_t lo = vld1q_s16(x), hi = vld1q_s16(x + 8);
    a = vmlal_s16(a, vget_low_s16(lo), vget_low_s16(w.lo));
    b = vmlal_high_s16(b, lo, w.lo);
    a = vmlal_s16(a, vget_low_s16(hi), vget_low_s16(w.hi));
    b = vmlal_high_s16(b, hi, w.hi);
  }
  IDEFICS_CPU_INLINE std::int32_t sum() const { return vaddvq_s32(vaddq_s32(a, b)); }
};
