// Sixteen f32 lanes as four 128-bit registers. f32x16_scalar.inl defines the operations. Products
// are hidden from the optimiser as there: GCC fuses the products and sums of NEON's intrinsics.

/// Two registers together, the unit of the GEMV and GEMM: eight lanes.
struct Lanes {
  static constexpr int width = 8;
  // 4 bits, bf16 order
  static constexpr int tile_x_rows = 4, tile_w_rows = 2;
  static constexpr int gemv_x_rows = 2;  // 4 x 2 sums, 2 inputs, 1 weight
  static constexpr int code_streams = 1;
  // 2 x 4 sums, 2 queries, 1 key: 22 registers; 4 sums of sixteen lanes, 1 value, 1 weight: 21
  static constexpr int score_queries = 2, value_vectors = 1;
  // of 32 registers: 4 x 2 sums, 2 weights, 1 input are 22; bf16 order: 2 x 2 sums and 8 weights
  static constexpr int chain_x_rows = 4, chain_w_vectors = 2, gemv_chain_rows = 2;
  static constexpr bool both_chains = false;
  float32x4_t lo, hi;

  static IDEFICS_CPU_INLINE Lanes zero() { return set(0.0f); }
  static IDEFICS_CPU_INLINE Lanes set(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static IDEFICS_CPU_INLINE Lanes load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static IDEFICS_CPU_INLINE Lanes load_f16(const void* p) {
    const float16x8_t half = vreinterpretq_f16_u16(words(p));
    return {vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half)};
  }
  static IDEFICS_CPU_INLINE Lanes load_bf16(const void* p) {
    const uint16x8_t half = words(p);
    return from_bits(vshll_n_u16(vget_low_u16(half), 16), vshll_high_n_u16(half, 16));
  }
  IDEFICS_CPU_INLINE Lanes odd_bf16() const {
    const uint32x4_t upper = vdupq_n_u32(0xffff0000u);
    return from_bits(vandq_u32(bits(lo), upper), vandq_u32(bits(hi), upper));
  }
  IDEFICS_CPU_INLINE Lanes even_bf16() const {
    return from_bits(vshlq_n_u32(bits(lo), 16), vshlq_n_u32(bits(hi), 16));
  }
  static IDEFICS_CPU_INLINE Lanes set_halves(float a, float b, int group) {
    return set(group == 0 ? a : b);
  }
  /// Sixteen dwords of each of four rows, `stride` bytes apart, and of four more that begin `upper`
  /// bytes after: vector i has dword i of all rows.
  template <bool>
  static IDEFICS_CPU_INLINE void transposed(const std::byte* p, std::int64_t stride,
                                            std::int64_t upper, Lanes (&rows)[16]) {
    IDEFICS_CPU_UNROLL
    for (int i = 0; i < 16; i += 4, p += 16) {
      float32x4_t a[4], b[4];
      transpose(p, stride, a);
      transpose(p + upper, stride, b);
      IDEFICS_CPU_UNROLL
      for (int j = 0; j < 4; ++j) rows[i + j] = {a[j], b[j]};
    }
  }
  static IDEFICS_CPU_INLINE Lanes halves(const float* a, const float* b) {
    return {vld1q_dup_f32(a), vld1q_dup_f32(b)};
  }
  /// The upper half of the lanes in the lower half.
  IDEFICS_CPU_INLINE Lanes upper_half() const { return {hi, hi}; }
  static IDEFICS_CPU_INLINE Lanes multiply_then_add(Lanes a, Lanes b, Lanes c) { return a * b + c; }
  IDEFICS_CPU_INLINE void store(float* p) const {
    vst1q_f32(p, lo);
    vst1q_f32(p + 4, hi);
  }
  static IDEFICS_CPU_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) {
    return {vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)};
  }
  /// This value, forced into registers instead of a memory operand of each use.
  IDEFICS_CPU_INLINE Lanes held() const { return {pinned(lo), pinned(hi)}; }

  IDEFICS_CPU_INLINE Lanes operator+(Lanes b) const {
    return {vaddq_f32(lo, b.lo), vaddq_f32(hi, b.hi)};
  }
  IDEFICS_CPU_INLINE Lanes operator-(Lanes b) const {
    return {vsubq_f32(lo, b.lo), vsubq_f32(hi, b.hi)};
  }
  IDEFICS_CPU_INLINE Lanes operator*(Lanes b) const {
    return {pinned(vmulq_f32(lo, b.lo)), pinned(vmulq_f32(hi, b.hi))};
  }
  IDEFICS_CPU_INLINE Lanes operator/(Lanes b) const {
    return {vdivq_f32(lo, b.lo), vdivq_f32(hi, b.hi)};
  }
  IDEFICS_CPU_INLINE Lanes operator-() const { return {vnegq_f32(lo), vnegq_f32(hi)}; }
  IDEFICS_CPU_INLINE Lanes abs() const { return {vabsq_f32(lo), vabsq_f32(hi)}; }
  IDEFICS_CPU_INLINE Lanes with_sign_of(Lanes from) const {
    const uint32x4_t sign = vdupq_n_u32(0x80000000u);
    return from_bits(vbslq_u32(sign, bits(from.lo), bits(lo)),
                     vbslq_u32(sign, bits(from.hi), bits(hi)));
  }
  // not NEON's minimum and maximum, whose NaN is the other one
  static IDEFICS_CPU_INLINE Lanes min(Lanes a, Lanes b) { return where_less(a, b, a, b); }
  static IDEFICS_CPU_INLINE Lanes max(Lanes a, Lanes b) { return where_less(b, a, a, b); }
  static IDEFICS_CPU_INLINE Lanes where_less(Lanes a, Lanes b, Lanes yes, Lanes no) {
    return {vbslq_f32(vcltq_f32(a.lo, b.lo), yes.lo, no.lo),
            vbslq_f32(vcltq_f32(a.hi, b.hi), yes.hi, no.hi)};
  }
  IDEFICS_CPU_INLINE Lanes times_power_of_two(Lanes shifted) const {
    return {scale(lo, shifted.lo), scale(hi, shifted.hi)};
  }
  IDEFICS_CPU_INLINE uint16x8_t as_f16() const {
    return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(lo), hi));
  }
  IDEFICS_CPU_INLINE uint16x8_t as_bf16() const {
    return vuzp1q_u16(vreinterpretq_u16_u32(rounded_to_bf16(lo)),
                      vreinterpretq_u16_u32(rounded_to_bf16(hi)));
  }

 private:
  static IDEFICS_CPU_INLINE uint32x4_t bits(float32x4_t x) { return vreinterpretq_u32_f32(x); }
  static IDEFICS_CPU_INLINE Lanes from_bits(uint32x4_t lo, uint32x4_t hi) {
    return {vreinterpretq_f32_u32(lo), vreinterpretq_f32_u32(hi)};
  }
  static IDEFICS_CPU_INLINE uint16x8_t words(const void* p) {
    return vreinterpretq_u16_u8(vld1q_u8(static_cast<const std::uint8_t*>(p)));
  }
  /// Four dwords of each of four rows: vector i has dword i of all rows.
  static IDEFICS_CPU_INLINE void transpose(const std::byte* p, std::int64_t stride,
                                           float32x4_t (&to)[4]) {
    const float32x4_t r0 = quarter_at(p), r1 = quarter_at(p + stride),
                      r2 = quarter_at(p + 2 * stride), r3 = quarter_at(p + 3 * stride);
    const float32x4_t even = vzip1q_f32(r0, r2), odd = vzip1q_f32(r1, r3);
    const float32x4_t even_above = vzip2q_f32(r0, r2), odd_above = vzip2q_f32(r1, r3);
    to[0] = vzip1q_f32(even, odd), to[1] = vzip2q_f32(even, odd);
    to[2] = vzip1q_f32(even_above, odd_above), to[3] = vzip2q_f32(even_above, odd_above);
  }
  static IDEFICS_CPU_INLINE float32x4_t quarter_at(const std::byte* p) {
    return vreinterpretq_f32_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(p)));
  }
  static IDEFICS_CPU_INLINE float32x4_t pinned(float32x4_t x) {
    __asm__("" : "+w"(x));
    return x;
  }
  /// to_bf16 of each lane, in the lower half of a 32-bit word.
  static IDEFICS_CPU_INLINE uint32x4_t rounded_to_bf16(float32x4_t x) {
    const uint32x4_t upper = vshrq_n_u32(bits(x), 16);
    const uint32x4_t up = vaddq_u32(vandq_u32(upper, vdupq_n_u32(1)), vdupq_n_u32(0x7fff));
    const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits(x), up), 16);
    return vbslq_u32(vceqq_f32(x, x), rounded, vorrq_u32(upper, vdupq_n_u32(0x40)));
  }
  static IDEFICS_CPU_INLINE float32x4_t power(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
  }
  static IDEFICS_CPU_INLINE float32x4_t scale(float32x4_t x, float32x4_t shifted) {
    const int32x4_t n = vsubq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(0x4b400000));
    const int32x4_t half = vshrq_n_s32(n, 1);
    return pinned(vmulq_f32(vmulq_f32(x, power(half)), power(vsubq_s32(n, half))));
  }
};

