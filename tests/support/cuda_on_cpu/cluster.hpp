// Blocks of a cluster, which run at the same time: their barrier, and access to the shared memory and
// the mbarriers of one another.
#pragma once

#include <cstring>

#include "support/cuda_on_cpu/tensor_map.hpp"

namespace cuda_on_cpu {

/// Where block `rank` of the cluster has what is at `own` in this block.
template <class T>
T* in_block(T* own, unsigned rank, const char* op, Site site) {
  if (!block().shared().holds(own, sizeof(T)))
    block().fail(std::string(op) + " at " + name_of(site) + " of what is not shared memory");
  const std::size_t offset = block().shared().offset_of(own);
  std::byte* const there = block().of_rank(rank, op, site).shared.at(offset);
  return reinterpret_cast<T*>(there);
}

template <class V>
V load_from_block(const V* own, unsigned rank, Site site) {
  check_aligned(own, sizeof(V), site);
  V value;
  std::memcpy(&value, in_block(own, rank, "load_from_block", site), sizeof(V));
  return value;
}

/// An arrival at the mbarrier that block `rank` has at the same place.
inline void mbarrier_arrive_at(std::uint64_t* own, unsigned rank, Site site) {
  BlockOfCluster& other = block().of_rank(rank, "mbarrier_arrive_at", site);
  mbarrier_arrive(in_block(own, rank, "mbarrier_arrive_at", site), 0, "mbarrier_arrive_at", site,
                  &other);
}

/// tma_load for all blocks in `ranks`, a mask: each gets the box and its bytes at the same places.
inline void tma_load_multicast(void* to, const CUtensorMap* map, int column, int row,
                               std::uint64_t* barrier, unsigned ranks, Site site) {
  for (unsigned rank = 0; rank < 8; ++rank)
    if (ranks >> rank & 1)
      tma_load_to(block().of_rank(rank, "tma_load_multicast", site), to, map, column, row, barrier,
                  site);
}

}  // namespace cuda_on_cpu
