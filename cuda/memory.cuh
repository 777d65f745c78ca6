// Device memory and pinned host memory: the pool that tensors are allocated from, the staging of
// small host spans, and the upload of weights.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <tuple>
#include <vector>

#include "stream.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

/// A pool that reuses blocks once their last owner has released them. All work runs in the order of
/// one stream, so a block can get a new owner while the device still works for the old one. Of the
/// free blocks of one size it picks the one with the lowest address, so that equal passes get equal
/// addresses (stream.cuh).
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
 public:
  enum class Kind { device, pinned };

  explicit MemoryPool(Kind kind, Gpu gpu = {}) : kind_(kind), gpu_(gpu) {}
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;
  ~MemoryPool() { release_free(); }

  /// What to do before memory is returned to the device: start the work that may still need it.
  void before_freeing(std::function<void()> settle) { settle_ = std::move(settle); }

  /// `bytes` of uninitialized memory, aligned to 256. Throws `out_of_memory`, stating the bytes
  /// needed and those left.
  std::shared_ptr<std::byte> get(std::size_t bytes) {
    const std::size_t rounded = std::max<std::size_t>(512, (bytes + 511) / 512 * 512);
    const std::lock_guard lock(mutex_);
    std::byte* block = nullptr;
    std::size_t size = rounded;
    if (const auto found = free_.lower_bound({rounded, nullptr});
        found != free_.end() && found->first <= rounded + rounded / 4) {
      size = found->first;
      block = found->second;
      free_.erase(found);
    } else {
      block = allocate(rounded);
    }
    return {block, [pool = shared_from_this(), size](std::byte* p) { pool->put_back(p, size); }};
  }

 private:
  std::byte* allocate(std::size_t bytes) {
    void* memory = nullptr;
    gpu_.make_current();
    if (try_allocate(&memory, bytes) == cudaSuccess) return static_cast<std::byte*>(memory);
    (void)cudaGetLastError();
    if (settle_) settle_();
    release_free();
    const cudaError_t status = try_allocate(&memory, bytes);
    if (status == cudaErrorMemoryAllocation) refuse(bytes);
    check(status, "allocating memory");
    return static_cast<std::byte*>(memory);
  }

  cudaError_t try_allocate(void** memory, std::size_t bytes) const {
    return kind_ == Kind::device ? cudaMalloc(memory, bytes) : cudaMallocHost(memory, bytes);
  }

  [[noreturn]] void refuse(std::size_t bytes) const {
    (void)cudaGetLastError();
    std::size_t left = 0, total = 0;
    (void)cudaMemGetInfo(&left, &total);
    const std::string needed = std::to_string(bytes) + " bytes";
    if (kind_ == Kind::pinned)
      fail(ErrorCode::out_of_memory, "cannot pin " + needed + " of the host's memory",
           {.actual = bytes});
    fail(ErrorCode::out_of_memory,
         "the CUDA device has " + std::to_string(left) + " of its " + std::to_string(total) +
             " bytes left, and a tensor needs " + needed,
         {.field = "device", .actual = bytes, .limit = left});
  }

  void put_back(std::byte* block, std::size_t size) {
    const std::lock_guard lock(mutex_);
    free_.insert({size, block});
  }

  void release_free() noexcept {
    for (const auto& [size, block] : free_)
      (void)(kind_ == Kind::device ? cudaFree(block) : cudaFreeHost(block));
    free_.clear();
  }

  Kind kind_;
  Gpu gpu_;
  std::function<void()> settle_;
  std::mutex mutex_;
  std::set<std::pair<std::size_t, std::byte*>> free_;  // by size, then address
};

/// Device memory that the next operation may overwrite, since operations run in the order of a
/// stream. It grows to the largest request.
class Scratch {
 public:
  explicit Scratch(std::shared_ptr<MemoryPool> pool) : pool_(std::move(pool)) {}

  template <class T>
  T* get(std::int64_t count) {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    if (bytes > bytes_) {
      memory_ = pool_->get(bytes);
      bytes_ = bytes;
    }
    return reinterpret_cast<T*>(memory_.get());
  }

 private:
  std::shared_ptr<MemoryPool> pool_;
  std::shared_ptr<std::byte> memory_;
  std::size_t bytes_ = 0;
};

/// Counters in device memory, which are zero between kernels.
class Counters {
 public:
  Counters(Stream& stream, std::shared_ptr<MemoryPool> pool)
      : stream_(stream), pool_(std::move(pool)) {}

  unsigned* get(std::int64_t count) {
    if (count > count_) {
      count_ = std::max(2 * count, std::int64_t{1024});
      const std::size_t bytes = static_cast<std::size_t>(count_) * sizeof(unsigned);
      memory_ = pool_->get(bytes);
      check(cudaMemsetAsync(memory_.get(), 0, bytes, stream_.native()), "clearing memory");
    }
    return reinterpret_cast<unsigned*>(memory_.get());
  }

 private:
  Stream& stream_;
  std::shared_ptr<MemoryPool> pool_;
  std::shared_ptr<std::byte> memory_;
  std::int64_t count_ = 0;
};

