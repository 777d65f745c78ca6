// exp, tanh and erf on sixteen lanes: results must not depend on the version of the C library. The
// polynomials are minimax fits in f32. Largest errors over all of f32, measured by
// tests/unit/backend/isa_bits.cpp: exp 2 ulp, tanh 3 ulp, erf 3 ulp.

template <std::size_t n>
IDEFICS_CPU_INLINE F32x16 horner(F32x16 x, const float (&highest_first)[n]) {
  F32x16 p = F32x16::set(highest_first[0]);
  IDEFICS_CPU_UNROLL
  for (std::size_t i = 1; i < n; ++i) p = F32x16::fma(p, x, F32x16::set(highest_first[i]));
  return p;
}

/// e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2. Overflows to infinity, underflows to 0.
IDEFICS_CPU_INLINE F32x16 exp(F32x16 x) {
  static constexpr float tail[] = {0x1.6a1a72p-10f, 0x1.123fc6p-7f, 0x1.555916p-5f, 0x1.55548ap-3f,
                                   0x1.fffffcp-2f};
  x = F32x16::min(F32x16::set(89.0f), F32x16::max(F32x16::set(-105.0f), x));
  const F32x16 round = F32x16::set(0x1.8p23f);  // adding it leaves an integer in the low bits
  const F32x16 shifted = F32x16::fma(x, F32x16::set(0x1.715476p+0f), round);
  const F32x16 n = shifted - round;
  F32x16 r = F32x16::fma(n, F32x16::set(-0x1.62e4p-1f), x);  // ln 2 in two parts, the first exact
  r = F32x16::fma(n, F32x16::set(-0x1.7f7d1cp-20f), r);
  const F32x16 p = F32x16::fma(r * r, horner(r, tail), r) + F32x16::set(1.0f);
  return p.times_power_of_two(shifted);
}

/// Near zero an odd polynomial, elsewhere 1 - 2 / (e^(2|x|) + 1).
IDEFICS_CPU_INLINE F32x16 tanh(F32x16 x) {
  static constexpr float odd[] = {-0x1.76ac1ap-8f, 0x1.5256d8p-6f, -0x1.b84448p-5f, 0x1.110768p-3f,
                                  -0x1.555534p-2f};
  const F32x16 size = x.abs(), square = x * x, one = F32x16::set(1.0f);
  const F32x16 near = F32x16::fma(x * square, horner(square, odd), x);
  const F32x16 far = one - F32x16::set(2.0f) / (exp(size + size) + one);
  return F32x16::where_less(size, F32x16::set(0.625f), near, far.with_sign_of(x));
}

/// Below 1 an odd polynomial, elsewhere 1 - e^q with q = log erfc |x|.
IDEFICS_CPU_INLINE F32x16 erf(F32x16 x) {
  static constexpr float odd[] = {0x1.4ae4dp-14f, -0x1.a485ecp-11f, 0x1.5419f6p-8f, -0x1.b7fbb4p-6f,
                                  0x1.ce2d2p-4f,  -0x1.81273ep-2f,  0x1.06eba8p-3f};
  static constexpr float log_erfc[] = {0x1.896f94p-13f, -0x1.83fcf6p-9f, 0x1.66a3d2p-6f,
                                       -0x1.a6c822p-4f, -0x1.46a98ap-1f, -0x1.208e52p+0f,
                                       -0x1.50253cp-12f};
  const F32x16 size = x.abs(), square = x * x, one = F32x16::set(1.0f);
  const F32x16 near = F32x16::fma(x, horner(square, odd), x);
  const F32x16 bounded = F32x16::min(F32x16::set(4.0f), size);  // erf is 1 from there on
  const F32x16 far = one - exp(horner(bounded, log_erfc));
  return F32x16::where_less(size, one, near, far.with_sign_of(x));
}

inline void elementary(float* out, const float* x, std::int64_t count, int function) {
  for_each_vector(count, [=](std::int64_t i, auto load, auto store) IDEFICS_CPU_LAMBDA {
    const F32x16 at = load(x + i);
    store(function == 0 ? exp(at) : function == 1 ? tanh(at) : erf(at), out + i);
  });
}
