// absmax[b] = max |x| over block b; code = order[number of thresholds below x / absmax]
// Source: quant/blockwise.hpp has the rules. Parallel over blocks. No sum. Bound: comparisons,
// fifteen for each value.

/// `count` values as f32, with zeros up to a multiple of 16 behind them; says whether all are finite.
template <class T>
inline bool load_block(float* values, const std::byte* x, std::int64_t count) {
  const F32x16 infinity = F32x16::set(std::numeric_limits<float>::infinity());
  const F32x16 one = F32x16::set(1.0f), zero = F32x16::zero();
  F32x16 strange = zero;
  for (std::int64_t i = 0; i < count; i += 16) {
    std::byte part[16 * sizeof(T)] = {};
    const std::byte* from = x + i * static_cast<std::int64_t>(sizeof(T));
    if (i + 16 > count) {
      std::memcpy(part, from, static_cast<std::size_t>(count - i) * sizeof(T));
      from = part;
    }
    const F32x16 v = load_as_f32<T, F32x16>(from);
    v.store(values + i);
    strange = F32x16::max(strange, F32x16::where_less(v.abs(), infinity, zero, one));
  }
  return strange.max_lane() == 0.0f;
}

/// max |x|, NaN if there is one: magnitudes are ordered as their bits are, NaN above infinity.
inline float largest_magnitude(const float* x, std::int64_t count, bool finite) {
  if (finite) {
    F32x16 largest = F32x16::zero();
    for (std::int64_t i = 0; i < count; i += 16)
      largest = F32x16::max(largest, F32x16::load(x + i).abs());
    return largest.max_lane();
  }
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu);
  return std::bit_cast<float>(largest);
}

/// How many thresholds are below each of `count` values, as f32. NaN is above all of them.
inline void rank_values(float* ranks, const float* x, std::int64_t count, const CodeRule& rule,
                        bool finite) {
  const F32x16 one = F32x16::set(1.0f), zero = F32x16::zero();
  for (std::int64_t i = 0; i < count; i += 16) {
    const F32x16 v = F32x16::load(x + i);
    F32x16 below = zero;
    IDEFICS_CPU_UNROLL
    for (int t = 0; t < 15; ++t)
      below = below + F32x16::where_less(F32x16::set(rule.thresholds[t]), v, one, zero);
    below.store(ranks + i);
  }
  for (std::int64_t i = 0; i < count && !finite; ++i)
    if (std::isnan(x[i])) ranks[i] = 15.0f;
}

/// One block of `count` <= blocksize values. Gives the absmax that is stored.
inline float quantize_block(std::uint8_t* codes, const std::byte* from, DType dtype,
                            std::int64_t count, std::int64_t blocksize, const CodeRule& rule) {
  constexpr float least = 1e-38f;
  alignas(64) float x[max_blocksize], ranks[max_blocksize];
  const bool finite = dtype == DType::f32   ? load_block<float>(x, from, count)
                      : dtype == DType::f16 ? load_block<f16_t>(x, from, count)
                                            : load_block<bf16_t>(x, from, count);
  const std::int64_t padded = round_up(count, 16);
  const float absmax = largest_magnitude(x, padded, finite);
  const float divisor = absmax < least ? least : absmax;
  const bool whole = count == blocksize;
  const F32x16 scale = F32x16::set(whole ? 1.0f / divisor : divisor);
  for (std::int64_t i = 0; i < padded; i += 16) {
    const F32x16 v = F32x16::load(x + i);
    (whole ? v * scale : v / scale).store(x + i);
  }
  rank_values(ranks, x, padded, rule, finite);
  if (count % 2 == 1) ranks[count] = rule.rank_of_zero();
  for (std::int64_t i = 0; i < (count + 1) / 2; ++i)
    codes[i] = rule.of_pair[static_cast<std::size_t>(16.0f * ranks[2 * i] + ranks[2 * i + 1])];
  return whole ? absmax : divisor;
}

/// Blocks of the `count` values at `x`, the first at the beginning of a block.
inline void quantize(std::uint8_t* codes, float* absmax, const std::byte* x, DType dtype,
                     std::int64_t count, std::int64_t blocksize, const CodeRule& rule) {
  const auto size = static_cast<std::int64_t>(size_of(dtype));
  for (std::int64_t at = 0; at < count; at += blocksize)
    *absmax++ = quantize_block(codes + at / 2, x + at * size, dtype,
                               std::min(blocksize, count - at), blocksize, rule);
}