/// Small spans that kernels read: positions, rows, segments. They reach the device through pinned
/// memory, so that no call waits for a copy; equal spans, such as those of the layers of a pass,
/// are copied once. Callers that wait for the stream call `begin_pass`, so that the spans of equal
/// passes get equal addresses.
class Staging {
 public:
  Staging(Stream& stream, std::shared_ptr<MemoryPool> pinned, std::shared_ptr<MemoryPool> device)
      : stream_(stream), pinned_(std::move(pinned)), device_(std::move(device)) {}

  /// The device has read everything staged so far.
  void begin_pass() {
    used_ = 0;
    pieces_.clear();
  }

  /// The spans on the device, valid for kernels that are launched before the next call.
  template <class... T>
  std::tuple<const T*...> operator()(std::span<const T>... spans) {
    reserve((padded(spans.size_bytes()) + ... + 0));
    return {put(spans)...};
  }

 private:
  struct Piece {
    std::size_t begin, bytes;
  };
  /// Rounds up, so that a list of keys, which grows from token to token, rarely changes its size.
  static std::size_t padded(std::size_t bytes) {
    const std::size_t step = bytes <= 256 ? 256 : 4096;
    return (bytes + step - 1) / step * step;
  }

  /// If the buffer is full, waits until the device has read it, and starts again at its beginning.
  void reserve(std::size_t bytes) {
    if (used_ + bytes <= capacity_) return;
    stream_.wait();
    begin_pass();
    if (bytes <= capacity_) return;
    capacity_ = std::max(2 * bytes, std::size_t{1} << 20);
    host_ = pinned_->get(capacity_);
    on_device_ = device_->get(capacity_);
  }

  template <class T>
  const T* put(std::span<const T> values) {
    static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>,
                  "equal values have equal bytes");
    const std::size_t bytes = values.size_bytes();
    if (bytes == 0) return nullptr;
    return reinterpret_cast<const T*>(on_device_.get() + offset_of(values.data(), bytes));
  }

  std::size_t offset_of(const void* from, std::size_t bytes) {
    const std::size_t begin = pieces_.size() < remembered ? 0 : pieces_.size() - remembered;
    for (std::size_t i = begin; i < pieces_.size(); ++i)
      if (pieces_[i].bytes == bytes &&
          std::memcmp(host_.get() + pieces_[i].begin, from, bytes) == 0)
        return pieces_[i].begin;
    const Piece piece{used_, bytes};
    std::memcpy(host_.get() + piece.begin, from, bytes);
    stream_.add(CopyWork(on_device_.get() + piece.begin, host_.get() + piece.begin, padded(bytes)));
    pieces_.push_back(piece);
    used_ += padded(bytes);
    return piece.begin;
  }

  static constexpr std::size_t remembered = 16;  // pieces that a new one is compared with

  Stream& stream_;
  std::shared_ptr<MemoryPool> pinned_, device_;
  std::shared_ptr<std::byte> host_, on_device_;
  std::size_t capacity_ = 0, used_ = 0;
  std::vector<Piece> pieces_;
};

/// Copies of any size to the device. They pass through two pinned buffers: while one is being
/// transferred, the other is filled, which for a mapped weight means reading the file.
class Uploader {
 public:
  Uploader(Stream& stream, const std::shared_ptr<MemoryPool>& pinned) : stream_(stream) {
    for (Buffer& buffer : buffers_) {
      buffer.memory = pinned->get(chunk);
      check(cudaEventCreateWithFlags(&buffer.read, cudaEventDisableTiming), "creating an event");
    }
  }
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;
  ~Uploader() {
    for (const Buffer& buffer : buffers_) (void)cudaEventDestroy(buffer.read);
  }

  /// Returns when `from` has been read; the copy itself follows the order of the stream.
  void operator()(std::byte* to, const std::byte* from, std::size_t bytes) {
    const cudaStream_t stream = stream_.native();
    for (std::size_t offset = 0; offset < bytes; offset += chunk) {
      Buffer& buffer = buffers_[next_];
      next_ = 1 - next_;
      const std::size_t part = std::min(chunk, bytes - offset);
      if (buffer.used) check(cudaEventSynchronize(buffer.read), "copying to the device");
      std::memcpy(buffer.memory.get(), from + offset, part);
      check(cudaMemcpyAsync(to + offset, buffer.memory.get(), part, cudaMemcpyHostToDevice, stream),
            "copying to the device");
      check(cudaEventRecord(buffer.read, stream), "recording an event");
      buffer.used = true;
    }
  }

 private:
  struct Buffer {
    std::shared_ptr<std::byte> memory;
    cudaEvent_t read = nullptr;  // reached when the device has read `memory`
    bool used = false;
  };
  static constexpr std::size_t chunk = std::size_t{16} << 20;

  Stream& stream_;
  Buffer buffers_[2];
  std::size_t next_ = 0;
};

}}}  // namespace idefics::v0::cuda
