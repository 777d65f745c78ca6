// How the ranks of a run talk: several processes, or threads, that compute one model together. Every
// rank makes the same calls, in one order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <idefics/core/error.hpp>

namespace idefics { inline namespace v0 {

/// The ranks of a run. A call returns when all ranks have made it. If a rank has ended or does not
/// answer within the limit of the implementation, the others throw `rank_lost`; the object is then of
/// no further use. An object serves one calling thread.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Fills `all` on every rank. The bytes of rank r are [offsets[r], offsets[r + 1]); those of the
  /// caller are there already. `offsets` has size() + 1 entries, the same on all ranks.
  virtual void all_gather(std::span<std::byte> all, std::span<const std::size_t> offsets) = 0;
  /// Copies `bytes` from rank `root` to all others.
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  virtual void barrier() = 0;
  /// Tells the others that this rank ends early, and why: their calls throw instead of waiting.
  virtual void give_up(const char* why) noexcept = 0;
};

/// How the columns of a tensor are shared among ranks: in units that stay whole, such as attention
/// heads. The last unit may be shorter; where there are fewer units than ranks, some have none.
struct Sharding {
  std::int64_t width = 0, unit = 1;

  bool operator==(const Sharding&) const = default;
  /// The first column of a rank; that of rank `ranks` is `width`.
  std::int64_t begin(std::int64_t rank, std::int64_t ranks) const {
    const std::int64_t units = (width + unit - 1) / unit;
    return std::min(width, units * rank / ranks * unit);
  }
  /// The columns of the rank that has most.
  std::int64_t most(std::int64_t ranks) const {
    std::int64_t all = 0;
    for (std::int64_t r = 0; r < ranks; ++r)
      all = std::max(all, begin(r + 1, ranks) - begin(r, ranks));
    return all;
  }
};

}}  // namespace idefics::v0
