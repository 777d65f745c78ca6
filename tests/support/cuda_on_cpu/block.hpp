// Runs the clusters of a grid one after another, the blocks of a cluster (usually one) together, each
// lane on its own fiber, and checks the rules of barriers and of instructions that the lanes of a
// warp execute together.
//
// A lane runs until it must wait. Where a missing barrier allows a race, `lane_order` determines
// which lane runs first: tests compare the results (orders.hpp). Lanes that wait for each other
// forever cause a Failure that reports where each of them is waiting.
#pragma once

#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "support/cuda_on_cpu/block_of_cluster.hpp"
#include "support/cuda_on_cpu/types.hpp"

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace cuda_on_cpu {

/// The order in which blocks and lanes are scheduled: 0 forward, 1 reverse, others shuffled.
inline std::uint64_t lane_order = 0;

/// Thrown in lanes that would wait forever, to unwind their stacks.
struct Cancelled {};

class Block {
 public:
  /// Runs body() as each thread of the grid. Throws the first Failure or exception of a lane.
  void run(dim3 grid, dim3 block, dim3 cluster, std::size_t dynamic_bytes,
           const std::function<void()>& body) {
    check_limits(grid, block, cluster);
    blockDim = block, gridDim = grid, cluster_ = cluster;
    body_ = &body;
    const dim3 of{grid.x / cluster.x, grid.y / cluster.y, grid.z / cluster.z};
    const std::uint64_t clusters = std::uint64_t{of.x} * of.y * of.z;
    const std::uint64_t stride = lane_order < 2 ? 1 : coprime_to(clusters);
    for (std::uint64_t i = 0; i < clusters; ++i) {
      const std::uint64_t at = (lane_order == 1 ? clusters - 1 - i : i * stride) % clusters;
      run_cluster({static_cast<unsigned>(at % of.x) * cluster.x,
                   static_cast<unsigned>(at / of.x % of.y) * cluster.y,
                   static_cast<unsigned>(at / of.x / of.y) * cluster.z},
                  block.x * block.y * block.z, dynamic_bytes);
    }
  }

  unsigned current() const { return current_; }
  Lane& lane() { return lanes_[own_->rank * threads_ + current_]; }
  SharedMemory& shared() { return own_->shared; }
  AsyncProxy& async_proxy() { return own_->async_proxy; }

  unsigned rank() const { return own_->rank; }
  unsigned cluster_size() const { return cluster_.x * cluster_.y * cluster_.z; }
  /// A block of this cluster, whose shared memory is in use until its last lane returns.
  BlockOfCluster& of_rank(unsigned rank, const char* op, Site site) {
    if (rank >= cluster_size())
      fail(std::string(op) + " at " + name_of(site) + ": the cluster has no block " +
           std::to_string(rank));
    if (blocks_[rank]->live == 0)
      fail(std::string(op) + " at " + name_of(site) + ": block " + std::to_string(rank) +
           " of the cluster has ended");
    return *blocks_[rank];
  }

  /// The T of a block, by default of this one, created on first use.
  template <class T>
  T& state(BlockOfCluster* block = nullptr) {
    std::unique_ptr<BlockState>& kept = (block ? block : own_)->states[typeid(T)];
    if (!kept) kept = std::make_unique<T>();
    return static_cast<T&>(*kept);
  }

  /// Waits until all lanes of the cluster that have not returned are here.
  void cluster_barrier(Site site) {
    ++arrived_;
    if (settle_cluster()) return;
    wait_for(
        &arrived_,
        [](const void* arrived) {
          return std::to_string(*static_cast<const unsigned*>(arrived)) + " lanes are here";
        },
        "cluster_sync", site);
  }

  /// Suspends the lane until wake(awaited) is called; describe(awaited) is for reports.
  void wait_for(const void* awaited, std::string (*describe)(const void*), const char* op,
                Site site) {
    lane().awaited = awaited;
    lane().describe = describe;
    suspend(op, site);
  }
  bool is_awaited(const void* what) const {
    return std::ranges::any_of(lanes_, [&](const Lane& l) { return l.awaited == what; });
  }
  void wake(const void* awaited) {
    for (Lane& other : lanes_)
      if (other.awaited == awaited) other.state = Lane::ready, other.awaited = nullptr;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Failure("block " + std::to_string(blockIdx.x) + "," + std::to_string(blockIdx.y) + "," +
                  std::to_string(blockIdx.z) + ", lane " + std::to_string(current_) + ": " + what);
  }

  /// Counts the lane as arrived; with `wait`, suspends it until `threads` lanes have arrived.
  /// `one_site`: all of them must arrive from the same line.
  void barrier(unsigned id, unsigned threads, bool wait, bool one_site, const char* op, Site site) {
    if (id >= own_->barriers.size()) fail("a block has 16 barriers, 0 to 15");
    Barrier& b = own_->barriers[id];
    if (b.arrived == 0) b.threads = threads, b.site = site;
    if (b.threads != threads)
      fail(std::string(op) + " at " + name_of(site) + " for " + std::to_string(threads) +
           " lanes meets one at " + name_of(b.site) + " for " + std::to_string(b.threads));
    if (one_site && different(site, b.site))
      fail(std::string(op) + " at " + name_of(site) + " meets lanes that wait at " +
           name_of(b.site));
    if (++b.arrived == threads) {
      b.arrived = 0;
      ++b.generation;
      wake(&b);
    } else if (wait) {
      wait_for(
          &b,
          [](const void* barrier) {
            const auto generation = static_cast<const Barrier*>(barrier)->generation;
            return "generation " + std::to_string(generation);
          },
          op, site);
    }
  }

  /// Waits for all lanes of `mask`; combine(operands) runs once, when all of them have arrived.
  void meet(const char* op, unsigned mask, void* operand,
            void (*combine)(const std::array<void*, 32>&, unsigned), Site site) {
    const unsigned own = current_ % 32;
    if ((mask >> own & 1) == 0)
      fail(std::string(op) + " at " + name_of(site) + ": the mask does not include the lane");
    auto& pending = own_->pending[current_ / 32];
    auto found = std::ranges::find_if(pending, [&](const auto& r) { return (r.mask & mask) != 0; });
    if (found == pending.end()) {
      pending.push_back({op, mask, 0, site, {}});
      found = pending.end() - 1;
    } else if (found->mask != mask || std::string_view(found->op) != op ||
               different(found->site, site)) {
      fail(std::string(op) + " at " + name_of(site) + " with mask " + std::to_string(mask) +
           " meets lanes of its warp that wait at " + found->op + " at " + name_of(found->site) +
           " with mask " + std::to_string(found->mask));
    }
    found->operands[own] = operand;
    found->arrived |= 1u << own;
    if (found->arrived != mask) return suspend(op, site);
    combine(found->operands, mask);
    pending.erase(found);
    const unsigned first = own_->rank * threads_ + current_ / 32 * 32;
    for (unsigned l = 0; l < 32; ++l)
      if (mask >> l & 1) lanes_[first + l].state = Lane::ready;
  }

 private:
  static bool different(const Site& a, const Site& b) {
    return a.line() != b.line() || a.column() != b.column() ||
           std::string_view(a.file_name()) != b.file_name();
  }

  static void check_limits(dim3 grid, dim3 block, dim3 cluster) {
    if (std::uint64_t{block.x} * block.y * block.z > 1024 || block.z > 64)
      throw Failure("a block of more than 1024 threads, or 64 in z");
    if (block.x == 0 || block.y == 0 || block.z == 0) throw Failure("a block without threads");
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) throw Failure("a grid without blocks");
    if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
      throw Failure("a grid of more than 65535 blocks in y or z");
    if (std::uint64_t{cluster.x} * cluster.y * cluster.z > 8)
      throw Failure("a cluster of more than 8 blocks");
    if (grid.x % cluster.x != 0 || grid.y % cluster.y != 0 || grid.z % cluster.z != 0)
      throw Failure("a grid that does not consist of whole clusters");
  }

  static std::uint64_t coprime_to(std::uint64_t blocks) {
    std::uint64_t stride = 2 * lane_order + 1;
    while (std::gcd(stride, blocks) != 1) ++stride;
    return stride;
  }

  /// Wakes the lanes at the cluster's barrier if all are there.
  bool settle_cluster() {
    unsigned live = 0;
    for (unsigned rank = 0; rank < cluster_size(); ++rank) live += blocks_[rank]->live;
    if (arrived_ == 0 || arrived_ != live) return false;
    arrived_ = 0;
    wake(&arrived_);
    return true;
  }

  void begin_cluster(uint3 first, unsigned threads, std::size_t dynamic_bytes) {
    threads_ = threads, arrived_ = 0;
    for (unsigned rank = 0; rank < cluster_size(); ++rank) {
      if (rank == blocks_.size()) blocks_.push_back(std::make_unique<BlockOfCluster>());
      blocks_[rank]->rank = rank;
      blocks_[rank]->begin({first.x + rank % cluster_.x, first.y + rank / cluster_.x % cluster_.y,
                            first.z + rank / cluster_.x / cluster_.y},
                           threads, dynamic_bytes);
    }
    const unsigned lanes = threads * cluster_size();
    lanes_.assign(lanes, {});
    failure_ = nullptr;
    cancelled_ = false;
    while (fibers_.size() < lanes) fibers_.push_back(std::make_unique<Fiber>());
    for (unsigned t = 0; t < lanes; ++t) fibers_[t]->start(&Block::run_lane, this);
    turns_.resize(lanes);
    std::iota(turns_.begin(), turns_.end(), 0u);
    if (lane_order == 1) std::ranges::reverse(turns_);
  }

  void run_cluster(uint3 first, unsigned threads, std::size_t dynamic_bytes) {
    begin_cluster(first, threads, dynamic_bytes);
    std::mt19937_64 random(lane_order);
    while (!failure_ && one_turn_each(random)) {
    }
    if (failure_) unwind();
    for (unsigned rank = 0; rank < cluster_size() && !failure_; ++rank) {
      BlockOfCluster& block = *blocks_[rank];
      if (block.shared.overrun())
        failure_ = std::make_exception_ptr(Failure("a lane wrote past a shared array"));
      for (const auto& [type, state] : block.states)
        if (const std::string left = state->unfinished(); !left.empty() && !failure_)
          failure_ = std::make_exception_ptr(Failure("the block ended before " + left));
    }
    if (failure_) std::rethrow_exception(failure_);
  }

  /// Gives each lane one turn. Returns false when all have returned. In odd orders, one block of a
  /// cluster runs as far ahead of the next as it can.
  bool one_turn_each(std::mt19937_64& random) {
    if (lane_order > 1) std::ranges::shuffle(turns_, random);
    const unsigned blocks = lane_order % 2 == 1 ? cluster_size() : 1;
    for (unsigned i = 0; i < blocks; ++i) {
      const unsigned rank = lane_order % 4 == 1 ? blocks - 1 - i : i;
      bool moved = false;
      for (const unsigned t : turns_) {
        if (lanes_[t].state != Lane::ready || (blocks > 1 && t / threads_ != rank)) continue;
        moved = true;
        resume(t);
        if (failure_) return true;
      }
      if (moved) return true;
    }
    if (std::ranges::all_of(lanes_, [](const Lane& l) { return l.state == Lane::returned; }))
      return false;
    failure_ = std::make_exception_ptr(Failure(deadlock()));
    return true;
  }

  void resume(unsigned t) {
    own_ = blocks_[t / threads_].get();
    current_ = t % threads_;
    blockIdx = own_->index;
    threadIdx = {current_ % blockDim.x, current_ / blockDim.x % blockDim.y,
                 current_ / blockDim.x / blockDim.y};
    fibers_[t]->resume();
  }

  static void run_lane(void* self) {
    auto& block = *static_cast<Block*>(self);
    try {
      if (!block.cancelled_) (*block.body_)();
      const Lane& lane = block.lane();
      for (const auto& group : lane.groups)
        if (!group.empty()) block.fail("the lane returned before copies by cp.async had ended");
      if (!lane.uncommitted.empty()) block.fail("the lane returned with uncommitted cp.async");
    } catch (const Cancelled&) {
    } catch (...) {
      if (!block.failure_) block.failure_ = std::current_exception();
    }
    block.lane().state = Lane::returned;
    --block.own_->live;
    block.settle_cluster();
  }

  void suspend(const char* op, Site site) {
    Lane& self = lane();
    self.state = Lane::waiting;
    self.op = op;
    self.site = site;
    fibers_[own_->rank * threads_ + current_]->suspend();
    if (cancelled_) throw Cancelled{};
  }

  /// After a failure, waiting lanes leave through an exception, so that their stacks are unwound.
  void unwind() {
    cancelled_ = true;
    for (unsigned t = 0; t < lanes_.size(); ++t)
      while (!fibers_[t]->done()) resume(t);
  }

  std::string deadlock() const {
    std::vector<std::pair<std::string, std::string>> places;  // what happens there, and the lanes
    for (std::size_t t = 0; t < lanes_.size(); ++t) {
      const Lane& l = lanes_[t];
      std::string what = "returned";
      if (l.state == Lane::waiting)
        what = std::string("wait at ") + l.op + " at " + name_of(l.site);
      if (l.awaited) what += " (" + l.describe(l.awaited) + ")";
      const auto same = [&](const auto& p) { return p.first == what; };
      auto found = std::ranges::find_if(places, same);
      if (found == places.end()) found = places.insert(found, {what, ""});
      found->second += " " + std::to_string(t);
    }
    std::string text = "deadlock in block " + std::to_string(blockIdx.x) + "," +
                       std::to_string(blockIdx.y) + "," + std::to_string(blockIdx.z);
    for (const auto& [what, who] : places) text += "; lanes" + who + " " + what;
    return text;
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Lane> lanes_;
  std::vector<unsigned> turns_;
  std::vector<std::unique_ptr<BlockOfCluster>> blocks_;  // by rank
  BlockOfCluster* own_ = nullptr;                        // that of the lane that runs
  dim3 cluster_;
  const std::function<void()>* body_ = nullptr;
  std::exception_ptr failure_;
  unsigned current_ = 0;  // lane of its block
  unsigned threads_ = 0;  // of a block
  unsigned arrived_ = 0;  // lanes at the barrier of the cluster
  bool cancelled_ = false;
};

/// The cluster that is running: there is one at a time.
inline Block& block() {
  static Block& only = *new Block;  // never destroyed: static backends outlive other statics
  return only;
}

}  // namespace cuda_on_cpu
