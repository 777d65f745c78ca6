// The AVX-512 intrinsics that f32x16_avx512.inl uses, as loops over lanes, for CPUs without
// AVX-512. Each does what Intel's manual says of the instruction. To be included once, after
// <immintrin.h> and inside a region with AVX2: from here on the names of the intrinsics refer to
// these functions.
#pragma once

#include <cmath>

#include <idefics/core/dtype.hpp>

namespace testing::avx512 {

typedef float f32x16 __attribute__((vector_size(64)));
typedef std::int32_t i32x16 __attribute__((vector_size(64)));
typedef std::uint32_t u32x16 __attribute__((vector_size(64)));

#define EMULATED __attribute__((always_inline)) inline

/// A vector whose lane i is f(i).
template <class Vector, class F>
EMULATED Vector each(const F& f) {
  Vector r{};
  for (int i = 0; i < 16; ++i) r[i] = f(i);
  return r;
}

// bits
EMULATED i32x16 as_int(f32x16 a) { return reinterpret_cast<i32x16>(a); }
EMULATED f32x16 as_float(i32x16 a) { return reinterpret_cast<f32x16>(a); }
EMULATED f32x16 and_ps(f32x16 a, f32x16 b) { return as_float(as_int(a) & as_int(b)); }
EMULATED f32x16 andnot_ps(f32x16 a, f32x16 b) { return as_float(~as_int(a) & as_int(b)); }
EMULATED f32x16 or_ps(f32x16 a, f32x16 b) { return as_float(as_int(a) | as_int(b)); }
EMULATED f32x16 xor_ps(f32x16 a, f32x16 b) { return as_float(as_int(a) ^ as_int(b)); }
EMULATED i32x16 and_si(i32x16 a, i32x16 b) { return a & b; }
EMULATED i32x16 or_si(i32x16 a, i32x16 b) { return a | b; }
EMULATED i32x16 slli(i32x16 a, int n) {
  return reinterpret_cast<i32x16>(reinterpret_cast<u32x16>(a) << n);
}
EMULATED i32x16 srli(i32x16 a, int n) {
  return reinterpret_cast<i32x16>(reinterpret_cast<u32x16>(a) >> n);
}
EMULATED i32x16 srai(i32x16 a, int n) { return a >> n; }
EMULATED i32x16 srli16(i32x16 a, int n) {
  std::uint16_t words[32];
  std::memcpy(words, &a, 64);
  for (std::uint16_t& word : words) word = static_cast<std::uint16_t>(word >> n);
  std::memcpy(&a, words, 64);
  return a;
}

// memory
EMULATED f32x16 loadu_ps(const void* p) {
  f32x16 r;
  std::memcpy(&r, p, 64);
  return r;
}
EMULATED i32x16 loadu_si(const void* p) { return as_int(loadu_ps(p)); }
EMULATED void storeu_ps(void* p, f32x16 a) { std::memcpy(p, &a, 64); }
EMULATED f32x16 set1_ps(float x) {
  return each<f32x16>([=](int) { return x; });
}
EMULATED i32x16 set1_epi32(int x) {
  return each<i32x16>([=](int) { return x; });
}
EMULATED f32x16 setzero_ps() { return f32x16{}; }

// arithmetic
EMULATED f32x16 add_ps(f32x16 a, f32x16 b) { return a + b; }
EMULATED f32x16 sub_ps(f32x16 a, f32x16 b) { return a - b; }
EMULATED f32x16 mul_ps(f32x16 a, f32x16 b) { return a * b; }
EMULATED f32x16 div_ps(f32x16 a, f32x16 b) { return a / b; }
EMULATED i32x16 add_epi32(i32x16 a, i32x16 b) {
  return reinterpret_cast<i32x16>(reinterpret_cast<u32x16>(a) + reinterpret_cast<u32x16>(b));
}
EMULATED i32x16 sub_epi32(i32x16 a, i32x16 b) {
  return reinterpret_cast<i32x16>(reinterpret_cast<u32x16>(a) - reinterpret_cast<u32x16>(b));
}
/// The second operand unless the first is less (greater), also when one of them is NaN.
EMULATED f32x16 min_ps(f32x16 a, f32x16 b) { return a < b ? a : b; }
EMULATED f32x16 max_ps(f32x16 a, f32x16 b) { return a > b ? a : b; }
EMULATED f32x16 fmadd_ps(f32x16 a, f32x16 b, f32x16 c) {
  return each<f32x16>([=](int i) { return std::fma(a[i], b[i], c[i]); });
}
/// a times 2^b, for integers b.
EMULATED f32x16 scalef_ps(f32x16 a, f32x16 b) {
  return each<f32x16>(
      [=](int i) { return std::isnan(b[i]) ? b[i] : std::ldexp(a[i], static_cast<int>(b[i])); });
}
EMULATED float reduce_max_ps(f32x16 a) {
  float most = a[0];
  for (int i = 1; i < 16; ++i) most = a[i] > most ? a[i] : most;
  return most;
}
/// Subnormal numbers become zero, whatever the mode of the thread.
EMULATED float flushed(float x) { return std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
/// Per lane, c + the odd product, then + the even one, each fused and rounded to nearest even.
EMULATED f32x16 dpbf16_ps(f32x16 c, i32x16 a, i32x16 b) {
  return each<f32x16>([=](int i) {
    const auto part = [i](i32x16 v, int odd) {
      const auto bits = static_cast<std::uint32_t>(v[i]);
      return flushed(std::bit_cast<float>(odd != 0 ? bits & 0xffff0000u : bits << 16));
    };
    const float first = flushed(std::fma(part(a, 1), part(b, 1), flushed(c[i])));
    return flushed(std::fma(part(a, 0), part(b, 0), first));
  });
}

// masks
template <int predicate>
EMULATED std::uint16_t cmp_ps_mask(f32x16 a, f32x16 b) {
  static_assert(predicate == _CMP_LT_OQ || predicate == _CMP_UNORD_Q || predicate == _CMP_NLE_UQ);
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) {
    const bool yes = predicate == _CMP_LT_OQ    ? a[i] < b[i]
                     : predicate == _CMP_NLE_UQ ? !(a[i] <= b[i])
                                                : std::isnan(a[i]) || std::isnan(b[i]);
    mask |= static_cast<unsigned>(yes) << i;
  }
  return static_cast<std::uint16_t>(mask);
}
template <class Vector>
EMULATED Vector mask_blend(std::uint16_t mask, Vector clear, Vector set) {
  return each<Vector>([=](int i) { return (mask >> i & 1) != 0 ? set[i] : clear[i]; });
}

// lookups
template <class Lane, class Vector>
EMULATED Vector lookup(i32x16 index, Vector table) {
  constexpr std::size_t lanes = 64 / sizeof(Lane);
  Lane at[lanes], from[lanes], to[lanes];
  std::memcpy(at, &index, 64);
  std::memcpy(from, &table, 64);
  for (std::size_t i = 0; i < lanes; ++i) to[i] = from[at[i] % lanes];
  std::memcpy(&table, to, 64);
  return table;
}
EMULATED f32x16 permutexvar_ps(i32x16 index, f32x16 table) {
  return lookup<std::uint32_t>(index, table);
}
EMULATED i32x16 permutexvar_epi16(i32x16 index, i32x16 table) {
  return lookup<std::uint16_t>(index, table);
}
/// Looks up the bytes of each quarter by the bytes of its index.
EMULATED i32x16 shuffle_epi8(i32x16 a, i32x16 index) {
  std::uint8_t at[64], from[64], to[64];
  std::memcpy(at, &index, 64);
  std::memcpy(from, &a, 64);
  for (int i = 0; i < 64; ++i) to[i] = at[i] >= 128 ? 0 : from[i / 16 * 16 + at[i] % 16];
  std::memcpy(&a, to, 64);
  return a;
}
EMULATED i32x16 srlv(i32x16 a, i32x16 n) {
  return each<i32x16>(
      [=](int i) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(a[i]) >> n[i]); });
}
/// Pairs of words (`size` 1) or of two words (2) of the lower or upper half of each quarter.
template <int size>
EMULATED i32x16 unpack(i32x16 a, i32x16 b, int upper) {
  return each<i32x16>([=](int i) {
    const int from = i / 4 * 4 + 2 * upper + (size == 1 ? i % 4 / 2 : i % 2);
    return (size == 1 ? i % 2 : i % 4 / 2) == 0 ? a[from] : b[from];
  });
}
EMULATED i32x16 unpacklo_epi32(i32x16 a, i32x16 b) { return unpack<1>(a, b, 0); }
EMULATED i32x16 unpackhi_epi32(i32x16 a, i32x16 b) { return unpack<1>(a, b, 1); }
EMULATED i32x16 unpacklo_epi64(i32x16 a, i32x16 b) { return unpack<2>(a, b, 0); }
EMULATED i32x16 unpackhi_epi64(i32x16 a, i32x16 b) { return unpack<2>(a, b, 1); }
/// Looks up 64-bit lanes in both operands.
EMULATED i32x16 permutex2var_epi64(i32x16 a, i32x16 index, i32x16 b) {
  return each<i32x16>([=](int i) {
    const int from = index[i / 2 * 2] & 15, at = from % 8 * 2 + i % 2;
    return from < 8 ? a[at] : b[at];
  });
}
EMULATED i32x16 widened(__m256i a) {
  i32x16 r{};
  std::memcpy(&r, &a, 32);
  return r;
}
EMULATED i32x16 insert_upper(i32x16 a, __m256i b) {
  std::memcpy(reinterpret_cast<char*>(&a) + 32, &b, 32);
  return a;
}
EMULATED f32x16 mask_broadcastss(f32x16 a, std::uint16_t mask, __m128 b) {
  return each<f32x16>([=](int i) { return (mask >> i & 1) != 0 ? b[0] : a[i]; });
}
EMULATED i32x16 set1_epi64(std::int64_t x) {
  return each<i32x16>([=](int i) { return static_cast<std::int32_t>(x >> (i % 2 * 32)); });
}

