// Runs a piece of work under many orders of lanes and blocks: a race shows as a different result.
#pragma once

#include <string>

#include "support/cuda_on_cpu/block.hpp"

namespace cuda_on_cpu {

/// What work() returns, which must be equal under `count` orders: forward, reverse, and shuffled ones.
/// Throws Failure naming the first order that gives something else.
template <class Work>
auto with_lane_orders(std::uint64_t count, const Work& work) {
  struct Restore {
    ~Restore() { lane_order = 0; }
  } restore;
  lane_order = 0;
  const auto first = work();
  for (std::uint64_t order = 1; order < count; ++order) {
    lane_order = order;
    if (!(work() == first))
      throw Failure("a race: lane order " + std::to_string(order) +
                    " gives another result than lanes in sequence");
  }
  return first;
}

}  // namespace cuda_on_cpu
