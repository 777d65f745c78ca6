// Loops that only read or only multiply, on the lanes of an instruction set; see ceilings.cpp.

inline float read_one_stream(const float* p, std::int64_t count) {
  F32x16 sums[4] = {F32x16::zero(), F32x16::zero(), F32x16::zero(), F32x16::zero()};
  for (std::int64_t i = 0; i + 64 <= count; i += 64)
    for (int j = 0; j < 4; ++j) sums[j] = sums[j] + F32x16::load(p + i + 16 * j);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum();
}

/// Each stream is prefetched a kilobyte ahead.
inline float read_four_streams(const float* p, std::int64_t count) {
  constexpr std::int64_t ahead = 256;
  const std::int64_t apart = count / 64 * 16;
  F32x16 sums[4] = {F32x16::zero(), F32x16::zero(), F32x16::zero(), F32x16::zero()};
  for (std::int64_t i = 0; i < apart; i += 16)
    for (int j = 0; j < 4; ++j) {
      __builtin_prefetch(p + j * apart + i + ahead);
      sums[j] = sums[j] + F32x16::load(p + j * apart + i);
    }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum();
}

/// Twelve independent chains, enough to hide the latency. Returns their sum, so that they are kept.
template <bool pairs>
inline float multiply(std::int64_t steps) {
  constexpr int chains = 12;
  const float ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const Lanes a = Lanes::load(ones), b = Lanes::load(ones);
  Lanes sums[chains];
  for (auto& sum : sums) sum = Lanes::zero();
  for (std::int64_t i = 0; i < steps; ++i) {
    IDEFICS_CPU_UNROLL_TILE
    for (int c = 0; c < chains; ++c) {
#if IDEFICS_CPU_BF16_PRODUCTS
      if constexpr (pairs)
        sums[c] = Lanes::fma_pairs(a, b, sums[c]);
      else
#endif
        sums[c] = Lanes::fma(a, b, sums[c]);
    }
  }
  float lanes[Lanes::width], total = 0;
  for (auto& sum : sums) {
    sum.store(lanes);
    for (const float lane : lanes) total += lane;
  }
  return total;
}
