// absmax[b] = max |x| over block b; code = order[number of thresholds below x / absmax]
// Source: quant/blockwise.hpp has the rules. Parallel over blocks. No sum. Bound: bytes of x.

/// max |x|, or NaN if there is one: magnitudes are ordered like their bits, NaN above infinity.
template <class T>
inline float largest_bits(const std::byte* x, std::int64_t count) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < count; i += 16) {
    float lanes[16];
    load_as_f32<T, F32x16>(x + i * static_cast<std::int64_t>(sizeof(T))).store(lanes);
    for (const float lane : lanes)
      largest = std::max(largest, std::bit_cast<std::uint32_t>(lane) & 0x7fffffffu);
  }
  return std::bit_cast<float>(largest);
}

/// The same, comparing bits only if a value is not finite.
template <class T>
inline float largest_magnitude(const std::byte* x, std::int64_t count) {
  const F32x16 zero = F32x16::zero(), one = F32x16::set(1.0f);
  F32x16 largest = zero, nonfinite = zero;  // stays zero for finite x
  for (std::int64_t i = 0; i < count; i += 16) {
    const auto v = load_as_f32<T, F32x16>(x + i * static_cast<std::int64_t>(sizeof(T)));
    largest = F32x16::max(largest, v.abs());
    nonfinite = nonfinite + v * zero;
  }
  const bool finite = F32x16::where_less(nonfinite, one, zero, one).max_lane() == 0.0f;
  return finite ? largest.max_lane() : largest_bits<T>(x, count);
}

/// Quantizes one block of `count` values, a multiple of 32. Returns the absmax to store.
template <class T, bool full>
inline float quantize_block(std::uint8_t* codes, const std::byte* x, std::int64_t count,
                            const CodeSearch& search) {
  constexpr float least = 1e-38f;
  const float absmax = largest_magnitude<T>(x, count);
  const float divisor = absmax < least ? least : absmax;
  const F32x16 scale = F32x16::set(full ? 1.0f / divisor : divisor);
  for (std::int64_t i = 0; i < count; i += 32) {
    F32x16 v[2];
    for (int half = 0; half < 2; ++half) {
      v[half] = load_as_f32<T, F32x16>(x + (i + 16 * half) * static_cast<std::int64_t>(sizeof(T)));
      v[half] = full ? v[half] * scale : v[half] / scale;
    }
    search.codes(v, codes + i / 2);
  }
  return full ? absmax : divisor;
}

/// The partial block at the end of a tensor.
template <class T>
inline float quantize_rest(std::uint8_t* codes, const std::byte* x, std::int64_t count,
                           const CodeSearch& search, std::uint8_t code_of_zero) {
  alignas(64) std::byte values[max_blocksize * sizeof(T)] = {};
  std::uint8_t all[max_blocksize / 2];
  std::memcpy(values, x, static_cast<std::size_t>(count) * sizeof(T));
  const float absmax = quantize_block<T, false>(all, values, round_up(count, 32), search);
  std::memcpy(codes, all, static_cast<std::size_t>((count + 1) / 2));
  if (count % 2 == 1)
    codes[count / 2] = static_cast<std::uint8_t>((codes[count / 2] & 0xf0) | code_of_zero);
  return absmax;
}

template <class T>
inline void quantize_values(std::uint8_t* codes, float* absmax, const std::byte* x,
                            std::int64_t count, std::int64_t blocksize, const CodeRule& rule) {
  const CodeSearch search(rule);
  const auto size = static_cast<std::int64_t>(sizeof(T));
  std::int64_t at = 0;
  for (; at + blocksize <= count; at += blocksize)
    *absmax++ = quantize_block<T, true>(codes + at / 2, x + at * size, blocksize, search);
  if (at < count)
    *absmax =
        quantize_rest<T>(codes + at / 2, x + at * size, count - at, search, rule.code_of_zero());
}

inline void quantize(std::uint8_t* codes, float* absmax, const std::byte* x, DType dtype,
                     std::int64_t count, std::int64_t blocksize, const CodeRule& rule) {
  if (dtype == DType::f32)
    quantize_values<float>(codes, absmax, x, count, blocksize, rule);
  else if (dtype == DType::f16)
    quantize_values<f16_t>(codes, absmax, x, count, blocksize, rule);
  else
    quantize_values<bf16_t>(codes, absmax, x, count, blocksize, rule);
}
