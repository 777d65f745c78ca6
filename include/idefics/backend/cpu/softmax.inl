// softmax: out = exp(x - max) / sum.                            x, out [D] f32, one row
// argmax:  the index of the first of the largest values, NaN larger than any number
// Source: torch.softmax, torch.argmax; docs/kernels/softmax.md. Parallel over rows. Order: the
// largest value first, then exponentials summed in 16 lanes over D, and the tree, as in attention.
// Bound: bytes of x and out, or the arithmetic of exp.

/// `scratch` has D floats, rounded up to full vectors, so that the row may be written in place.
inline void softmax(float* out, const float* x, std::int64_t d, float* scratch) {
  std::memcpy(scratch, x, static_cast<std::size_t>(d) * sizeof(float));
  const float sum = exponentials(scratch, d, 1.0f);
  if (std::isnan(sum))  // one NaN for all, since that of an operand may differ between machines
    return void(std::fill_n(out, d, std::numeric_limits<float>::quiet_NaN()));
  const F32x16 divisor = F32x16::set(sum);
  for_each_vector(d, [&](std::int64_t i, auto load, auto store)
                         IDEFICS_CPU_LAMBDA { store(load(scratch + i) / divisor, out + i); });
}

/// The largest of `count` values, with NaN as infinity.
inline float largest_of(const float* x, std::int64_t count) {
  const float infinity = std::numeric_limits<float>::infinity();
  const F32x16 most = F32x16::set(infinity);
  F32x16 lanes = F32x16::set(-infinity);
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const F32x16 at = F32x16::load(x + i);
    lanes = F32x16::max(F32x16::where_less(at, most, at, most), lanes);
  }
  float largest = lanes.max_lane();
  for (; i < count; ++i) largest = x[i] <= largest ? largest : x[i] < infinity ? x[i] : infinity;
  return largest;
}

/// Finds the first block with the largest value, and then the value in that block.
inline std::int64_t argmax(const float* x, std::int64_t d) {
  constexpr std::int64_t block = 512;
  float best = largest_of(x, std::min(block, d));
  std::int64_t at = 0;
  for (std::int64_t begin = block; begin < d; begin += block)
    if (const float found = largest_of(x + begin, std::min(block, d - begin)); found > best)
      best = found, at = begin;
  if (best == std::numeric_limits<float>::infinity())  // the first NaN, if there is one
    for (std::int64_t i = at; i < d; ++i)
      if (std::isnan(x[i])) return i;
  while (x[at] < best) ++at;
  return at;
}
