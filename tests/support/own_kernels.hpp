// The beginning of a program that brings its own detail::cpu::kernels_for, so that nothing of the
// compiled engine is linked. Include it first. The scalar kernels are in detail::cpu::plain; after
// it, IDEFICS_CPU_UNROLL and IDEFICS_CPU_BF16_PRODUCTS are set for kernels with vectors of 64 bytes.
#pragma once

#undef IDEFICS_EXTERN_ENGINE
#include <idefics/core/thread_team.hpp>
#undef IDEFICS_ENGINE_BODIES
#define IDEFICS_ENGINE_BODIES 0
#undef IDEFICS_ENGINE_INLINE
#define IDEFICS_ENGINE_INLINE
#include <algorithm>
#include <type_traits>
#include <vector>

#include <idefics/backend/cpu/convert.hpp>
#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/cpu/quantize.hpp>

// clang-format off
#if IDEFICS_CPU_X86
#pragma GCC diagnostic ignored "-Wpsabi"            // vectors of 64 bytes are passed to loops
#pragma GCC diagnostic ignored "-Wsign-conversion"  // as in kernels.hpp
#define IDEFICS_CPU_UNROLL
#define IDEFICS_CPU_BF16_PRODUCTS 0
namespace idefics { inline namespace v0 { namespace detail::cpu::plain {
#include <idefics/backend/cpu/f32x16_scalar.inl>
#include <idefics/backend/cpu/lookup_scalar.inl>
#include <idefics/backend/cpu/search_scalar.inl>
#include <idefics/backend/cpu/dot_scalar.inl>
#include <idefics/backend/cpu/kernels.inl>
}}}
#endif
// clang-format on
