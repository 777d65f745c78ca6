// exp and log that do not depend on the C library, so that the probabilities of sampling are the
// same on every machine. Every product that is added uses std::fma: compilers have nothing to
// contract.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>

namespace idefics { inline namespace v0 { namespace detail {

/// e^x with a relative error of at most 1e-12; 0 below -708, infinity above 709, NaN for NaN.
inline double portable_exp(double x) {
  if (!(x >= -708.0)) return std::isnan(x) ? x : 0.0;
  if (x > 709.0) return std::numeric_limits<double>::infinity();
  // e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2; ln 2 in two parts, the first exact.
  const double n = std::floor(std::fma(x, 0x1.71547652b82fep+0, 0.5));
  const double r = std::fma(n, -0x1.7f7d1cf79abcap-20, std::fma(n, -0x1.62e4p-1, x));
  double p = 1.0 / 39916800.0;  // Taylor series up to r^11
  for (const double c : {1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0,
                         1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0})
    p = std::fma(p, r, c);
  return std::ldexp(p, static_cast<int>(n));
}

/// Natural logarithm with a relative error of at most 1e-12 (absolute near x = 1); -infinity for 0,
/// NaN for negative x.
inline double portable_log(double x) {
  if (!(x > 0)) return x == 0 ? -std::numeric_limits<double>::infinity() : std::nan("");
  if (std::isinf(x)) return x;
  // x = 2^n m with m in [sqrt(1/2), sqrt 2); log m = 2 artanh f with f = (m - 1) / (m + 1).
  int n = 0;
  double m = std::frexp(x, &n);
  if (m < 0x1.6a09e667f3bcdp-1) m += m, --n;
  const double f = (m - 1.0) / (m + 1.0), square = f * f;
  double p = 2.0 / 17.0;
  for (const double c :
       {2.0 / 15.0, 2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0})
    p = std::fma(p, square, c);
  return std::fma(p, f, static_cast<double>(n) * 0x1.62e42fefa39efp-1);
}

}}}  // namespace idefics::v0::detail
