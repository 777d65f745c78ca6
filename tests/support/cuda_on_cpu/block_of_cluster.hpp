// What a block and its lanes own while their cluster runs (block.hpp).
#pragma once

#include <array>
#include <map>
#include <memory>
#include <source_location>
#include <string>
#include <typeindex>
#include <vector>

#include "support/cuda_on_cpu/async_proxy.hpp"
#include "support/cuda_on_cpu/shared_memory.hpp"
#include "support/cuda_on_cpu/types.hpp"

namespace cuda_on_cpu {

using Site = std::source_location;

inline std::string name_of(const Site& site) {
  const std::string path = site.file_name();
  return path.substr(path.rfind('/') + 1) + ":" + std::to_string(site.line());
}

/// An instruction that lanes of a warp execute together: each lane stores a pointer to its
/// operands, and the last to arrive computes the results of all.
struct Rendezvous {
  const char* op;
  unsigned mask = 0, arrived = 0;
  Site site;
  std::array<void*, 32> operands{};
};

struct Barrier {
  unsigned arrived = 0, threads = 0, generation = 0;
  Site site;
};

/// A copy that cp.async has started.
struct Copy {
  void* to;
  const void* from;
  std::size_t bytes, read;
};

struct Lane {
  enum State { ready, waiting, returned } state = ready;
  const char* op = "";  // what it is waiting at
  Site site;
  const void* awaited = nullptr;  // what will wake it
  std::string (*describe)(const void* awaited) = nullptr;
  std::vector<std::vector<Copy>> groups;  // committed, oldest first
  std::vector<Copy> uncommitted;
};

/// State that some instructions keep for a block while it runs.
struct BlockState {
  virtual ~BlockState() = default;
  /// What is still in flight when all lanes have returned; empty if nothing is.
  virtual std::string unfinished() const = 0;
};

/// What a block of the running cluster owns.
struct BlockOfCluster {
  uint3 index;
  unsigned rank = 0, live = 0;  // lanes that have not returned
  SharedMemory shared;
  AsyncProxy async_proxy;
  std::map<std::type_index, std::unique_ptr<BlockState>> states;
  std::vector<std::vector<Rendezvous>> pending;  // by warp
  std::array<Barrier, 16> barriers{};

  void begin(uint3 at, unsigned threads, std::size_t dynamic_bytes) {
    index = at;
    live = threads;
    shared.begin_block(dynamic_bytes);
    async_proxy.begin_block(threads);
    states.clear();
    barriers = {};
    pending.assign((threads + 31) / 32, {});
  }
};

}  // namespace cuda_on_cpu
