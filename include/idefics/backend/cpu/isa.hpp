// Instruction sets: detection, and macros that compile part of a header for one of them, whatever
// flags the user compiles with.
//
//   IDEFICS_CPU_REGION_BEGIN(features) … IDEFICS_CPU_REGION_END
//
// encloses the functions of one instruction set. Inside, include no standard headers and define no
// in-class friend functions (GCC does not apply the region to them).
//
// The macros below stay defined after this header. They are internal and follow from the compiler
// and the target; none is configuration (core/config.hpp lists those macros). For its regions,
// kernels.hpp defines two more, IDEFICS_CPU_BF16_PRODUCTS and IDEFICS_CPU_UNROLL, and undefines
// them at the end.
#pragma once

#include <vector>

#include <idefics/core/config.hpp>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define IDEFICS_CPU_X86 1
#include <immintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#else
#define IDEFICS_CPU_X86 0
#endif

// NEON is part of every aarch64, so its kernels need no region.
#if defined(__aarch64__) && defined(__ARM_NEON) && defined(__ORDER_LITTLE_ENDIAN__) && \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IDEFICS_CPU_NEON 1
#include <arm_neon.h>
#else
#define IDEFICS_CPU_NEON 0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define IDEFICS_CPU_INLINE __attribute__((always_inline)) inline
#define IDEFICS_CPU_OUTLINE __attribute__((noinline))
#define IDEFICS_CPU_LAMBDA __attribute__((always_inline))
#else
#define IDEFICS_CPU_INLINE inline
#define IDEFICS_CPU_OUTLINE
#define IDEFICS_CPU_LAMBDA
#endif

// Unrolls loops over the registers of a tile, at every optimisation level.
#if defined(__clang__)
#define IDEFICS_CPU_UNROLL_TILE _Pragma("unroll")
#elif defined(__GNUC__)
#define IDEFICS_CPU_UNROLL_TILE _Pragma("GCC unroll 32")
#else
#define IDEFICS_CPU_UNROLL_TILE
#endif

#define IDEFICS_CPU_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define IDEFICS_CPU_REGION_BEGIN(features) \
  IDEFICS_CPU_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define IDEFICS_CPU_REGION_END IDEFICS_CPU_PRAGMA(clang attribute pop)
#else
// GCC 12 falsely reports uninitialised variables in its own AVX-512 header.
#define IDEFICS_CPU_REGION_BEGIN(features)                           \
  IDEFICS_CPU_PRAGMA(GCC push_options)                               \
  IDEFICS_CPU_PRAGMA(GCC target(features))                           \
  IDEFICS_CPU_PRAGMA(GCC diagnostic push)                            \
  IDEFICS_CPU_PRAGMA(GCC diagnostic ignored "-Wmaybe-uninitialized") \
  IDEFICS_CPU_PRAGMA(GCC diagnostic ignored "-Wuninitialized")
#define IDEFICS_CPU_REGION_END \
  IDEFICS_CPU_PRAGMA(GCC diagnostic pop) IDEFICS_CPU_PRAGMA(GCC pop_options)
#endif

namespace idefics { inline namespace v0 {

/// Instruction sets that the kernels are compiled for. All give the same bits.
enum class Isa { scalar, avx2, avx512, neon };

namespace detail::cpu {

/// Whether `vdpbf16ps` can be used for products in the bf16 order.
inline bool has_bf16_products() {
#if IDEFICS_CPU_X86
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

/// Whether `vdpbf16ps` multiplies faster than f32 does. Intel's CPUs have one port for it and two for
/// f32, so there it has half the rate (docs/kernels/linear.md).
inline bool has_fast_bf16_products() {
#if IDEFICS_CPU_X86
  return has_bf16_products() && !__builtin_cpu_is("intel");
#else
  return false;
#endif
}

inline bool has(Isa isa) {
#if IDEFICS_CPU_X86
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::avx2) return avx2;
  if (isa == Isa::avx512)
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#endif
  return isa == Isa::scalar || (IDEFICS_CPU_NEON && isa == Isa::neon);
}

/// Whether `tdpbf16ps` can be used. Linux keeps the tile registers of a process only on request,
/// which is made once.
inline bool has_tiles() {
#if IDEFICS_CPU_X86 && defined(__linux__)
  static const bool granted = [] {
    if (!has(Isa::avx512)) return false;
    unsigned a = 7, b = 0, c = 0, d = 0;  // leaf 7, which CPUs with AVX-512 have
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    const bool tiles = (d >> 24 & 1) != 0, bf16_products = (d >> 22 & 1) != 0;
    constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
    return tiles && bf16_products && syscall(SYS_arch_prctl, request, tile_data) == 0;
  }();
  return granted;
#else
  return false;
#endif
}

}  // namespace detail::cpu

/// The instruction sets of this machine, slowest first; never empty.
inline std::vector<Isa> available_isas() {
  std::vector<Isa> found;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::neon})
    if (detail::cpu::has(isa)) found.push_back(isa);
  return found;
}

}}  // namespace idefics::v0
