// Matrix products of four warps that read their operands from shared memory (wgmma).
//
// A product completes when its group is waited for: until then its registers hold a poison value.
// Each warp computes its own 16 rows. The operands are read twice, at the start and at the wait,
// and must be equal, because the hardware reads them at some time in between.
#pragma once

#include <array>
#include <deque>
#include <map>

#include "support/cuda_on_cpu/tensor_core.hpp"
#include "support/cuda_on_cpu/tensor_map.hpp"

namespace cuda_on_cpu {

/// An operand's rows of 16 elements of 16 bits.
using OperandRows = std::vector<std::array<std::uint16_t, 16>>;

/// Reads rows [first, first + count) of the tile of a matrix descriptor (PTX ISA, "Matrix
/// descriptor"), in the only layout that is supported here: K-major, swizzled by 128 bytes.
inline OperandRows read_operand(std::uint64_t descriptor, unsigned first, unsigned count,
                                Site site) {
  const auto field = [&](int from, int bits) {
    return static_cast<std::size_t>(descriptor >> from & ((std::uint64_t{1} << bits) - 1));
  };
  const auto refuse = [&](const std::string& why) {
    block().fail("wgmma at " + name_of(site) + ": " + why);
  };
  if (field(62, 2) != 1) refuse("the descriptor is not that of a tile swizzled by 128 bytes");
  if (field(49, 3) != 0) refuse("the descriptor has a base offset");
  SharedMemory& shared = block().shared();
  OperandRows rows(count);
  for (unsigned r = 0; r < count; ++r)
    for (std::size_t half = 0; half < 2; ++half) {  // swizzling moves 16 bytes as a whole
      const unsigned row = first + r;
      const std::size_t eight_rows = field(32, 14) << 4;
      const std::size_t at =
          swizzled_128((field(0, 14) << 4) + row / 8 * eight_rows + row % 8 * 128 + 16 * half);
      if (!shared.holds(shared.at(at), 16)) refuse("an operand is outside shared memory");
      if (!block().async_proxy().sees(at))
        refuse("an operand was written without fence.proxy.async after it");
      std::memcpy(&rows[r][8 * half], shared.at(at), 16);
    }
  return rows;
}

inline bool same_bits(const OperandRows& a, const OperandRows& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
}

struct WarpgroupProduct {
  std::array<float*, 32> d;  // by lane
  unsigned columns;
  std::uint64_t a_descriptor, b_descriptor;
  OperandRows a, b;
  Factors (*factors)(const std::array<std::uint16_t, 16>&);
  Site site;
};

/// The products of one warp, in order.
struct WarpProducts {
  std::deque<std::vector<WarpgroupProduct>> groups;  // committed, oldest first
  std::vector<WarpgroupProduct> uncommitted;
  std::map<float*, std::vector<float>> sums;  // true contents of the registers in use by products
  bool fenced = false;
};

struct WarpgroupProducts : BlockState {
  std::map<unsigned, WarpProducts> of_warp;