struct F32x16 {
  static constexpr int width = 16;
  Lanes lo, hi;

  static IDEFICS_CPU_INLINE F32x16 zero() { return {Lanes::zero(), Lanes::zero()}; }
  static IDEFICS_CPU_INLINE F32x16 set(float x) { return {Lanes::set(x), Lanes::set(x)}; }
  static IDEFICS_CPU_INLINE F32x16 load(const void* p) {
    const auto* f = static_cast<const float*>(p);
    return {Lanes::load(f), Lanes::load(f + 8)};
  }
  IDEFICS_CPU_INLINE void store(float* p) const {
    lo.store(p);
    hi.store(p + 8);
  }
  IDEFICS_CPU_INLINE void store_f16(void* p) const { store_words(p, lo.as_f16(), hi.as_f16()); }
  IDEFICS_CPU_INLINE void store_bf16(void* p) const { store_words(p, lo.as_bf16(), hi.as_bf16()); }

  static IDEFICS_CPU_INLINE F32x16 load_f16(const void* p) {
    return {Lanes::load_f16(p), Lanes::load_f16(static_cast<const char*>(p) + 16)};
  }
  static IDEFICS_CPU_INLINE F32x16 load_bf16(const void* p) {
    return {Lanes::load_bf16(p), Lanes::load_bf16(static_cast<const char*>(p) + 16)};
  }
  static IDEFICS_CPU_INLINE F32x16 load_bf16_even(const void* p) {
    const F32x16 pairs = load(p);
    return {pairs.lo.even_bf16(), pairs.hi.even_bf16()};
  }
  static IDEFICS_CPU_INLINE F32x16 load_bf16_odd(const void* p) {
    const F32x16 pairs = load(p);
    return {pairs.lo.odd_bf16(), pairs.hi.odd_bf16()};
  }

