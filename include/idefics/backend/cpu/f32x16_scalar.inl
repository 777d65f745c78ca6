// Sixteen f32 lanes as an array: defines the operations, and is the fallback on every machine.
//
// Each operation is one IEEE operation per lane. Products are hidden from the optimiser before they
// are used, so that no compiler contracts them with a following sum. Nothing is inlined: without
// vector instructions that would gain nothing, and cost compile time.

struct F32x16 {
  static constexpr int width = 16;
  static constexpr int tile_x_rows = 2, tile_w_rows = 2;  // register tile of the GEMM of 4 bits
  static constexpr int gemv_x_rows = 2;   // rows of x in the register tile of the GEMV
  static constexpr int code_streams = 1;  // rows of 4-bit codes that are multiplied together
  // attention: queries of a tile of scores, vectors of a tile of values
  static constexpr int score_queries = 2, value_vectors = 1;
  // rows of x and vectors of weight rows in the register tiles of the GEMM; bf16 order: rows of x in
  // that of the GEMV
  static constexpr int chain_x_rows = 8, chain_w_vectors = 1, gemv_chain_rows = 2;
  // whether the GEMM of the bf16 order has registers for both chains of half as many rows
  static constexpr bool both_chains = false;
  float v[16];

  static IDEFICS_CPU_OUTLINE F32x16 zero() { return {}; }
  static IDEFICS_CPU_OUTLINE F32x16 set(float x) {
    F32x16 r;
    for (float& lane : r.v) lane = x;
    return r;
  }
  static IDEFICS_CPU_OUTLINE F32x16 load(const void* p) {
    F32x16 r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  IDEFICS_CPU_OUTLINE void store(float* p) const { std::memcpy(p, v, sizeof v); }
  /// Rounds to nearest, ties to even, as to_f16 and to_bf16 do; NaN stays NaN.
  IDEFICS_CPU_OUTLINE void store_f16(void* p) const {
    f16_t half[16];
    for (int i = 0; i < 16; ++i) half[i] = to_f16(v[i]);
    std::memcpy(p, half, sizeof half);
  }
  IDEFICS_CPU_OUTLINE void store_bf16(void* p) const {
    bf16_t half[16];
    for (int i = 0; i < 16; ++i) half[i] = to_bf16(v[i]);
    std::memcpy(p, half, sizeof half);
  }

  static IDEFICS_CPU_OUTLINE F32x16 load_f16(const void* p) {
    f16_t half[16];
    std::memcpy(half, p, sizeof half);
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = to_f32(half[i]);
    return r;
  }
  static IDEFICS_CPU_OUTLINE F32x16 load_bf16(const void* p) {
    bf16_t half[16];
    std::memcpy(half, p, sizeof half);
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = to_f32(half[i]);
    return r;
  }
  static F32x16 load_bf16_even(const void* p) { return load(p).even_bf16(); }
  static F32x16 load_bf16_odd(const void* p) { return load(p).odd_bf16(); }
  /// The lower and the upper bf16 of each lane.
  IDEFICS_CPU_OUTLINE F32x16 even_bf16() const { return half_lanes(0); }
  IDEFICS_CPU_OUTLINE F32x16 odd_bf16() const { return half_lanes(1); }
  /// a in lanes 0 to 7, b in the others. The last argument is the index of a register that holds
  /// fewer than sixteen lanes.
  static IDEFICS_CPU_OUTLINE F32x16 set_halves(float a, float b, int) {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = i < 8 ? a : b;
    return r;
  }
  /// a * b + c, with the product rounded.
  static IDEFICS_CPU_OUTLINE F32x16 multiply_then_add(F32x16 a, F32x16 b, F32x16 c) {
    return a * b + c;
  }
  /// Sixteen dwords of each of eight rows, `stride` bytes apart, and of eight more that begin `upper`
  /// bytes after: vector i has dword i of all rows. Instruction sets with products of bf16 pairs
  /// reorder values if the first argument is set.
  template <bool>
  static void transposed(const std::byte* p, std::int64_t stride, std::int64_t upper,
                         F32x16 (&rows)[16]) {
    for (int l = 0; l < 16; ++l)
      for (int i = 0; i < 16; ++i)
        std::memcpy(rows[i].v + l, p + l % 8 * stride + l / 8 * upper + 4 * i, 4);
  }
  /// *a in the lower half of the lanes, *b in the upper.
  static F32x16 halves(const float* a, const float* b) { return set_halves(*a, *b, 0); }
  /// The upper half of the lanes in the lower half; the rest is not used.
  F32x16 upper_half() const {
    F32x16 r = *this;
    std::memcpy(r.v, v + 8, 32);
    return r;
  }

  static IDEFICS_CPU_OUTLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
    for (int i = 0; i < 16; ++i) c.v[i] = std::fma(a.v[i], b.v[i], c.v[i]);
    return c;
  }
  IDEFICS_CPU_OUTLINE F32x16 operator+(F32x16 b) const {
    for (int i = 0; i < 16; ++i) b.v[i] = v[i] + b.v[i];
    return b;
  }
  IDEFICS_CPU_OUTLINE F32x16 operator-(F32x16 b) const {
    for (int i = 0; i < 16; ++i) b.v[i] = v[i] - b.v[i];
    return b;
  }
  IDEFICS_CPU_OUTLINE F32x16 operator*(F32x16 b) const {
    for (int i = 0; i < 16; ++i) b.v[i] = pinned(v[i] * b.v[i]);
    return b;
  }
  IDEFICS_CPU_OUTLINE F32x16 operator/(F32x16 b) const {
    for (int i = 0; i < 16; ++i) b.v[i] = v[i] / b.v[i];
    return b;
  }
  IDEFICS_CPU_OUTLINE F32x16 operator-() const {
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = -v[i];
    return r;
  }
  IDEFICS_CPU_OUTLINE F32x16 abs() const {
    F32x16 r;
    for (int i = 0; i < 16; ++i)
      r.v[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(v[i]) & 0x7fffffffu);
    return r;
  }
  /// These values, which must not be negative, with the signs of `from`.
  IDEFICS_CPU_OUTLINE F32x16 with_sign_of(F32x16 from) const {
    for (int i = 0; i < 16; ++i)
      from.v[i] = std::bit_cast<float>((std::bit_cast<std::uint32_t>(from.v[i]) & 0x80000000u) |
                                       std::bit_cast<std::uint32_t>(v[i]));
    return from;
  }
  /// a < b ? a : b, so that a NaN in `b` stays.
  static IDEFICS_CPU_OUTLINE F32x16 min(F32x16 a, F32x16 b) {
    for (int i = 0; i < 16; ++i) b.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
    return b;
  }
  /// a > b ? a : b, so that a NaN in `b` stays.
  static IDEFICS_CPU_OUTLINE F32x16 max(F32x16 a, F32x16 b) {
    for (int i = 0; i < 16; ++i) b.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return b;
  }
  /// a < b ? yes : no
  static IDEFICS_CPU_OUTLINE F32x16 where_less(F32x16 a, F32x16 b, F32x16 yes, F32x16 no) {
    for (int i = 0; i < 16; ++i) no.v[i] = a.v[i] < b.v[i] ? yes.v[i] : no.v[i];
    return no;
  }
  /// This times 2^n, with n in the low bits of `shifted` = n + 1.5 * 2^23, |n| <= 252. Multiplies
  /// by two factors, so that subnormal results are rounded once.
  IDEFICS_CPU_OUTLINE F32x16 times_power_of_two(F32x16 shifted) const {
    for (int i = 0; i < 16; ++i) {
      const auto n =
          static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted.v[i]) - 0x4b400000u);
      const std::int32_t half = n >> 1;
      shifted.v[i] = v[i] * power(half) * power(n - half);
    }
    return shifted;
  }

  /// Adds up the lanes in a fixed tree, 16 to 8, 4, 2, 1: each and the one half the width above it.
  IDEFICS_CPU_OUTLINE float sum() const {
    float t[8];
    for (int i = 0; i < 8; ++i) t[i] = v[i] + v[i + 8];
    for (int i = 0; i < 4; ++i) t[i] = t[i] + t[i + 4];
    return (t[0] + t[2]) + (t[1] + t[3]);
  }
  /// Four sums at once.
  static IDEFICS_CPU_OUTLINE void sum4(const F32x16 (&a)[4], float* out) {
    for (int i = 0; i < 4; ++i) out[i] = a[i].sum();
  }
  /// Four sums of each row, to rows of `out` that are `stride` apart.
  template <int rows>
  static IDEFICS_CPU_OUTLINE void sum4(const F32x16 (&a)[rows][4], float* out,
                                       std::int64_t stride) {
    for (int i = 0; i < rows; ++i) sum4(a[i], out + i * stride);
  }
  IDEFICS_CPU_OUTLINE float max_lane() const {
    float m = v[0];
    for (float lane : v) m = lane > m ? lane : m;
    return m;
  }

  F32x16 held() const { return *this; }
  F32x16 group(int) const { return *this; }
  static F32x16 join(const F32x16* groups) { return groups[0]; }

 private:
  F32x16 half_lanes(int first) const {
    bf16_t half[32];
    std::memcpy(half, v, sizeof half);
    F32x16 r;
    for (int i = 0; i < 16; ++i) r.v[i] = to_f32(half[2 * i + first]);
    return r;
  }
  static float pinned(float x) {
#if IDEFICS_CPU_X86
    __asm__("" : "+x"(x));
#else
    volatile float keep = x;
    x = keep;
#endif
    return x;
  }
  static float power(std::int32_t n) {
    return std::bit_cast<float>((static_cast<std::uint32_t>(n) + 127u) << 23);
  }
};

/// The lanes of one register, the unit of the GEMV and GEMM: here, all sixteen.
using Lanes = F32x16;
