// The kernels, compiled once for each instruction set, and the selection among them.
#pragma once

#include <idefics/backend/cpu/isa.hpp>
#include <idefics/backend/cpu/kernel_table.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// The kernels for `isa`, which this CPU must support. `native_bf16` permits `vdpbf16ps` where it
/// is available; the bits are the same without it.
IDEFICS_ENGINE_INLINE KernelTable kernels_for(Isa isa, bool native_bf16 = true);

}}}  // namespace idefics::v0::detail::cpu

#if IDEFICS_ENGINE_BODIES

#include <algorithm>
#include <type_traits>

#if defined(__GNUC__)
// GCC warns about every array bound that is a template parameter of type int.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#endif

// clang-format off
namespace idefics { inline namespace v0 { namespace detail::cpu::scalar {
#define IDEFICS_CPU_BF16_PRODUCTS 0
#define IDEFICS_CPU_UNROLL
#include <idefics/backend/cpu/f32x16_scalar.inl>
#include <idefics/backend/cpu/lookup_scalar.inl>
#include <idefics/backend/cpu/search_scalar.inl>
#include <idefics/backend/cpu/dot_scalar.inl>
#include <idefics/backend/cpu/kernels.inl>
}}}  // namespace idefics::v0::detail::cpu::scalar

#undef IDEFICS_CPU_UNROLL
#define IDEFICS_CPU_UNROLL IDEFICS_CPU_UNROLL_TILE
#if IDEFICS_CPU_X86
IDEFICS_CPU_REGION_BEGIN("avx2,fma,f16c")
namespace idefics { inline namespace v0 { namespace detail::cpu::avx2 {
#include <idefics/backend/cpu/f32x16_avx2.inl>
#include <idefics/backend/cpu/lookup_avx2.inl>
#include <idefics/backend/cpu/search_avx2.inl>
#include <idefics/backend/cpu/dot_avx2.inl>
#include <idefics/backend/cpu/kernels.inl>
}}}  // namespace idefics::v0::detail::cpu::avx2
IDEFICS_CPU_REGION_END

IDEFICS_CPU_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
namespace idefics { inline namespace v0 { namespace detail::cpu::avx512 {
#include <idefics/backend/cpu/f32x16_avx512.inl>
#include <idefics/backend/cpu/lookup_avx512.inl>
#include <idefics/backend/cpu/search_avx512.inl>
#include <idefics/backend/cpu/dot_avx512.inl>
#include <idefics/backend/cpu/kernels.inl>
}}}  // namespace idefics::v0::detail::cpu::avx512
IDEFICS_CPU_REGION_END

// Linear layers again, for CPUs with instructions for products of bf16 pairs.
#undef IDEFICS_CPU_BF16_PRODUCTS
#define IDEFICS_CPU_BF16_PRODUCTS 1
IDEFICS_CPU_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
namespace idefics { inline namespace v0 { namespace detail::cpu::avx512_bf16 {
#include <idefics/backend/cpu/f32x16_avx512.inl>
#include <idefics/backend/cpu/lookup_avx512.inl>
#include <idefics/backend/cpu/load.inl>
#include <idefics/backend/cpu/linear_panels.inl>
#include <idefics/backend/cpu/linear_bf16.inl>
#include <idefics/backend/cpu/linear_blocks.inl>
#include <idefics/backend/cpu/linear.inl>
#include <idefics/backend/cpu/linear_4bit.inl>
#include <idefics/backend/cpu/linear_4bit_pairs.inl>
#include <idefics/backend/cpu/linear_4bit_tiles.inl>
inline constexpr LinearKernels linear_bf16 = linear_bf16_kernels<Layout::paired>();
inline constexpr FourBitPairKernels four_bit_pairs = four_bit_pair_kernels<Layout::paired>();
}}}  // namespace idefics::v0::detail::cpu::avx512_bf16
IDEFICS_CPU_REGION_END

// Many rows of plain weights, for CPUs with instructions for products of tiles.
IDEFICS_CPU_REGION_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")
namespace idefics { inline namespace v0 { namespace detail::cpu::amx {
#include <idefics/backend/cpu/f32x16_avx512.inl>
#include <idefics/backend/cpu/load.inl>
#include <idefics/backend/cpu/linear_panels.inl>
#include <idefics/backend/cpu/linear_bf16.inl>
#include <idefics/backend/cpu/linear_blocks.inl>
#include <idefics/backend/cpu/linear_amx.inl>
}}}  // namespace idefics::v0::detail::cpu::amx
IDEFICS_CPU_REGION_END
#endif
#if IDEFICS_CPU_NEON
namespace idefics { inline namespace v0 { namespace detail::cpu::neon {
#include <idefics/backend/cpu/f32x16_neon.inl>
#include <idefics/backend/cpu/lookup_neon.inl>
#include <idefics/backend/cpu/search_neon.inl>
#include <idefics/backend/cpu/dot_neon.inl>
#include <idefics/backend/cpu/kernels.inl>
}}}  // namespace idefics::v0::detail::cpu::neon
#endif
#undef IDEFICS_CPU_BF16_PRODUCTS
#undef IDEFICS_CPU_UNROLL
// clang-format on

#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace idefics { inline namespace v0 { namespace detail::cpu {

IDEFICS_ENGINE_INLINE KernelTable kernels_for(Isa isa, bool native_bf16) {
#if IDEFICS_CPU_X86
  if (isa == Isa::avx512) {
    KernelTable table = avx512::table;
    if (native_bf16 && has_bf16_products()) {
      if (has_fast_bf16_products()) table.linear_bf16 = avx512_bf16::linear_bf16;
      table.four_bit_pairs = avx512_bf16::four_bit_pairs;
    }
    if (native_bf16 && has_tiles()) table.linear_bf16 = amx::linear_amx_kernels(table.linear_bf16);
    return table;
  }
  if (isa == Isa::avx2) return avx2::table;
#elif IDEFICS_CPU_NEON
  if (isa == Isa::neon) return neon::table;
#endif
  (void)isa, (void)native_bf16;
  return scalar::table;
}

}}}  // namespace idefics::v0::detail::cpu

#endif
