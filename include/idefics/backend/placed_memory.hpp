// Memory that several devices work on in turn: a block, with a copy on each device that has needed one.
// What a device reads is brought from where it was written last; what no other device reads stays.
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

/// Which devices hold which bytes of a block as they were written last. A pass writes only the rows that
/// it has, so the rest of a buffer may be newer elsewhere.
class Holders {
 public:
  static constexpr std::size_t most_devices = 32;

  explicit Holders(std::size_t bytes) : pieces_{{bytes, 0}} {}

  /// Bytes [begin, end) are new on `device`, and old everywhere else.
  void written(std::size_t begin, std::size_t end, std::size_t device) {
    if (begin == end) return;
    const std::size_t first = cut(begin), last = cut(end);
    for (std::size_t i = first; i < last; ++i) pieces_[i].devices = bit(device);
    join();
  }

  /// Calls copy(begin, end, from) for what `device` lacks of [begin, end), and counts it as held. Bytes
  /// that nobody has written are left alone.
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

 private:
  struct Piece {
    std::size_t end;  // it begins where the one before it ends
    std::uint32_t devices;
  };
  static std::uint32_t bit(std::size_t device) { return std::uint32_t{1} << device; }
  std::size_t begin_of(std::size_t piece) const { return piece == 0 ? 0 : pieces_[piece - 1].end; }

  /// The piece that begins at `offset`, made if there is none.
  std::size_t cut(std::size_t offset) {
    std::size_t i = 0;
    while (i < pieces_.size() && pieces_[i].end <= offset) ++i;
    if (begin_of(i) == offset) return i;
    pieces_.insert(pieces_.begin() + static_cast<std::ptrdiff_t>(i), {offset, pieces_[i].devices});
    return i + 1;
  }
  /// Neighbours that the same devices hold become one again.
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

/// One block. Tensors over it have addresses that only tell which block and which bytes are meant.
struct PlacedBlock : std::enable_shared_from_this<PlacedBlock> {
  PlacedBlock(std::size_t size, std::size_t devices, std::size_t first_home)
      : bytes(size), copies(devices), holders(size), home(first_home) {}

  std::size_t bytes;
  std::vector<Tensor> copies;  // by device, of all bytes; empty where none was needed
  Holders holders;
  std::size_t home;           // the device that wrote it last, or will hold it
  std::uint64_t written = 0;  // when that was; 0: never since it was uploaded
};

/// The blocks that tensors of a backend lie in, found by address.
class PlacedMemory : public std::enable_shared_from_this<PlacedMemory> {
 public:
  struct Place {
    PlacedBlock* block;
    std::size_t begin, end;
  };

  Tensor make(DType dtype, Shape shape, std::size_t devices, std::size_t home) {
    const Checked bytes = Checked(static_cast<std::uint64_t>(shape.count())) * size_of(dtype);
    auto block = std::make_unique<PlacedBlock>(bytes.size(), devices, home);
    const std::lock_guard lock(mutex_);
    std::byte* const address = next_;
    next_ += (bytes.size() / alignment + 1) * alignment;
    blocks_.emplace(address, block.get());
    return Tensor::over(
        dtype, shape, address,
        std::shared_ptr<PlacedBlock>(block.release(),
                                     [this_one = shared_from_this(), address](PlacedBlock* gone) {
                                       this_one->forget(address);
                                       delete gone;
                                     }));
  }

  /// Throws `invalid_argument` for a tensor of another backend.
  Place find(const Tensor& tensor) const {
    const std::lock_guard lock(mutex_);
    auto after = blocks_.upper_bound(tensor.raw());
    require(after != blocks_.begin(), "a tensor of another backend");
    const auto& [address, block] = *std::prev(after);
    const auto begin = static_cast<std::size_t>(tensor.raw() - address);
    require(begin + tensor.bytes() <= block->bytes, "a tensor of another backend");
    return {block, begin, begin + tensor.bytes()};
  }

 private:
  static constexpr std::size_t alignment = 64;

  void forget(const std::byte* address) {
    const std::lock_guard lock(mutex_);
    blocks_.erase(address);
  }

  mutable std::mutex
      mutex_;  // a tensor may be given up by another thread than the one that computes
  std::map<const std::byte*, PlacedBlock*> blocks_;
  // no memory of the process lies in the upper half of the address space
  std::byte* next_ = reinterpret_cast<std::byte*>(~(~std::uintptr_t{0} >> 1));
};

}}  // namespace idefics::v0
