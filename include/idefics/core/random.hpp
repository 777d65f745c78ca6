// Counter-based random numbers: each is a function of a key and a counter, not of a state that
// calls advance. The numbers that a sequence draws therefore depend neither on the other rows of
// its batch nor on the order of the draws. Source: Salmon, Moraes, Dror, Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011, figure 2 and table 2.
#pragma once

#include <array>
#include <cstdint>

namespace idefics { inline namespace v0 { namespace detail {

/// Philox4x32-10: four 32-bit numbers from a 128-bit counter and a 64-bit key.
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t factor[2] = {0xD2511F53, 0xCD9E8D57};
  constexpr std::uint32_t weyl[2] = {0x9E3779B9, 0xBB67AE85};  // golden ratio, sqrt(3) - 1
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = factor[0] * counter[0], b = factor[1] * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key = {key[0] + weyl[0], key[1] + weyl[1]};
  }
  return counter;
}

/// A number in [0, 1) with 53 random bits, for draw `draw` of step `step` of sequence `sequence`.
constexpr double uniform(std::uint64_t seed, std::uint64_t sequence, std::uint32_t step,
                         std::uint32_t draw = 0) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto bits =
      philox4x32({step, draw, low(sequence), low(sequence >> 32)}, {low(seed), low(seed >> 32)});
  const std::uint64_t mantissa = (std::uint64_t{bits[0]} << 21) ^ (bits[1] >> 11);
  return static_cast<double>(mantissa) * 0x1p-53;
}

}}}  // namespace idefics::v0::detail
