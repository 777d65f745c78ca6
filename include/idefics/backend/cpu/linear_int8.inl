// out[m,n] = sum_k CX[m,k] CW[n,k] * (absmax_x[m] * absmax_w[n]) * step + b[n] + outliers of x * w
// x [M,K] f32, CW [N,K] int8; quant/int8.hpp has the rules, docs/determinism.md the order. Parallel
// over n. Sums of codes are exact; outliers are added by k, each with one fma, to a sum from zero.
// Bound: bytes of the codes for few rows of x, the product peak for many.

/// The value of a scalar product that is not fused with what follows.
IDEFICS_CPU_INLINE float unfused(float x) {
#if IDEFICS_CPU_X86
  __asm__("" : "+x"(x));
#else
  volatile float keep = x;
  x = keep;
#endif
  return x;
}

/// Sixteen values rounded to f16, of x rounded to bf16 first if `bf16`.
IDEFICS_CPU_INLINE F32x16 rounded_to_f16(F32x16 x, bool bf16) {
  std::uint16_t half[16];
  if (bf16) {
    x.store_bf16(half);
    x = F32x16::load_bf16(half);
  }
  x.store_f16(half);
  return F32x16::load_f16(half);
}

/// Quantizes one row of K values: codes [round_up(K, 32)], zero-padded, and the columns of its
/// outliers, ascending, [K]. Magnitudes are ordered like their bits, NaN above infinity.
inline Int8Row quantize_row(std::int16_t* codes, std::int32_t* outliers, const float* x,
                            std::int64_t k, float threshold, bool bf16) {
  const float limit = int8_outlier_limit(threshold);
  std::uint32_t largest = 0;
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < k; i += 16) {
    const std::int64_t width = std::min<std::int64_t>(16, k - i);
    float values[16];
    rounded_to_f16(width == 16 ? F32x16::load(x + i) : load_part(x + i, width), bf16).store(values);
    for (std::int64_t j = 0; j < width; ++j)
      if (threshold > 0 && std::abs(values[j]) >= limit)
        outliers[count++] = static_cast<std::int32_t>(i + j);
      else
        largest = std::max(largest, std::bit_cast<std::uint32_t>(values[j]) & 0x7fffffffu);
  }
  const float absmax = std::bit_cast<float>(largest);
  const F32x16 scale = F32x16::set(int8_scale(absmax)), magic = F32x16::set(0x1.8p23f);
  for (std::int64_t i = 0; i < round_up(k, 32); i += 16) {
    const std::int64_t width = std::clamp<std::int64_t>(k - i, 0, 16);
    const F32x16 v = width == 16 ? F32x16::load(x + i) : load_part(x + i, width);
    float values[16];  // rounded to integers, ties to even, by adding 1.5 * 2^23
    (rounded_to_f16(v, bf16) * scale + magic - magic).store(values);
    for (int j = 0; j < 16; ++j)
      codes[i + j] = static_cast<std::int16_t>(std::abs(values[j]) <= 127.0f ? values[j] : 0.0f);
  }
  for (std::int64_t i = 0; i < count; ++i) codes[outliers[i]] = 0;
  return {absmax, count};
}

/// The outliers of row m times weight row n.
inline float outlier_product(const Int8Args& t, std::int64_t m, std::int64_t n, float absmax) {
  float sum = 0;
  const std::int32_t* columns = t.outliers + m * t.k;
  for (std::int64_t i = 0; i < t.rows[m].outliers; ++i) {
    const std::int64_t k = columns[i];
    float x = t.x[m * t.k + k];
    float w =
        unfused(unfused(static_cast<float>(t.codes[n * t.k + k]) * absmax) * int8_weight_step);
    if (t.bf16) x = to_f32(to_bf16(x)), w = to_f32(to_bf16(w));
    sum = std::fma(x, w, sum);
  }
  return sum;
}

/// w_rows weight rows from n on times x_rows rows of x from m on.
template <int w_rows, int x_rows>
IDEFICS_CPU_OUTLINE inline void multiply_codes(const Int8Args& t, std::int64_t m, std::int64_t n) {
  const std::int64_t x_apart = round_up(t.k, 32), whole = t.k / CodeSum::width * CodeSum::width;
  const std::int16_t* x = t.x_codes + m * x_apart;
  const std::int8_t* w = t.codes + n * t.k;
  CodeSum sums[w_rows][x_rows];
  IDEFICS_CPU_UNROLL
  for (int i = 0; i < w_rows * x_rows; ++i) sums[i / x_rows][i % x_rows] = CodeSum::zero();
  for (std::int64_t k = 0; k < whole; k += CodeSum::width) {
    typename CodeSum::Codes codes[w_rows];
    IDEFICS_CPU_UNROLL
    for (int r = 0; r < w_rows; ++r) codes[r] = CodeSum::load(w + r * t.k + k);
    IDEFICS_CPU_UNROLL
    for (int c = 0; c < x_rows; ++c) IDEFICS_CPU_UNROLL
    for (int r = 0; r < w_rows; ++r) sums[r][c].add(x + c * x_apart + k, codes[r]);
  }
  for (int r = 0; r < w_rows; ++r) {
    float absmax;
    std::memcpy(&absmax, t.absmax + (n + r) * 4, sizeof absmax);
    for (int c = 0; c < x_rows; ++c) {
      std::int32_t sum = sums[r][c].sum();
      for (std::int64_t k = whole; k < t.k; ++k) sum += x[c * x_apart + k] * w[r * t.k + k];
      const Int8Row& row = t.rows[m + c];
      float out = unfused(static_cast<float>(sum) * unfused(row.absmax * absmax));
      out = unfused(out * int8_product_step);
      if (t.bias != nullptr) out = unfused(out + t.bias[n + r]);
      if (row.outliers > 0) out += outlier_product(t, m + c, n + r, absmax);
      t.out[(m + c) * t.n + n + r] = out;
    }
  }
}

/// Weight rows [begin, end) times all rows of x: the codes of some rows of x stay in L1.
inline void multiply_int8(const Int8Args& t, std::int64_t begin, std::int64_t end) {
  const auto rows = [&]<int x_rows>(std::int64_t m) {
    std::int64_t n = begin;
    for (; n + CodeSum::w_rows <= end; n += CodeSum::w_rows)
      multiply_codes<CodeSum::w_rows, x_rows>(t, m, n);
    for (; n < end; ++n) multiply_codes<1, x_rows>(t, m, n);
  };
  std::int64_t m = 0;
  for (; m + CodeSum::x_rows <= t.m; m += CodeSum::x_rows)
    rows.template operator()<CodeSum::x_rows>(m);
  for (; m < t.m; ++m) rows.template operator()<1>(m);
}
