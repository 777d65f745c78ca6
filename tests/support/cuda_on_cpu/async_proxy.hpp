// Which shared memory the units that work beside the lanes (wgmma, TMA) may not have seen yet.
//
// What a lane writes by itself or by cp.async reaches them only behind its fence.proxy.async. Writes are
// known as far as they go through store_vector and cp.async: plain assignments are not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace cuda_on_cpu {

class AsyncProxy {
 public:
  void begin_block(unsigned threads) {
    for (auto& granules : written_)
      for (const std::size_t granule : granules) writer_[granule] = nobody;
    if (written_.size() < threads) written_.resize(threads);
    for (auto& granules : written_) granules.clear();
  }

  /// A lane has written [offset, offset + bytes) of shared memory.
  void note(std::size_t offset, std::size_t bytes, unsigned lane) {
    const std::size_t end = (offset + bytes + size - 1) / size;
    if (writer_.size() < end) writer_.resize(end, nobody);
    for (std::size_t granule = offset / size; granule < end; ++granule) {
      if (writer_[granule] == lane) continue;
      writer_[granule] = static_cast<std::uint16_t>(lane);
      written_[lane].push_back(granule);
    }
  }

  /// fence.proxy.async of a lane.
  void fence(unsigned lane) {
    for (const std::size_t granule : written_[lane])
      if (writer_[granule] == lane) writer_[granule] = nobody;
    written_[lane].clear();
  }

  /// Whether the units see what was last written at `offset`.
  bool sees(std::size_t offset) const {
    return offset / size >= writer_.size() || writer_[offset / size] == nobody;
  }

 private:
  static constexpr std::size_t size = 16;
  static constexpr std::uint16_t nobody = 0xffff;
  std::vector<std::uint16_t> writer_;              // by granule of 16 bytes
  std::vector<std::vector<std::size_t>> written_;  // by lane
};

}  // namespace cuda_on_cpu
