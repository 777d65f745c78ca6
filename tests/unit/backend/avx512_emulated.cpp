// The AVX-512 kernels without AVX-512: their intrinsics become loops (support/avx512_emulated.hpp),
// and the sweeps of isa_bits*.cpp and convert.cpp compare them with the scalar
// kernels, bit for bit. Here "avx2" means the kernels with AVX-512 only, and "avx512" those with
// `vdpbf16ps`.
#include "support/own_kernels.hpp"

// clang-format off
#if IDEFICS_CPU_X86
IDEFICS_CPU_REGION_BEGIN("avx2,fma,f16c")
#include "support/avx512_emulated.hpp"
#define __asm__(...) static_cast<void>(0)  // names registers that are not used here
namespace idefics { inline namespace v0 { namespace detail::cpu::emulated {
#include <idefics/backend/cpu/f32x16_avx512.inl>
#include <idefics/backend/cpu/lookup_avx512.inl>
#include <idefics/backend/cpu/search_avx512.inl>
#include <idefics/backend/cpu/dot_avx512.inl>
#include <idefics/backend/cpu/kernels.inl>
}}}
#undef IDEFICS_CPU_BF16_PRODUCTS
#define IDEFICS_CPU_BF16_PRODUCTS 1
namespace idefics { inline namespace v0 { namespace detail::cpu::emulated_bf16 {
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
}}}
#undef __asm__
IDEFICS_CPU_REGION_END
// clang-format on

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// This program's kernels, which replace the library's.
KernelTable kernels_for(Isa isa, bool) {
  if (isa == Isa::scalar) return plain::table;
  KernelTable table = emulated::table;
  if (isa == Isa::avx512) {
    table.linear_bf16 = emulated_bf16::linear_bf16;
    table.four_bit_pairs = emulated_bf16::four_bit_pairs;
  }
  return table;
}

}}}  // namespace idefics::v0::detail::cpu

namespace {

std::vector<idefics::Isa> emulated_isas() {
  using enum idefics::Isa;
  if (!idefics::detail::cpu::has(avx2)) return {scalar};  // the loops are compiled for AVX2
  return {scalar, avx2, avx512};
}

std::shared_ptr<idefics::Backend> emulated_backend(idefics::Isa isa = emulated_isas().back()) {
  return std::make_shared<idefics::CpuBackend>(isa);
}

}  // namespace

#define available_isas emulated_isas
#define make_cpu_backend emulated_backend
#include "unit/backend/convert.cpp"
#include "unit/backend/isa_bits.cpp"
#include "unit/backend/isa_bits_4bit.cpp"
#include "unit/backend/isa_bits_int8.cpp"
#endif
