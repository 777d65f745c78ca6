// Rung 9: Hopper's own instruction, wgmma, in the place of mma.sync.
//
// Four warps together multiply 64 weight rows with 128 rows of x, and both operands are read from shared
// memory by the tensor cores themselves: no fragments, no loads into registers, 8 instructions where
// rung 7 has 128 and 96. The swizzle of rung 6 is one that the instruction knows. What is left to
// gain: bigger tiles, tiles brought by TMA, warps that only bring them.
//
// The engine does not use it yet: its sums may differ from mma.sync's in the last bit, so a product
// with one row would have to take it too (docs/determinism.md). It exists on sm_90a alone.
#pragma once

#include "rung_7_stages.cuh"

namespace ladder {

#if defined(__CUDACC__)

/// What tells the instruction where a tile [rows][64] in the layout of rung 6 is: its address, eight rows
/// every 1024 bytes, swizzled by 128 bytes. Tiles begin at multiples of 1024.
__device__ inline std::uint64_t describe(const bf16_t* tile) {
  return std::uint64_t{shared_address(tile) >> 4 & 0x3fff} | std::uint64_t{1} << 16 |
         std::uint64_t{1024 >> 4} << 32 | std::uint64_t{1} << 62;
}

/// d[64,128] += a[64, k .. k + 15] b[128, k .. k + 15]^T. Warp v of four has rows 16 v to 16 v + 15, and its
/// lanes hold d as in mma_m16n8k16, eight columns behind each other.
__device__ inline void wgmma_m64n128k16(float (&d)[64], const bf16_t* a, const bf16_t* b, int k) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, 1, 0; "
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, p, 1, 1, 0, 0; }"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]),
        "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
        "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
        "+f"(d[63])
      : "l"(describe(a + k)), "l"(describe(b + k)));
#else
  (void)d, (void)a, (void)b, (void)k;
#endif
}

/// What cp.async brought is seen by the tensor cores only behind this.
__device__ inline void show_to_tensor_cores() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
/// The registers of d are ready for the instructions that follow.
__device__ inline void wgmma_begin() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
/// All of them have ended.
__device__ inline void wgmma_end() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;" ::: "memory");
#endif
}

#else

inline void wgmma_m64n128k16(float (&d)[64], const bf16_t* a, const bf16_t* b, int k) {
  const int lane = lane_of_warp(), row = warp_of_block() % 4 * 16 + lane / 4;
  const auto value = [](const bf16_t* tile, int r, int column) {
    return to_float(tile[Swizzled::at(r, column / 8) + column % 8]);
  };
  for (int i = 0; i < 64; ++i)
    for (int at = k; at < k + 16; ++at)
      d[i] = fmaf(value(a, row + i / 2 % 2 * 8, at), value(b, i / 4 * 8 + lane % 4 * 2 + i % 2, at),
                  d[i]);
}
inline void show_to_tensor_cores() {}
inline void wgmma_begin() {}
inline void wgmma_end() {}

#endif

template <class P>
__global__ void __launch_bounds__(256) wgmma_kernel(P p) {
  bf16_t* const all = dynamic_shared<bf16_t>();
  const int first = warp_of_block() / 4 * 64;  // weight row of these four warps
  float d[64] = {};
  for (int step = 0; step < stages - 1; ++step) begin_step<Swizzled>(all, p, step);
  for (int step = 0; step * step_k < p.k; ++step) {
    cp_async_wait<stages - 2>();
    show_to_tensor_cores();
    __syncthreads();  // this step is there for all, and all are done with the one before
    begin_step<Swizzled>(all, p, step + stages - 1);
    const bf16_t* const x_tile = all + step % stages * 2 * tile_values;
    wgmma_begin();
    UNROLL
    for (int k = 0; k < step_k; k += 16)
      wgmma_m64n128k16(d, x_tile + tile_values + first * step_k, x_tile, k);
    wgmma_end();
  }
  const int column = static_cast<int>(blockIdx.x) * tile_rows + first + warp_of_block() % 4 * 16;
  const int row = static_cast<int>(blockIdx.y) * tile_rows;
  UNROLL
  for (int i = 0; i < 64; ++i)
    p.at(row + i / 4 * 8 + lane_of_warp() % 4 * 2 + i % 2,
         column + lane_of_warp() / 4 + i / 2 % 2 * 8) = d[i];
}

inline void rung_9(Stream& stream, const Problem& p) {
  launch(stream, tiles(p, tile_rows, tile_rows), 256, sizeof(bf16_t) * stages * 2 * tile_values,
         wgmma_kernel<Problem>, p);
}

}  // namespace ladder
