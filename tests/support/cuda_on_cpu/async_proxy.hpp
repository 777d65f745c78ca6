// Tracks which shared memory the asynchronous units (wgmma, TMA) may not have seen yet.
//
// What a lane writes, directly or by cp.async, becomes visible to them only after its
// fence.proxy.async. Writes by store_vector and cp.async are tracked, plain assignments are not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cuda_on_cpu {

class AsyncProxy {
 public:
  void begin_block(unsigned threads) {
    for (auto& granules : written_)
      for (const std::size_t granule : granules) writer_[granule] = no_lane;
    if (written_.size() < threads) written_.resize(threads);
    for (auto& granules : written_) granules.clear();
  }

  /// A lane has written [offset, offset + bytes) of shared memory.
  void note(std::size_t offset, std::size_t bytes, unsigned lane) {
    const std::size_t end = (offset + bytes + size - 1) / size;
    if (writer_.size() < end) writer_.resize(end, no_lane);
    for (std::size_t granule = offset / size; granule < end; ++granule) {
      if (writer_[granule] == lane) continue;
      writer_[granule] = static_cast<std::uint16_t>(lane);
      written_[lane].push_back(granule);
    }
  }

  /// fence.proxy.async of a lane.
  void fence(unsigned lane) {
    for (const std::size_t granule : written_[lane])
      if (writer_[granule] == lane) writer_[granule] = no_lane;
    written_[lane].clear();
  }

  /// Whether the units see what was last written at `offset`.
  bool sees(std::size_t offset) const {
    return offset / size >= writer_.size() || writer_[offset / size] == no_lane;
  }

 private:
  static constexpr std::size_t size = 16;
  static constexpr std::uint16_t no_lane = 0xffff;
  std::vector<std::uint16_t> writer_;              // by granule of 16 bytes
  std::vector<std::vector<std::size_t>> written_;  // by lane
};

}  // namespace cuda_on_cpu
