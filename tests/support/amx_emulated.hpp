// The AMX intrinsics that linear_amx.inl uses, as loops, for CPUs without AMX. Each does what Intel's
// manual says of the instruction, and `tdpbf16ps` what was observed (docs/determinism.md). To be
// included once, after avx512_emulated.hpp: from here on the names of the intrinsics refer to these
// functions. A tile is checked to be configured before it is used.
#pragma once

#include <array>
#include <cstdlib>
#include <cstring>

#include <idefics/backend/reference/bf16_order.hpp>

namespace testing::amx {

struct Tile {
  std::array<std::array<std::uint32_t, 16>, 16> dwords{};
};
inline thread_local std::array<Tile, 8> tiles;
inline thread_local bool configured = false;

/// Stops the test where a CPU would raise an exception.
inline Tile& tile(std::size_t i) {
  if (!configured) std::abort();
  return tiles[i];
}

/// Accepts the one configuration that the kernels use.
inline void load_config(const void* from) {
  std::array<std::uint8_t, 64> bytes;
  std::memcpy(bytes.data(), from, 64);
  for (std::size_t i = 0; i < 8; ++i)
    if (bytes[0] != 1 || bytes[16 + 2 * i] != 64 || bytes[17 + 2 * i] != 0 || bytes[48 + i] != 16)
      std::abort();
  tiles = {};
  configured = true;
}
inline void release() { configured = false; }
inline void zero(std::size_t i) { tile(i) = {}; }
inline void load(std::size_t i, const void* from, std::size_t stride) {
  for (std::size_t r = 0; r < 16; ++r)
    std::memcpy(tile(i).dwords[r].data(), static_cast<const char*>(from) + r * stride, 64);
}
inline void store(std::size_t i, void* to, std::size_t stride) {
  for (std::size_t r = 0; r < 16; ++r)
    std::memcpy(static_cast<char*>(to) + r * stride, tile(i).dwords[r].data(), 64);
}

/// c + (e + o) of each output.
inline void dpbf16ps(std::size_t c, std::size_t a, std::size_t b) {
  using idefics::reference::fma_without_subnormals;
  const auto half = [](std::uint32_t dword, int upper) {
    return std::bit_cast<float>(upper != 0 ? dword & 0xffff0000u : dword << 16);
  };
  for (std::size_t m = 0; m < 16; ++m)
    for (std::size_t n = 0; n < 16; ++n) {
      float chains[2] = {0, 0};
      for (std::size_t k = 0; k < 16; ++k)
        for (int odd = 0; odd < 2; ++odd)
          chains[odd] = fma_without_subnormals(half(tile(a).dwords[m][k], odd),
                                               half(tile(b).dwords[k][n], odd), chains[odd]);
      std::uint32_t& out = tile(c).dwords[m][n];
      const float part = fma_without_subnormals(1.0f, chains[0], chains[1]);
      out = std::bit_cast<std::uint32_t>(
          fma_without_subnormals(1.0f, part, std::bit_cast<float>(out)));
    }
}

}  // namespace testing::amx

// clang-format off
#undef _tile_dpbf16ps
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#define _tile_dpbf16ps ::testing::amx::dpbf16ps
#define _tile_loadconfig ::testing::amx::load_config
#define _tile_loadd ::testing::amx::load
#define _tile_release ::testing::amx::release
#define _tile_stored ::testing::amx::store
#define _tile_zero ::testing::amx::zero
// clang-format on
