// The shared memory of a block: the arrays that kernels declare, filled with NaN before each block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/cuda_on_cpu/fiber.hpp"

namespace cuda_on_cpu {

/// A rule of CUDA that a kernel broke.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr std::size_t max_static_shared = 48 * 1024;
inline constexpr std::size_t max_shared = 227 * 1024;  // of sm_90: most that a block may request

class SharedMemory {
 public:
  SharedMemory()
      : memory_(static_cast<std::byte*>(::operator new (capacity, std::align_val_t{alignment}))) {}
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() {
    open(memory_, capacity);
    ::operator delete (memory_, std::align_val_t{alignment});
  }

  /// Discards the contents of the last block: all bytes become 0xff, which is NaN in floats.
  void begin_block(std::size_t dynamic_bytes) {
    if (dynamic_bytes > max_shared)
      throw Failure("a block requests " + std::to_string(dynamic_bytes) +
                    " bytes of dynamic shared memory; there are " + std::to_string(max_shared));
    arrays_.clear();
    dynamic_bytes_ = dynamic_bytes;
    used_ = (dynamic_bytes + gap + alignment - 1) / alignment * alignment;
    open(memory_, capacity);
    std::memset(memory_, 0xff, dynamic_bytes + gap);
    close(memory_ + dynamic_bytes, capacity - dynamic_bytes);
  }

  /// The array that `key` identifies, the same for each lane of a block.
  void* array(const void* key, std::size_t bytes) {
    for (const Array& a : arrays_)
      if (a.key == key) return memory_ + a.begin;
    const Array made{key, used_, bytes};
    used_ = (used_ + bytes + gap + 127) / 128 * 128;
    if (static_bytes() + bytes > max_static_shared)
      throw Failure("static shared memory is above " + std::to_string(max_static_shared) +
                    " bytes");
    arrays_.push_back(made);
    open(memory_ + made.begin, bytes + gap);
    std::memset(memory_ + made.begin, 0xff, bytes + gap);
    close(memory_ + made.begin + bytes, gap);
    return memory_ + made.begin;
  }

  void* dynamic() { return memory_; }

  /// Converts between pointers and what a GPU uses as addresses within shared memory.
  std::size_t offset_of(const void* p) const {
    return static_cast<std::size_t>(static_cast<const std::byte*>(p) - memory_);
  }
  std::byte* at(std::size_t offset) { return memory_ + offset; }

  /// Whether all of [p, p + bytes) is memory that the block has declared.
  bool holds(const void* p, std::size_t bytes) const {
    const auto* at = static_cast<const std::byte*>(p);
    const auto within = [&](std::size_t begin, std::size_t size) {
      return at >= memory_ + begin && at + bytes <= memory_ + begin + size;
    };
    if (within(0, dynamic_bytes_)) return true;
    for (const Array& a : arrays_)
      if (within(a.begin, a.bytes)) return true;
    return false;
  }

  /// Whether a byte between the arrays has changed, because a lane wrote past the end of one.
  bool overrun() {
    const auto touched = [&](std::size_t begin) {
      open(memory_ + begin, gap);
      for (std::size_t i = 0; i < gap; ++i)
        if (memory_[begin + i] != std::byte{0xff}) return true;
      return false;
    };
    for (const Array& a : arrays_)
      if (touched(a.begin + a.bytes)) return true;
    return touched(dynamic_bytes_);
  }

 private:
  struct Array {
    const void* key;
    std::size_t begin, bytes;
  };
  static constexpr std::size_t alignment = 1024, gap = 64;
  static constexpr std::size_t capacity = max_shared + 2 * max_static_shared + 4 * alignment;

  std::size_t static_bytes() const {
    std::size_t sum = 0;
    for (const Array& a : arrays_) sum += a.bytes;
    return sum;
  }
  static void open([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(CUDA_ON_CPU_ASAN)
    __asan_unpoison_memory_region(p, bytes);
#endif
  }
  static void close([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(CUDA_ON_CPU_ASAN)
    __asan_poison_memory_region(p, bytes);
#endif
  }

  std::byte* memory_;
  std::vector<Array> arrays_;
  std::size_t dynamic_bytes_ = 0, used_ = 0;
};

}  // namespace cuda_on_cpu
