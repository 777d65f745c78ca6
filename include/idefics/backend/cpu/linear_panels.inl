// What the GEMMs of both orders share, whose vectors are weight rows. A panel is
// Lanes::chain_w_vectors vectors of them.

/// Calls body.template operator()<x_rows>(m) for rows [m, m_end) of x, `most` or fewer at a time.
template <int most, class Body>
IDEFICS_CPU_INLINE void for_rows_of_x(std::int64_t m, std::int64_t m_end, const Body& body) {
  for (; m + most <= m_end; m += most) body.template operator()<most>(m);
  if constexpr (most > 1) for_rows_of_x<most / 2>(m, m_end, body);
}

/// Stores the outputs of `rows` <= Lanes::width weight rows from n on.
inline void store_outputs(const LinearArgs& t, const float* sums, std::int64_t m, std::int64_t n,
                          std::int64_t rows) {
  float* out = t.out + m * t.n + n;
  if (rows < Lanes::width)
    for (std::int64_t r = 0; r < rows; ++r) out[r] = sums[r] + t.bias_of(n + r);
  else
    (Lanes::load(sums) + (t.bias == nullptr ? Lanes::zero() : Lanes::load(t.bias + n))).store(out);
}

/// Stores the outputs of weight rows [n_begin, n_end), whose sums are [panel][row of x][weight row].
inline void store_panels(const LinearArgs& t, const float* sums, std::int64_t n_begin,
                         std::int64_t n_end) {
  constexpr std::int64_t width = Lanes::width, panel = Lanes::chain_w_vectors * width;
  for (std::int64_t n = n_begin; n < n_end; n += width) {
    const std::int64_t at = n - n_begin;
    for (std::int64_t m = 0; m < t.m; ++m)
      store_outputs(t, sums + (at / panel * t.m + m) * panel + at % panel, m, n,
                    std::min(width, n_end - n));
  }
}