  std::string unfinished() const override {
    for (const auto& [warp, products] : of_warp)
      if (!products.groups.empty() || !products.uncommitted.empty())
        return "products by wgmma had been waited for";
    return {};
  }
};

inline constexpr std::uint32_t poisoned_sum = 0x7fc0beefu;

inline WarpProducts& products_of_warp() {
  return block().state<WarpgroupProducts>().of_warp[block().current() / 32];
}

inline void check_poison(const float* d, std::size_t count, Site site) {
  for (std::size_t i = 0; i < count; ++i)
    if (std::bit_cast<std::uint32_t>(d[i]) != poisoned_sum)
      block().fail("wgmma at " + name_of(site) +
                   ": its sums were written to before they were complete");
}

/// Poisons the registers of a lane and keeps their contents, unless an earlier product uses them.
inline void acquire_sums(WarpProducts& warp, float* d, std::size_t count, Site site) {
  if (warp.sums.contains(d)) return check_poison(d, count, site);
  warp.sums[d].assign(d, d + count);
  std::fill_n(d, count, std::bit_cast<float>(poisoned_sum));
}

struct WgmmaOperands {
  float* d;
  std::uint64_t a, b;
};

/// wgmma.mma_async m64nNk16: d[64,N] += a[64,16] b[N,16]^T with N = `columns`. Lane l of warp w of
/// four has row 16 w + l / 4 and the one 8 further on; its columns are, in every 8, those of
/// mma_m16n8k16.
template <class T>
void wgmma(float* d, unsigned columns, std::uint64_t a, std::uint64_t b, Site site) {
  struct Call {
    WgmmaOperands operands;
    unsigned columns;
    Site site;
  } request{{d, a, b}, columns, site};
  block().meet(
      "wgmma", 0xffffffffu, &request,
      [](const std::array<void*, 32>& lanes, unsigned) {
        const Call& first = *static_cast<const Call*>(lanes[0]);
        const unsigned row = block().current() / 32 % 4 * 16;
        WarpProducts& warp = products_of_warp();
        if (!warp.fenced)
          block().fail("wgmma at " + name_of(first.site) + " without wgmma_fence before it");
        WarpgroupProduct product{
            {},
            first.columns,
            first.operands.a,
            first.operands.b,
            read_operand(first.operands.a, row, 16, first.site),
            read_operand(first.operands.b, 0, first.columns, first.site),
            [](const std::array<std::uint16_t, 16>& row_of) {
              return Factors::of(std::bit_cast<std::array<T, 16>>(row_of).data());
            },
            first.site};
        for (unsigned l = 0; l < 32; ++l) {
          const WgmmaOperands& lane = static_cast<const Call*>(lanes[l])->operands;
          if (lane.a != first.operands.a || lane.b != first.operands.b)
            block().fail("wgmma at " + name_of(first.site) + ": lanes describe different operands");
          product.d[l] = lane.d;
          acquire_sums(warp, lane.d, first.columns / 2, first.site);
        }
        warp.uncommitted.push_back(std::move(product));
      },
      site);
}

/// Adds one product to the sums kept for its registers.
inline void add_product(WarpProducts& warp, const WarpgroupProduct& p) {
  const unsigned row = block().current() / 32 % 4 * 16;
  if (!same_bits(p.a, read_operand(p.a_descriptor, row, 16, p.site)) ||
      !same_bits(p.b, read_operand(p.b_descriptor, 0, p.columns, p.site)))
    block().fail("wgmma at " + name_of(p.site) + ": an operand changed while it was being read");
  std::vector<Factors> rows(p.a.size()), columns(p.b.size());
  std::ranges::transform(p.a, rows.begin(), p.factors);
  std::ranges::transform(p.b, columns.begin(), p.factors);
  const TensorCore core = tensor_core_of(simulated.major);
  for (unsigned l = 0; l < 32; ++l) {
    std::vector<float>& sums = warp.sums.at(p.d[l]);
    for (unsigned i = 0; i < p.columns / 2; ++i) {
      sums[i] = tensor_core_sum(core, sums[i], rows[l / 4 + i / 2 % 2 * 8],
                                columns[i / 4 * 8 + l % 4 * 2 + i % 2]);
      if (simulated.wgmma_rounds_differently) sums[i] = std::nextafter(sums[i], 0.0f);
    }
  }
}

/// Restores registers that no product uses any more.
inline void release_sums(WarpProducts& warp, const WarpgroupProduct& done) {
  const auto uses = [&](const auto& products, float* d) {
    return std::ranges::any_of(products, [&](const WarpgroupProduct& p) {
      return std::ranges::find(p.d, d) != p.d.end();
    });
  };
  for (float* const d : done.d) {
    const bool in_group =
        std::ranges::any_of(warp.groups, [&](const auto& g) { return uses(g, d); });
    const auto found = warp.sums.find(d);
    if (found == warp.sums.end() || in_group || uses(warp.uncommitted, d)) continue;
    check_poison(d, found->second.size(), done.site);
    std::ranges::copy(found->second, d);
    warp.sums.erase(found);
  }
}

inline void wgmma_commit(Site site) {
  block().meet(
      "wgmma_commit", 0xffffffffu, nullptr,
      [](const auto&, unsigned) {
        WarpProducts& warp = products_of_warp();
        warp.groups.push_back(std::move(warp.uncommitted));
        warp.uncommitted.clear();
      },
      site);
}

/// Waits for all groups of this warp but the newest `left`.
inline void wgmma_wait(std::size_t left, Site site) {
  block().meet(
      "wgmma_wait", 0xffffffffu, &left,
      [](const std::array<void*, 32>& lanes, unsigned) {
        WarpProducts& warp = products_of_warp();
        warp.fenced = false;
        while (warp.groups.size() > *static_cast<const std::size_t*>(lanes[0])) {
          const auto group = std::move(warp.groups.front());
          warp.groups.pop_front();
          for (const WarpgroupProduct& product : group) add_product(warp, product);
          for (const WarpgroupProduct& product : group) release_sums(warp, product);
        }
      },
      site);
}

inline void wgmma_fence(Site site) {
  block().meet(
      "wgmma_fence", 0xffffffffu, nullptr,
      [](const auto&, unsigned) { products_of_warp().fenced = true; }, site);
}

}  // namespace cuda_on_cpu