// products of 16-bit integers, added in pairs
EMULATED i32x16 madd_epi16(i32x16 a, i32x16 b) {
  std::int16_t x[32], y[32];
  std::memcpy(x, &a, 64);
  std::memcpy(y, &b, 64);
  return each<i32x16>([&](int i) { return x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1]; });
}
EMULATED std::int32_t reduce_add_epi32(i32x16 a) {
  std::int32_t sum = 0;
  for (int i = 0; i < 16; ++i) sum += a[i];
  return sum;
}

// conversions
EMULATED i32x16 cvtepu8_epi32(__m128i byte) {
  std::uint8_t bytes[16];
  std::memcpy(bytes, &byte, 16);
  return each<i32x16>([&](int i) { return static_cast<std::int32_t>(bytes[i]); });
}
EMULATED i32x16 cvtepi8_epi16(__m256i byte) {
  std::int8_t bytes[32];
  std::int16_t words[32];
  std::memcpy(bytes, &byte, 32);
  for (int i = 0; i < 32; ++i) words[i] = bytes[i];
  return loadu_si(words);
}
EMULATED f32x16 cvtph_ps(__m256i half) {
  std::uint16_t bits[16];
  std::memcpy(bits, &half, 32);
  return each<f32x16>([&](int i) { return idefics::to_f32(idefics::f16_t{bits[i]}); });
}
EMULATED __m256i cvtps_ph(f32x16 a) {
  std::uint16_t bits[16];
  for (int i = 0; i < 16; ++i) bits[i] = idefics::to_f16(a[i]).bits;
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits));
}
EMULATED i32x16 cvtepu16_epi32(__m256i half) {
  std::uint16_t bits[16];
  std::memcpy(bits, &half, 32);
  return each<i32x16>([&](int i) { return static_cast<std::int32_t>(bits[i]); });
}
EMULATED __m256i cvtepi32_epi16(i32x16 a) {
  std::uint16_t bits[16];
  for (int i = 0; i < 16; ++i) bits[i] = static_cast<std::uint16_t>(a[i]);
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits));
}
EMULATED __m128i cvtepi32_epi8(i32x16 a) {
  std::uint8_t bytes[16];
  for (int i = 0; i < 16; ++i) bytes[i] = static_cast<std::uint8_t>(a[i]);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}
