// Barriers in shared memory that count arrivals and bytes (mbarrier), and copies that they track.
//
// A copy by TMA arrives as late as possible: when a lane waits for its phase. Until then its target
// is poisoned. So a missing wait is detected, as is a target that is still being read.
#pragma once

#include <cstring>
#include <functional>
#include <map>

#include "support/cuda_on_cpu/block.hpp"

namespace cuda_on_cpu {

struct TransactionBarrier {
  unsigned expected = 0, missing = 0;  // arrivals per phase; those still missing in this one
  unsigned generation = 0;             // completed phases
  std::int64_t bytes = 0;              // announced by lanes, minus those of `copies`
  std::vector<std::function<void()>> copies;
  unsigned owner = 0;   // the lane that initialized it
  bool fenced = false;  // the owner has called mbarrier_fence

  bool may_complete() const { return missing == 0 && bytes == 0; }
  std::string text() const {
    return "phase " + std::to_string(generation) + ": " + std::to_string(missing) + " of " +
           std::to_string(expected) + " arrivals and " + std::to_string(bytes) + " bytes to come";
  }
};

struct TransactionBarriers : BlockState {
  std::map<const void*, TransactionBarrier> all;

  std::string unfinished() const override {
    for (const auto& [at, barrier] : all)
      if (!barrier.copies.empty()) return "a copy by TMA had been waited for";
    return {};
  }
};

inline constexpr std::uint64_t mbarrier_word = 0x7265697272616d62;

/// Fails unless the word at p is a barrier that has been initialized and not overwritten; p is in the
/// shared memory of `owner`, by default of this block.
inline TransactionBarrier& mbarrier_at(const std::uint64_t* p, const char* op, Site site,
                                       BlockOfCluster* owner = nullptr) {
  auto& all = block().state<TransactionBarriers>(owner).all;
  const auto found = all.find(p);
  if (found == all.end() || *p != mbarrier_word)
    block().fail(std::string(op) + " at " + name_of(site) + ": there is no mbarrier" +
                 (found == all.end() ? "" : " any more"));
  return found->second;
}

/// Starts the next phase if this one is complete. Pending copies are executed only if `wanted`.
inline void settle(TransactionBarrier& b, bool wanted) {
  if (!b.may_complete() || !(b.copies.empty() || wanted)) return;
  for (const auto& copy : b.copies) copy();
  b.copies.clear();
  b.missing = b.expected;
  ++b.generation;
  block().wake(&b);
}

inline void mbarrier_init(std::uint64_t* p, unsigned arrivals, Site site) {
  if (reinterpret_cast<std::uintptr_t>(p) % 8 != 0 || !block().shared().holds(p, 8))
    block().fail("an mbarrier must be 8 aligned bytes of shared memory, at " + name_of(site));
  if (arrivals == 0) block().fail("an mbarrier of 0 arrivals at " + name_of(site));
  TransactionBarrier fresh;
  fresh.expected = fresh.missing = arrivals;
  fresh.owner = block().current();
  block().state<TransactionBarriers>().all[p] = fresh;
  *p = mbarrier_word;
}

inline void mbarrier_fence() {
  for (auto& [at, barrier] : block().state<TransactionBarriers>().all)
    if (barrier.owner == block().current()) barrier.fenced = true;
}

inline void mbarrier_arrive(std::uint64_t* p, unsigned bytes, const char* op, Site site,
                            BlockOfCluster* owner = nullptr) {
  TransactionBarrier& b = mbarrier_at(p, op, site, owner);
  settle(b, true);  // completes a phase that only lacked a waiting lane
  if (b.missing == 0)
    block().fail(std::string(op) + " at " + name_of(site) + ": an arrival too many (" + b.text() +
                 ")");
  b.bytes += bytes;
  --b.missing;
  settle(b, block().is_awaited(&b));
}

/// Waits for the phase of this parity: returns at once if the other one is in progress.
inline void mbarrier_wait(std::uint64_t* p, unsigned parity, Site site) {
  TransactionBarrier& b = mbarrier_at(p, "mbarrier_wait", site);
  while (b.generation % 2 == parity) {
    settle(b, true);
    if (b.generation % 2 != parity) return;
    block().wait_for(
        &b, [](const void* at) { return static_cast<const TransactionBarrier*>(at)->text(); },
        "mbarrier_wait", site);
  }
}

}  // namespace cuda_on_cpu
