// The choice among the products by wgmma: which tile, and which clusters of blocks.
#pragma once

#include "linear_bf16_slices.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// A tile of 128 weight rows and tile_m rows of x. `sharing` blocks of a cluster have the same rows
/// of x; the slices of K are divided among `parts` blocks of a cluster.
struct WgmmaPlan {
  int tile_m = 64, sharing = 1, parts = 1;

  /// Clusters need multiprocessors that are neighbours, which a small share of a GPU may lack.
  bool suits(int processors) const { return processors >= 64 || sharing * parts == 1; }
};

/// Narrow tiles before wide ones, single blocks before clusters: the first of the best is chosen.
inline constexpr WgmmaPlan wgmma_plans[] = {{64},        {88},       {136},      {192},
                                            {64, 2},     {192, 2},   {64, 1, 4}, {88, 1, 4},
                                            {136, 1, 4}, {64, 1, 8}, {88, 1, 8}, {136, 1, 8}};

/// Whether wgmma may be used, and on how many multiprocessors.
struct Hopper {
  bool wgmma = false;
  int processors = 132;

  /// TMA reads rows that are aligned to 16 bytes.
  bool supports(const bf16_t* weights, std::int64_t k) const {
    return wgmma && k > 0 && in_octets(weights, k);
  }
};

/// An estimate of the clocks that a product takes per 16 k of a block. A multiprocessor computes 2048
/// products per clock and receives 64 bytes; the L2 cache sends 25 per multiprocessor of the GPU:
/// assumptions, not measurements. An incomplete last wave costs as much as a complete one.
inline double wgmma_clocks(std::int64_t tile_m, std::int64_t m, std::int64_t n, int processors,
                           int sharing = 1, int parts = 1) {
  const std::int64_t blocks = ceil_div(n, 128 * sharing) * sharing * ceil_div(m, tile_m) * parts;
  if (parts > 1) processors = processors / 8 * 8;  // a cluster does not cross a group of 16 or 18
  const double waves = static_cast<double>(ceil_div(blocks, processors));
  const double busy = static_cast<double>(blocks < processors ? blocks : processors);
  const double products = static_cast<double>(tile_m), received = 32 * (128 + products) / 64;
  const double sent = 32 * (128 + products / sharing) * busy / (25 * processors);
  return waves * std::max({products, received, sent});
}

/// The same for a whole product. Blocks that share K write their sums at 128 bytes per clock and read
/// those of others at 14; a cluster waits for itself twice.
inline double wgmma_clocks(const WgmmaPlan& plan, std::int64_t m, std::int64_t n, std::int64_t k,
                           int processors) {
  const double per_16 = wgmma_clocks(plan.tile_m, m, n, processors, plan.sharing, plan.parts);
  const double meetings = plan.sharing * plan.parts == 1 ? 0 : 1000;
  if (plan.parts == 1) return per_16 * static_cast<double>(rounded_width(k) / 16) + meetings;
  const std::int64_t width = slice_width(k), slices = ceil_div(k, width);
  const std::int64_t each = ceil_div(slices, plan.parts);
  const double bytes = 512.0 * plan.tile_m, written = bytes * static_cast<double>(each);
  const double read = bytes * static_cast<double>(slices) / plan.parts;
  return per_16 * static_cast<double>(each * width / 16) + meetings + written / 128 + read / 14;
}

/// The plan of the lowest estimate.
inline WgmmaPlan wgmma_plan(std::int64_t m, std::int64_t n, std::int64_t k, int processors) {
  WgmmaPlan best;
  for (const WgmmaPlan& plan : wgmma_plans)
    if (plan.suits(processors) &&
        wgmma_clocks(plan, m, n, k, processors) < wgmma_clocks(best, m, n, k, processors))
      best = plan;
  return best;
}

/// out [M,N] = x [M, rounded_width(K)] times w [N,K] by a plan.
inline void gemm_wgmma(Stream& stream, float* out, const bf16_t* x, const bf16_t* w, LinearEnd end,
                       std::int64_t m, std::int64_t n, std::int64_t k, const WgmmaPlan& plan) {
  const auto by_tile = [&]<class Tile>(Tile) {
    if (plan.parts == 1) return launch_gemm_wgmma<Tile>(stream, out, x, w, end, m, n, k);
    if constexpr (Tile::tile_m <= 136 && Tile::sharing == 1)
      launch_gemm_slices<Tile>(stream, out, x, w, end, m, n, k, plan.parts);
  };
  if (plan.sharing == 2)
    return plan.tile_m == 64 ? by_tile(WgmmaTile<64, 2>()) : by_tile(WgmmaTile<192, 2>());
  switch (plan.tile_m) {
    case 64: return by_tile(WgmmaTile<64>());
    case 88: return by_tile(WgmmaTile<88>());
    case 136: return by_tile(WgmmaTile<136>());
    default: return by_tile(WgmmaTile<192>());
  }
}

/// The same by the best plan.
inline void gemm_wgmma(Stream& stream, float* out, const bf16_t* x, const bf16_t* w, LinearEnd end,
                       std::int64_t m, std::int64_t n, std::int64_t k, int processors) {
  gemm_wgmma(stream, out, x, w, end, m, n, k, wgmma_plan(m, n, k, processors));
}

}}}  // namespace idefics::v0::cuda