EMULATED __m256 extractf32x8_ps(f32x16 a, int upper) {
  float lanes[16];
  storeu_ps(lanes, a);
  return _mm256_loadu_ps(lanes + 8 * upper);
}
EMULATED __m256 lower_half(f32x16 a) { return extractf32x8_ps(a, 0); }
EMULATED __m128 extractf32x4_ps(f32x16 a, int quarter) {
  float lanes[16];
  storeu_ps(lanes, a);
  return _mm_loadu_ps(lanes + 4 * quarter);
}
EMULATED __m128 lowest_quarter(f32x16 a) { return extractf32x4_ps(a, 0); }
/// In each quarter, two lanes of a, then two of b; two bits of `order` choose each.
EMULATED f32x16 shuffle_ps(f32x16 a, f32x16 b, int order) {
  return each<f32x16>([=](int i) {
    const int from = i / 4 * 4 + (order >> i % 4 * 2) % 4;
    return i % 4 < 2 ? a[from] : b[from];
  });
}
/// Two quarters of a, then two of b.
EMULATED f32x16 shuffle_f32x4(f32x16 a, f32x16 b, int order) {
  return each<f32x16>([=](int i) {
    const int from = (order >> i / 4 * 2) % 4 * 4 + i % 4;
    return i < 8 ? a[from] : b[from];
  });
}

