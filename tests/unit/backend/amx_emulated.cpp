// The AMX kernels without AMX: their intrinsics become loops (support/amx_emulated.hpp), and the sweeps
// of isa_bits.cpp compare them with the scalar kernels, bit for bit. Here "avx512" means the AMX
// kernels; all other operations are scalar.
#include "support/own_kernels.hpp"

// clang-format off
#if IDEFICS_CPU_X86
IDEFICS_CPU_REGION_BEGIN("avx2,fma,f16c")
#include "support/avx512_emulated.hpp"
#include "support/amx_emulated.hpp"
#define __asm__(...) static_cast<void>(0)  // names registers that are not used here
namespace idefics { inline namespace v0 { namespace detail::cpu::emulated {
#include <idefics/backend/cpu/f32x16_avx512.inl>
#include <idefics/backend/cpu/load.inl>
#include <idefics/backend/cpu/linear_panels.inl>
#include <idefics/backend/cpu/linear_bf16.inl>
#include <idefics/backend/cpu/linear_blocks.inl>
#include <idefics/backend/cpu/linear_amx.inl>
}}}
#undef __asm__
IDEFICS_CPU_REGION_END
// clang-format on

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// This program's kernels, which replace the library's.
KernelTable kernels_for(Isa isa, bool) {
  KernelTable table = plain::table;
  if (isa == Isa::avx512) table.linear_bf16 = emulated::linear_amx_kernels(table.linear_bf16);
  return table;
}

}}}  // namespace idefics::v0::detail::cpu

namespace {

std::vector<idefics::Isa> emulated_isas() {
  using enum idefics::Isa;
  if (!idefics::detail::cpu::has(avx2)) return {scalar};  // the loops are compiled for AVX2
  return {scalar, avx512};
}

std::shared_ptr<idefics::Backend> emulated_backend(idefics::Isa isa = emulated_isas().back()) {
  return std::make_shared<idefics::CpuBackend>(isa);
}

}  // namespace

#define available_isas emulated_isas
#define make_cpu_backend emulated_backend
#include "unit/backend/isa_bits.cpp"
#endif
