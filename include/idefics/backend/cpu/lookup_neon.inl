// Decodes 4-bit codes as in lookup_scalar.inl, with the table lookup of NEON, which finds 16 bytes
// in a table of 16: one lookup for each byte of a value, then the bytes are interleaved.

/// Byte `i` of each value of a table of `T`.
template <class T>
IDEFICS_CPU_INLINE uint8x16_t byte_of_values(const T (&bits)[16], int i) {
  std::uint8_t bytes[16];
  for (int j = 0; j < 16; ++j) bytes[j] = static_cast<std::uint8_t>(bits[j] >> 8 * i);
  return vld1q_u8(bytes);
}

struct Lookup {
  using Scaled = Lanes;  // absmax in all lanes
  uint8x16_t planes[4];  // byte i of every value

  explicit Lookup(const float* values) {
    std::uint32_t bits[16];
    std::memcpy(bits, values, sizeof bits);
    for (int i = 0; i < 4; ++i) planes[i] = byte_of_values(bits, i);
  }
  IDEFICS_CPU_INLINE Scaled scaled(float absmax) const { return Lanes::set(absmax); }
  static IDEFICS_CPU_INLINE F32x16 to_lookup_order(F32x16 x) { return x; }
  static IDEFICS_CPU_INLINE F32x16 to_natural_order(F32x16 x) { return x; }

  IDEFICS_CPU_INLINE void values(Scaled absmax, const std::uint8_t* codes, F32x16 (&w)[2]) const {
    const uint8x16_t bytes = vld1q_u8(codes);
    const uint8x16_t high = vshrq_n_u8(bytes, 4), low = vandq_u8(bytes, vdupq_n_u8(15));
    w[0] = found(vzip1q_u8(high, low)) * F32x16{absmax, absmax};
    w[1] = found(vzip2q_u8(high, low)) * F32x16{absmax, absmax};
  }

 private:
  IDEFICS_CPU_INLINE F32x16 found(uint8x16_t index) const {
    const uint8x16_t b0 = vqtbl1q_u8(planes[0], index), b1 = vqtbl1q_u8(planes[1], index);
    const uint8x16_t b2 = vqtbl1q_u8(planes[2], index), b3 = vqtbl1q_u8(planes[3], index);
    return {joined(vzip1q_u8(b0, b1), vzip1q_u8(b2, b3)),
            joined(vzip2q_u8(b0, b1), vzip2q_u8(b2, b3))};
  }
  /// The values whose lower and upper halves these are.
  static IDEFICS_CPU_INLINE Lanes joined(uint8x16_t lower, uint8x16_t upper) {
    const uint16x8_t a = vreinterpretq_u16_u8(lower), b = vreinterpretq_u16_u8(upper);
    return {vreinterpretq_f32_u16(vzip1q_u16(a, b)), vreinterpretq_f32_u16(vzip2q_u16(a, b))};
  }
};

struct PairLookup {
  uint8x16_t low, high;  // the two bytes of every value

  explicit PairLookup(const float* values) {
    std::uint16_t bits[16];
    for (int i = 0; i < 16; ++i) bits[i] = to_bf16(values[i]).bits;
    low = byte_of_values(bits, 0), high = byte_of_values(bits, 1);
  }

  IDEFICS_CPU_INLINE void pairs(const std::uint8_t* codes, Lanes (&w)[4]) const {
    const uint8x16_t first = vld1q_u8(codes), second = vld1q_u8(codes + 16);
    const uint8x16_t nibble = vdupq_n_u8(15);
    const uint8x16_t even = vuzp1q_u8(first, second);  // bytes 0 and 2 of each lane
    const uint8x16_t odd = vuzp2q_u8(first, second);
    w[0] = found(vshrq_n_u8(even, 4));
    w[1] = found(vandq_u8(even, nibble));
    w[2] = found(vshrq_n_u8(odd, 4));
    w[3] = found(vandq_u8(odd, nibble));
  }

 private:
  IDEFICS_CPU_INLINE Lanes found(uint8x16_t index) const {
    const uint8x16_t a = vqtbl1q_u8(low, index), b = vqtbl1q_u8(high, index);
    return {vreinterpretq_f32_u8(vzip1q_u8(a, b)), vreinterpretq_f32_u8(vzip2q_u8(a, b))};
  }
};