  static IDEFICS_CPU_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
    return {Lanes::fma(a.lo, b.lo, c.lo), Lanes::fma(a.hi, b.hi, c.hi)};
  }
  IDEFICS_CPU_INLINE F32x16 operator+(F32x16 b) const { return {lo + b.lo, hi + b.hi}; }
  IDEFICS_CPU_INLINE F32x16 operator-(F32x16 b) const { return {lo - b.lo, hi - b.hi}; }
  IDEFICS_CPU_INLINE F32x16 operator*(F32x16 b) const { return {lo * b.lo, hi * b.hi}; }
  IDEFICS_CPU_INLINE F32x16 operator/(F32x16 b) const { return {lo / b.lo, hi / b.hi}; }
  IDEFICS_CPU_INLINE F32x16 operator-() const { return {-lo, -hi}; }
  IDEFICS_CPU_INLINE F32x16 abs() const { return {lo.abs(), hi.abs()}; }
  IDEFICS_CPU_INLINE F32x16 with_sign_of(F32x16 from) const {
    return {lo.with_sign_of(from.lo), hi.with_sign_of(from.hi)};
  }
  static IDEFICS_CPU_INLINE F32x16 min(F32x16 a, F32x16 b) {
    return {Lanes::min(a.lo, b.lo), Lanes::min(a.hi, b.hi)};
  }
  static IDEFICS_CPU_INLINE F32x16 max(F32x16 a, F32x16 b) {
    return {Lanes::max(a.lo, b.lo), Lanes::max(a.hi, b.hi)};
  }
  static IDEFICS_CPU_INLINE F32x16 where_less(F32x16 a, F32x16 b, F32x16 yes, F32x16 no) {
    return {Lanes::where_less(a.lo, b.lo, yes.lo, no.lo),
            Lanes::where_less(a.hi, b.hi, yes.hi, no.hi)};
  }
  IDEFICS_CPU_INLINE F32x16 times_power_of_two(F32x16 shifted) const {
    return {lo.times_power_of_two(shifted.lo), hi.times_power_of_two(shifted.hi)};
  }

  IDEFICS_CPU_INLINE float sum() const {
    const float32x4_t four = four_lanes(*this);
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  /// The same tree for four vectors: after each step, two half-filled registers become one.
  static IDEFICS_CPU_INLINE void sum4(const F32x16 (&a)[4], float* out) {
    vst1q_f32(out, vpaddq_f32(two_lanes(a[0], a[1]), two_lanes(a[2], a[3])));
  }
  template <int rows>
  static IDEFICS_CPU_INLINE void sum4(const F32x16 (&a)[rows][4], float* out, std::int64_t stride) {
    IDEFICS_CPU_UNROLL_TILE
    for (int i = 0; i < rows; ++i) sum4(a[i], out + i * stride);
  }
  IDEFICS_CPU_INLINE float max_lane() const {
    const Lanes eight = Lanes::max(lo, hi);
    const float32x4_t four = vbslq_f32(vcgtq_f32(eight.lo, eight.hi), eight.lo, eight.hi);
    const float32x2_t a = vget_low_f32(four), b = vget_high_f32(four);
    const float32x2_t two = vbsl_f32(vcgt_f32(a, b), a, b);
    const float x = vget_lane_f32(two, 0), y = vget_lane_f32(two, 1);
    return x > y ? x : y;
  }

  IDEFICS_CPU_INLINE F32x16 held() const { return {lo.held(), hi.held()}; }
  IDEFICS_CPU_INLINE Lanes group(int i) const { return i == 0 ? lo : hi; }
  static IDEFICS_CPU_INLINE F32x16 join(const F32x16* groups) { return groups[0]; }
  static IDEFICS_CPU_INLINE F32x16 join(const Lanes* groups) { return {groups[0], groups[1]}; }

 private:
  static IDEFICS_CPU_INLINE void store_words(void* p, uint16x8_t first, uint16x8_t second) {
    auto* bytes = static_cast<std::uint8_t*>(p);
    vst1q_u8(bytes, vreinterpretq_u8_u16(first));
    vst1q_u8(bytes + 16, vreinterpretq_u8_u16(second));
  }
  static IDEFICS_CPU_INLINE float32x4_t four_lanes(F32x16 a) {
    const Lanes eight = a.lo + a.hi;
    return vaddq_f32(eight.lo, eight.hi);
  }
  /// The two sums of a, then those of b.
  static IDEFICS_CPU_INLINE float32x4_t two_lanes(F32x16 a, F32x16 b) {
    const float32x4_t x = four_lanes(a), y = four_lanes(b);
    return vaddq_f32(vcombine_f32(vget_low_f32(x), vget_low_f32(y)),
                     vcombine_f32(vget_high_f32(x), vget_high_f32(y)));
  }
};
