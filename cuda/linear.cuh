// Linear layer: torch.nn.Linear with the epilogue that follows it.
//
//   out[m,n] = sum_k x[m,k] weight[n,k] + bias[n] + residual[m,n]
//
// Bound: for a few rows the bytes of weight, for more the peak of the multiplications. Compute::f32
// uses linear_f32.cuh; Compute::bf16 uses linear_bf16_gemv.cuh (up to 16 rows) and
// linear_bf16_gemm.cuh (more), on Hopper those of linear_bf16_hopper.cuh. All kernels of an order
// give the same bits.
#pragma once

#include "linear_bf16_gemm.cuh"
#include "linear_bf16_gemv.cuh"
#include "linear_bf16_hopper.cuh"
#include "linear_f32.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// out [M,N] = x [M,K] times weight [N,K] (f32, f16 or bf16, read as stored), in the f32 order.
inline void linear_f32(Stream& stream, float* out, const float* x, DeviceFloats weight,
                       LinearEnd end, std::int64_t m, std::int64_t n, std::int64_t k) {
  with_float_type(weight, [&]<class W>(const W* w) {
    linear_f32_order(stream, out, x, PlainWeights<W>{w, k, in_quads(w, k)}, end, m, n, k);
  });
}

namespace detail {

template <class Tile, class W>
void launch_gemm_bf16(Stream& stream, float* out, const bf16_t* x, const W* w, LinearEnd end,
                      std::int64_t m, std::int64_t n, std::int64_t k) {
  const dim3 grid(static_cast<unsigned>(ceil_div(n, Tile::tile_n)),
                  static_cast<unsigned>(ceil_div(m, Tile::tile_m)));
  launch(stream, grid, dim3(Tile::threads), Tile::shared_bytes, gemm_bf16_kernel<Tile, W>, out, x,
         w, end, m, n, k, in_octets(w, k));
}

}  // namespace detail

/// The same in the bf16 order. `rounded` is a scratch buffer [M, rounded_width(K)], or, if x is
/// null, x already in bf16, which products of the same x share. With up to 8 rows of x it is not
/// needed. `hopper` says whether wgmma may be used.
inline void linear_bf16(Stream& stream, float* out, const float* x, bf16_t* rounded,
                        DeviceFloats weight, LinearEnd end, std::int64_t m, std::int64_t n,
                        std::int64_t k, Hopper hopper = {}) {
  if (m == 0 || n == 0) return;
  const bool late = x && rounded_late(m, k);
  if (x && !late) round_rows(stream, rounded, x, m, k);
  with_float_type(weight, [&]<class W>(const W* w) {
    const bf16_t* const xs = rounded;
    if constexpr (std::is_same_v<W, bf16_t>)
      if (m > max_gemv_rows && hopper.supports(w, k))
        return gemm_wgmma(stream, out, xs, w, end, m, n, k, hopper.processors);
    if (m > max_gemv_rows && ceil_div(n, 128) * ceil_div(m, 128) >= 96)
      return detail::launch_gemm_bf16<GemmTile<128, 128, 64, 32>>(stream, out, xs, w, end, m, n, k);
    if (m > max_gemv_rows)
      return detail::launch_gemm_bf16<GemmTile<64, 64, 32, 32>>(stream, out, xs, w, end, m, n, k);
    const GemvPart<const W*> alone{out, w, end, n};
    if (late) return gemv_bf16<W>(stream, {&alone, 1}, gemv_rows(x, m, k), k);
    gemv_bf16<W>(stream, {&alone, 1}, gemv_rows(xs, m, k), k);
  });
}

}}}  // namespace idefics::v0::cuda
