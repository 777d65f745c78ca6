// Memory shared by several devices: a block with a copy on each device that has needed one. Bytes
// are copied to a device when it reads them, from the device that wrote them last, and not
// otherwise.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 {

/// Records, for each byte of a block, which devices hold its current value. A pass writes only its
/// own rows, so the rest of a buffer may be newer on another device.
class Holders {
 public:
  static constexpr std::size_t most_devices = 32;

  explicit Holders(std::size_t bytes) : pieces_{{bytes, 0}} {}

  /// Marks bytes [begin, end) as current on `device` and stale everywhere else.
  void written(std::size_t begin, std::size_t end, std::size_t device) {
    if (begin == end) return;
    const std::size_t first = cut(begin), last = cut(end);
    for (std::size_t i = first; i < last; ++i) pieces_[i].devices = bit(device);
    join();
  }

  /// Calls copy(begin, end, from) for the parts of [begin, end) that `device` lacks, and marks them
  /// as held. Skips bytes that were never written.
  template <class Copy>
  void need(std::size_t begin, std::size_t end, std::size_t device, const Copy& copy) {
    if (begin == end) return;
    const std::size_t first = cut(begin), last = cut(end);
    for (std::size_t i = first; i < last; ++i) {
      std::uint32_t& devices = pieces_[i].devices;
      if (devices == 0 || (devices & bit(device)) != 0) continue;
      copy(begin_of(i), pieces_[i].end, static_cast<std::size_t>(std::countr_zero(devices)));
      devices |= bit(device);
    }
    join();
  }

  /// Whether `device` holds all bytes of [begin, end) that were ever written.
  bool holds(std::size_t begin, std::size_t end, std::size_t device) const {
    std::size_t from = 0;
    for (const Piece& piece : pieces_) {
      const bool overlaps = from < end && piece.end > begin;
      if (overlaps && piece.devices != 0 && (piece.devices & bit(device)) == 0) return false;
      from = piece.end;
    }
    return true;
  }

  /// Forgets what `device` holds; another one must hold it, too.
  void drop(std::size_t device) {
    for (Piece& piece : pieces_) piece.devices &= ~bit(device);
    join();
  }

 private:
  struct Piece {
    std::size_t end;  // begins at the end of the previous piece
    std::uint32_t devices;
  };
  static std::uint32_t bit(std::size_t device) { return std::uint32_t{1} << device; }
  std::size_t begin_of(std::size_t piece) const { return piece == 0 ? 0 : pieces_[piece - 1].end; }

  /// The index of the piece that begins at `offset`; splits a piece if necessary.
  std::size_t cut(std::size_t offset) {
    std::size_t i = 0;
    while (i < pieces_.size() && pieces_[i].end <= offset) ++i;
    if (begin_of(i) == offset) return i;
    pieces_.insert(pieces_.begin() + static_cast<std::ptrdiff_t>(i), {offset, pieces_[i].devices});
    return i + 1;
  }
  /// Merges neighbouring pieces that are held by the same devices.
  void join() {
    std::size_t kept = 0;
    for (std::size_t i = 1; i < pieces_.size(); ++i) {
      if (pieces_[i].devices != pieces_[kept].devices) ++kept;
      pieces_[kept] = pieces_[i];
    }
    pieces_.resize(kept + 1);
  }

  std::vector<Piece> pieces_;
};

/// One block. The addresses of its tensors are never dereferenced: they identify a block and an
/// offset.
struct PlacedBlock : std::enable_shared_from_this<PlacedBlock> {
  PlacedBlock(std::size_t size, std::size_t devices, std::size_t first_home)
      : bytes(size), copies(devices), holders(size), home(first_home) {}

  std::size_t bytes;
  std::vector<Tensor> copies;  // by device, of the whole block; empty where not needed so far
  Holders holders;
  std::size_t home;           // the device that wrote the block last, or will hold it
  std::uint64_t written = 0;  // time of that write; 0: not since the upload
};

/// The blocks of a backend's tensors, looked up by address.
template <class Block>
class BlockMap : public std::enable_shared_from_this<BlockMap<Block>> {
 public:
  struct Place {
    Block* block;
    std::size_t begin, end;
  };

  /// A tensor with a block of its own, which is Block(bytes, args…).
  template <class... Args>
  Tensor make(DType dtype, Shape shape, const Args&... args) {
    const Checked bytes = Checked(static_cast<std::uint64_t>(shape.count())) * size_of(dtype);
    auto block = std::make_unique<Block>(bytes.size(), args...);
    const std::lock_guard lock(mutex_);
    std::byte* const address = next_;
    next_ += (bytes.size() / alignment + 1) * alignment;
    blocks_.emplace(address, block.get());
    return Tensor::over(dtype, shape, address,
                        std::shared_ptr<Block>(block.release(), [self = this->shared_from_this(),
                                                                 address](Block* released) {
                          self->forget(address);
                          delete released;
                        }));
  }

  /// Throws `invalid_argument` for a tensor of another backend.
  Place find(const Tensor& tensor) const {
    const std::lock_guard lock(mutex_);
    auto after = blocks_.upper_bound(tensor.raw());
    require(after != blocks_.begin(), "the tensor belongs to another backend");
    const auto& [address, block] = *std::prev(after);
    const auto begin = static_cast<std::size_t>(tensor.raw() - address);
    require(begin + tensor.bytes() <= block->bytes, "the tensor belongs to another backend");
    return {block, begin, begin + tensor.bytes()};
  }

 private:
  static constexpr std::size_t alignment = 64;

  void forget(const std::byte* address) {
    const std::lock_guard lock(mutex_);
    blocks_.erase(address);
  }

  mutable std::mutex mutex_;  // a thread other than the computing one may release a tensor
  std::map<const std::byte*, Block*> blocks_;
  // no memory of a process is mapped in the upper half of the address space
  std::byte* next_ = reinterpret_cast<std::byte*>(~(~std::uintptr_t{0} >> 1));
};

using PlacedMemory = BlockMap<PlacedBlock>;

}}  // namespace idefics::v0
