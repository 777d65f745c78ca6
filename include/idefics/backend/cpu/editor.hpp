// For editors only: what kernels.hpp and kernels.inl include before a .inl file, so that the file
// opens without errors on its own. No other file includes this header; .clangd includes it before
// each .inl file, with IDEFICS_EDITOR as the place of the file in their order:
//
//   0  f32x16_*                        nothing of the list is included
//   1  lookup_*, search_*, dot_*       0 is included
//   2  load, kernels                   0 and 1 are, and so on
//   3  math, linear_panels
//   4  linear, and all that are not in this list
//   5  linear_4bit
//   6  linear_4bit_pairs
//   7  linear_4bit_tiles
#pragma once

#include <idefics/backend/cpu/isa.hpp>
#include <idefics/backend/cpu/kernel_table.hpp>

#ifndef IDEFICS_EDITOR
#define IDEFICS_EDITOR 0
#endif
#define IDEFICS_CPU_BF16_PRODUCTS 0
#define IDEFICS_CPU_UNROLL

using namespace idefics;
using namespace idefics::detail;
using namespace idefics::detail::cpu;

// clang-format off
#if IDEFICS_EDITOR > 0
#if defined(__AVX512BW__)
#include <idefics/backend/cpu/f32x16_avx512.inl>
#elif defined(__AVX2__)
#include <idefics/backend/cpu/f32x16_avx2.inl>
#else
#include <idefics/backend/cpu/f32x16_scalar.inl>
#endif
#endif
#if IDEFICS_EDITOR > 1
#if defined(__AVX512BW__)
#include <idefics/backend/cpu/lookup_avx512.inl>
#include <idefics/backend/cpu/search_avx512.inl>
#include <idefics/backend/cpu/dot_avx512.inl>
#elif defined(__AVX2__)
#include <idefics/backend/cpu/lookup_avx2.inl>
#include <idefics/backend/cpu/search_avx2.inl>
#include <idefics/backend/cpu/dot_avx2.inl>
#else
#include <idefics/backend/cpu/lookup_scalar.inl>
#include <idefics/backend/cpu/search_scalar.inl>
#include <idefics/backend/cpu/dot_scalar.inl>
#endif
#endif
#if IDEFICS_EDITOR > 2
#include <idefics/backend/cpu/load.inl>
#endif
#if IDEFICS_EDITOR > 3
#include <idefics/backend/cpu/math.inl>
#include <idefics/backend/cpu/linear_panels.inl>
#endif
#if IDEFICS_EDITOR > 4
#include <idefics/backend/cpu/linear.inl>
#endif
#if IDEFICS_EDITOR > 5
#include <idefics/backend/cpu/linear_4bit.inl>
#endif
#if IDEFICS_EDITOR > 6
#include <idefics/backend/cpu/linear_4bit_pairs.inl>
#endif
// clang-format on
