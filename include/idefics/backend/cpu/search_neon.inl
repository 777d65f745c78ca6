// The code of a value as in search_scalar.inl. The midpoints ascend, so the rank of a value is the
// number of those that it is above of, or not comparable to.

struct CodeSearch {
  const CodeRule& rule;
  uint8x16_t order;  // codes by rank

  explicit CodeSearch(const CodeRule& r) : rule(r), order(vld1q_u8(r.order.data())) {}

  IDEFICS_CPU_INLINE void codes(const F32x16 (&v)[2], std::uint8_t* out) const {
    const uint8x16_t a = vqtbl1q_u8(order, ranks(v[0])), b = vqtbl1q_u8(order, ranks(v[1]));
    vst1q_u8(out, vsliq_n_u8(vuzp2q_u8(a, b), vuzp1q_u8(a, b), 4));
  }

 private:
  IDEFICS_CPU_INLINE uint8x16_t ranks(F32x16 v) const {
    const uint16x8_t lo = vuzp1q_u16(rank(v.lo.lo), rank(v.lo.hi));
    const uint16x8_t hi = vuzp1q_u16(rank(v.hi.lo), rank(v.hi.hi));
    return vuzp1q_u8(vreinterpretq_u8_u16(lo), vreinterpretq_u8_u16(hi));
  }
  IDEFICS_CPU_INLINE uint16x8_t rank(float32x4_t v) const {
    uint32x4_t r = vdupq_n_u32(15);
    IDEFICS_CPU_UNROLL
    for (const float threshold : rule.thresholds)  // a comparison that holds is -1
      r = vaddq_u32(r, vcleq_f32(v, vdupq_n_f32(threshold)));
    return vreinterpretq_u16_u32(r);
  }
};
