// out[m,n] = sum_k a[m,k] b[k,n] for a few rows of a.      a [M,K], b [K,N], out [M,N], all f32
// Source: torch.matmul; docs/kernels/matmul.md. Parallel over columns of b, which is read in place,
// row after row. Order: that of linear, and so are the bits. A vector is sixteen columns here, so
// the lanes of a sum are sixteen vectors in memory. Bound: bytes of b. With many rows of a, columns
// of b are transposed and multiplied by linear.inl.

/// Adds products to lane k mod 16 of columns [begin, end), for `rows` rows of a from row m on: those
/// of k, k + 16, …, `steps` of them. A sum is 16 lanes of `stride` columns.
template <int rows, int steps>
IDEFICS_CPU_INLINE void add_products(const LinearArgs& t, std::int64_t begin, std::int64_t end,
                                     std::int64_t m, std::int64_t k, float* sums,
                                     std::int64_t stride) {
  const float* b = reinterpret_cast<const float*>(t.weight) + k * t.n + begin;
  float* lane = sums + (m * 16 + k % 16) * stride;
  F32x16 factors[rows][steps];
  for (int i = 0; i < rows * steps; ++i)
    factors[i / steps][i % steps] = F32x16::set(t.x[(m + i / steps) * t.k + k + i % steps * 16]);
  for_each_vector(end - begin, [&](std::int64_t n, auto load, auto) IDEFICS_CPU_LAMBDA {
    F32x16 total[rows];
    IDEFICS_CPU_UNROLL
    for (int r = 0; r < rows; ++r) total[r] = F32x16::load(lane + r * 16 * stride + n);
    IDEFICS_CPU_UNROLL
    for (int s = 0; s < steps; ++s) {
      const F32x16 values = load(b + s * 16 * t.n + n);
      IDEFICS_CPU_UNROLL
      for (int r = 0; r < rows; ++r) total[r] = F32x16::fma(factors[r][s], values, total[r]);
    }
    IDEFICS_CPU_UNROLL
    for (int r = 0; r < rows; ++r) total[r].store(lane + r * 16 * stride + n);
  });
}

template <int steps>
inline void add_products(const LinearArgs& t, std::int64_t begin, std::int64_t end, std::int64_t k,
                         float* sums, std::int64_t stride) {
  std::int64_t m = 0;
  for (; m + 2 <= t.m; m += 2) add_products<2, steps>(t, begin, end, m, k, sums, stride);
  if (m < t.m) add_products<1, steps>(t, begin, end, m, k, sums, stride);
}

/// Columns [begin, end); `sums` is [M,16,end - begin], rounded up to full vectors.
inline void matmul(const LinearArgs& t, std::int64_t begin, std::int64_t end, float* sums) {
  constexpr int steps = 4;
  const std::int64_t stride = round_up(end - begin, 16);
  std::fill_n(sums, t.m * 16 * stride, 0.0f);
  std::int64_t k = 0;
  for (; k + 16 * steps <= t.k; k += 16 * steps)
    for (int lane = 0; lane < 16; ++lane)
      add_products<steps>(t, begin, end, k + lane, sums, stride);
  for (; k < t.k; ++k) add_products<1>(t, begin, end, k, sums, stride);
  for (std::int64_t m = 0; m < t.m; ++m, sums += 16 * stride)
    for_each_vector(end - begin, [&](std::int64_t n, auto, auto store) IDEFICS_CPU_LAMBDA {
      F32x16 lanes[16];
      for (int l = 0; l < 16; ++l) lanes[l] = F32x16::load(sums + l * stride + n);
      for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) lanes[l] = lanes[l] + lanes[l + half];
      store(lanes[0] + F32x16::zero(), t.out + m * t.n + begin + n);  // -0 becomes 0, as in linear
    });
}
