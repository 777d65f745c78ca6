// All rungs, from the lowest to the highest.
#pragma once

#include "rung_10_tma.cuh"
#include "rung_1_naive.cuh"
#include "rung_2_warp.cuh"
#include "rung_3_shared.cuh"
#include "rung_4_registers.cuh"
#include "rung_5_tensor.cuh"
#include "rung_6_swizzle.cuh"
#include "rung_7_stages.cuh"
#include "rung_8_product.cuh"
#include "rung_9_wgmma.cuh"

namespace ladder {

struct Rung {
  const char* name;
  void (*run)(Stream&, const Problem&);
  bool hopper = false;  // needs compute capability 9.0
};

inline constexpr Rung rungs[] = {
    {"1 naive", rung_1},        {"2 a warp per output", rung_2},
    {"3 shared tiles", rung_3}, {"4 register tiles", rung_4},
    {"5 tensor cores", rung_5}, {"6 swizzled", rung_6},
    {"7 three stages", rung_7}, {"8 the engine's", rung_8},
    {"9 wgmma", rung_9, true},  {"10 TMA, the engine's", rung_10, true}};

}  // namespace ladder