#undef EMULATED

}  // namespace testing::avx512

// clang-format off
#undef _mm512_cmp_ps_mask
#undef _mm512_cvtps_ph
#undef _mm512_extractf32x4_ps
#undef _mm512_extractf32x8_ps
#undef _mm512_inserti64x4
#undef _mm512_scalef_ps
#undef _mm512_shuffle_f32x4
#undef _mm512_shuffle_ps
#undef _mm512_slli_epi32
#undef _mm512_srai_epi32
#undef _mm512_srli_epi16
#undef _mm512_srli_epi32
#define __m512 ::testing::avx512::f32x16
#define __m512i ::testing::avx512::i32x16
#define __m512bh ::testing::avx512::i32x16
#define _mm512_add_epi32 ::testing::avx512::add_epi32
#define _mm512_add_ps ::testing::avx512::add_ps
#define _mm512_and_ps ::testing::avx512::and_ps
#define _mm512_and_si512 ::testing::avx512::and_si
#define _mm512_andnot_ps ::testing::avx512::andnot_ps
#define _mm512_castps512_ps128 ::testing::avx512::lowest_quarter
#define _mm512_castps512_ps256 ::testing::avx512::lower_half
#define _mm512_castps_si512 ::testing::avx512::as_int
#define _mm512_castsi512_ps ::testing::avx512::as_float
#define _mm512_castsi256_si512 ::testing::avx512::widened
#define _mm512_cmp_ps_mask(a, b, predicate) ::testing::avx512::cmp_ps_mask<predicate>(a, b)
#define _mm512_cvtepi8_epi16 ::testing::avx512::cvtepi8_epi16
#define _mm512_cvtepi32_epi8 ::testing::avx512::cvtepi32_epi8
#define _mm512_cvtepi32_epi16 ::testing::avx512::cvtepi32_epi16
#define _mm512_cvtepu8_epi32 ::testing::avx512::cvtepu8_epi32
#define _mm512_cvtepu16_epi32 ::testing::avx512::cvtepu16_epi32
#define _mm512_cvtph_ps ::testing::avx512::cvtph_ps
#define _mm512_cvtps_ph(a, rounding) ::testing::avx512::cvtps_ph(a)
#define _mm512_div_ps ::testing::avx512::div_ps
#define _mm512_dpbf16_ps ::testing::avx512::dpbf16_ps
#define _mm512_extractf32x4_ps ::testing::avx512::extractf32x4_ps
#define _mm512_extractf32x8_ps ::testing::avx512::extractf32x8_ps
#define _mm512_fmadd_ps ::testing::avx512::fmadd_ps
#define _mm512_inserti64x4(a, b, upper) ::testing::avx512::insert_upper(a, b)
#define _mm512_loadu_ps ::testing::avx512::loadu_ps
#define _mm512_loadu_si512 ::testing::avx512::loadu_si
#define _mm512_madd_epi16 ::testing::avx512::madd_epi16
#define _mm512_mask_blend_epi32 ::testing::avx512::mask_blend
#define _mm512_mask_blend_ps ::testing::avx512::mask_blend
#define _mm512_mask_broadcastss_ps ::testing::avx512::mask_broadcastss
#define _mm512_max_ps ::testing::avx512::max_ps
#define _mm512_min_ps ::testing::avx512::min_ps
#define _mm512_mul_ps ::testing::avx512::mul_ps
#define _mm512_or_ps ::testing::avx512::or_ps
#define _mm512_or_si512 ::testing::avx512::or_si
#define _mm512_permutex2var_epi64 ::testing::avx512::permutex2var_epi64
#define _mm512_permutexvar_epi16 ::testing::avx512::permutexvar_epi16
#define _mm512_permutexvar_ps ::testing::avx512::permutexvar_ps
#define _mm512_reduce_add_epi32 ::testing::avx512::reduce_add_epi32
#define _mm512_reduce_max_ps ::testing::avx512::reduce_max_ps
#define _mm512_scalef_ps ::testing::avx512::scalef_ps
#define _mm512_set1_epi32 ::testing::avx512::set1_epi32
#define _mm512_set1_epi64 ::testing::avx512::set1_epi64
#define _mm512_set1_ps ::testing::avx512::set1_ps
#define _mm512_setzero_ps ::testing::avx512::setzero_ps
#define _mm512_shuffle_epi8 ::testing::avx512::shuffle_epi8
#define _mm512_shuffle_f32x4 ::testing::avx512::shuffle_f32x4
#define _mm512_shuffle_ps ::testing::avx512::shuffle_ps
#define _mm512_slli_epi32 ::testing::avx512::slli
#define _mm512_srai_epi32 ::testing::avx512::srai
#define _mm512_srli_epi16 ::testing::avx512::srli16
#define _mm512_srli_epi32 ::testing::avx512::srli
#define _mm512_srlv_epi32 ::testing::avx512::srlv
#define _mm512_storeu_ps ::testing::avx512::storeu_ps
#define _mm512_sub_epi32 ::testing::avx512::sub_epi32
#define _mm512_sub_ps ::testing::avx512::sub_ps
#define _mm512_unpackhi_epi32 ::testing::avx512::unpackhi_epi32
#define _mm512_unpackhi_epi64 ::testing::avx512::unpackhi_epi64
#define _mm512_unpacklo_epi32 ::testing::avx512::unpacklo_epi32
#define _mm512_unpacklo_epi64 ::testing::avx512::unpacklo_epi64
#define _mm512_xor_ps ::testing::avx512::xor_ps
// clang-format on
