// The tensors of one of several ranks that compute a model together. A tensor is replicated (every
// rank has all of it), sharded (each has its columns), or both; it takes the other form when an
// operation needs it. Only the way from sharded to replicated costs a message.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <idefics/backend/backend.hpp>
#include <idefics/backend/placed_memory.hpp>
#include <idefics/ranks/communicator.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class ShardedMemory {
 public:
  /// The form in which an operation works: replicated, or sharded like this.
  using Form = std::optional<Sharding>;

  /// The rows that a rank has of a matrix.
  struct Part {
    LinearWeight weight;
    Sharding outputs;
  };

  ShardedMemory(std::shared_ptr<Backend> device, std::shared_ptr<Communicator> ranks)
      : device_(std::move(device)),
        ranks_(std::move(ranks)),
        offsets_(static_cast<std::size_t>(ranks_->size()) + 1) {}

  Communicator& ranks() const { return *ranks_; }
  std::uint64_t received_bytes() const { return received_bytes_; }
  std::int64_t begin_of(const Sharding& s) const { return s.begin(ranks_->rank(), ranks_->size()); }
  std::int64_t end_of(const Sharding& s) const {
    return s.begin(ranks_->rank() + 1, ranks_->size());
  }

  Tensor make(DType dtype, Shape shape) { return blocks_->make(dtype, shape, dtype); }
  /// A tensor that every rank has.
  inline Tensor make(const Tensor& on_device);
  /// A tensor without memory that stands for a matrix of which this rank has a part.
  Tensor make(DType dtype, Shape shape, Part part) {
    Tensor tensor = make(dtype, shape);
    blocks_->find(tensor).block->part = std::move(part);
    return tensor;
  }
  /// Null for a tensor that every rank has.
  const Part* part_of(const Tensor& matrix) const {
    const auto& part = blocks_->find(matrix).block->part;
    return part ? &*part : nullptr;
  }

  /// Sharded like the first tensor that is not replicated, if units are multiples of `grain`, rows
  /// have the given width (0: any), and all tensors can be sharded like this.
  inline Form form_of(std::initializer_list<const Tensor*> tensors, std::int64_t grain = 1,
                      std::int64_t width = 0) const;
  /// An operand, in this form.
  inline Tensor in(const Tensor& t, const Form& form = {});
  /// A tensor that the operation overwrites entirely.
  inline Tensor out(const Tensor& t, const Form& form = {});
  /// A tensor that it updates, or overwrites in part.
  Tensor changed(const Tensor& t, const Form& form) {
    (void)in(t, form);
    return out(t, form);
  }
  /// On the host, valid as long as `tensor`.
  inline Tensor download(const Tensor& tensor);

 private:
  static constexpr std::size_t replicated = 0, sharded = 1;

  struct Block : std::enable_shared_from_this<Block> {
    Block(std::size_t size, DType type) : bytes(size), dtype(type), holders(size) {}

    /// Of the rows of the sharded copy, when whole; 0 if there is no such copy.
    std::size_t row_bytes() const {
      return static_cast<std::size_t>(sharding.width) * size_of(dtype);
    }

    std::size_t bytes;
    DType dtype;
    std::array<Tensor, 2> copies;  // replicated and sharded, where needed so far
    Holders holders;               // of bytes in the replicated form
    Sharding sharding;             // of the sharded copy
    std::optional<Part> part;      // of a matrix, which has no copies
  };
  using Blocks = BlockMap<Block>;

  std::int64_t columns_of(const Sharding& s) const { return end_of(s) - begin_of(s); }
  bool fits(const Tensor& t, const Sharding& s) const {
    const auto [block, begin, end] = blocks_->find(t);
    return t.dtype() == block->dtype && t.count() % s.width == 0 &&
           begin % (static_cast<std::size_t>(s.width) * size_of(block->dtype)) == 0;
  }
  void allocate_replicated(Block& block) {
    Tensor& copy = block.copies[replicated];
    if (!copy) copy = device_->empty(DType::u8, {static_cast<std::int64_t>(block.bytes)});
  }
  void allocate_sharded(Block& block) {
    const auto rows = static_cast<std::int64_t>(block.bytes / block.row_bytes());
    Tensor& copy = block.copies[sharded];
    if (!copy) copy = device_->empty(block.dtype, {rows * columns_of(block.sharding)});
  }
  /// Of `rows` rows of each rank's columns, in turn.
  void set_offsets(const Sharding& s, std::size_t bytes_per_column) {
    for (std::size_t r = 0; r < offsets_.size(); ++r)
      offsets_[r] =
          static_cast<std::size_t>(s.begin(static_cast<std::int64_t>(r), ranks_->size())) *
          bytes_per_column;
  }
  inline void gather(std::span<std::byte> all, const std::byte* mine);
  inline void reshard(Block& block, const Sharding& s);
  inline void replicate(Block& block, std::size_t begin, std::size_t end);
  inline void take_columns(Block& block, std::size_t begin, std::size_t end);
  inline Tensor view(const Tensor& t, const Blocks::Place& place, const Form& form);

  std::shared_ptr<Backend> device_;
  std::shared_ptr<Communicator> ranks_;
  std::shared_ptr<Blocks> blocks_ = std::make_shared<Blocks>();
  std::vector<std::size_t> offsets_;  // of the bytes of each rank in a gather
  Tensor gathered_;                   // columns of each rank in turn, before they are joined
  std::uint64_t received_bytes_ = 0;
};

inline Tensor ShardedMemory::make(const Tensor& on_device) {
  Tensor tensor = make(on_device.dtype(), on_device.shape());
  Block& block = *blocks_->find(tensor).block;
  block.copies[replicated] = on_device;
  block.holders.written(0, block.bytes, replicated);
  return tensor;
}

inline ShardedMemory::Form ShardedMemory::form_of(std::initializer_list<const Tensor*> tensors,
                                                  std::int64_t grain, std::int64_t width) const {
  for (const Tensor* t : tensors) {
    const auto [block, begin, end] = blocks_->find(*t);
    if (block->holders.holds(begin, end, replicated)) continue;
    const Sharding s = block->sharding;
    if (s.unit % grain != 0 || (width != 0 && width != s.width)) return {};
    for (const Tensor* other : tensors)
      if (!fits(*other, s)) return {};
    return s;
  }
  return {};
}

inline Tensor ShardedMemory::in(const Tensor& t, const Form& form) {
  if (!t) return t;
  const auto place = blocks_->find(t);
  Block& block = *place.block;
  if (form) reshard(block, *form);
  std::size_t begin = place.begin, end = place.end;
  if (const std::size_t row = block.row_bytes(); row > 0) {  // whole rows
    begin -= begin % row;
    end = std::max(end, std::min((end + row - 1) / row * row, block.bytes));
  }
  block.holders.need(begin, end, form ? sharded : replicated,
                     [&](std::size_t first, std::size_t last, std::size_t) {
                       form ? take_columns(block, first, last) : replicate(block, first, last);
                     });
  return view(t, place, form);
}

inline Tensor ShardedMemory::out(const Tensor& t, const Form& form) {
  const auto place = blocks_->find(t);
  Block& block = *place.block;
  const std::size_t row = block.row_bytes();
  if (form)
    reshard(block, *form);
  else if (row > 0 && (place.begin % row != 0 || place.end % row != 0))
    reshard(block, {});  // the bytes of a sharded row are held in one form
  block.holders.written(place.begin, place.end, form ? sharded : replicated);
  return view(t, place, form);
}

/// Prepares a block for another sharding. What it holds is kept in the replicated form.
inline void ShardedMemory::reshard(Block& block, const Sharding& s) {
  if (block.sharding == s) return;
  block.holders.need(
      0, block.bytes, replicated,
      [&](std::size_t begin, std::size_t end, std::size_t) { replicate(block, begin, end); });
  block.holders.drop(sharded);
  block.sharding = s;
  block.copies[sharded] = {};
}

/// The memory of a tensor in this form, allocated if necessary. A sharded tensor has fewer heads or
/// columns.
inline Tensor ShardedMemory::view(const Tensor& t, const Blocks::Place& place, const Form& form) {
  Block& block = *place.block;
  if (!form) {
    allocate_replicated(block);
    Tensor& copy = block.copies[replicated];
    if (!copy.writable()) return Tensor::view_of(t.dtype(), t.shape(), copy.raw() + place.begin);
    return Tensor::over(t.dtype(), t.shape(), copy.raw_mutable() + place.begin, {});
  }
  allocate_sharded(block);
  const std::int64_t columns = columns_of(*form), rows = t.count() / form->width;
  const auto row = static_cast<std::int64_t>(place.begin / block.row_bytes());
  const Tensor part = block.copies[sharded].slice(row * columns, (row + rows) * columns);
  const Shape& s = t.shape();
  const bool heads =
      s.rank() == 3 && s[1] * s[2] == form->width && s[2] > 0 && form->unit % s[2] == 0;
  return heads ? part.reshape({s[0], columns / s[2], s[2]}) : part.reshape({rows, columns});
}

/// Fills `all` with the bytes of all ranks, at offsets_; `mine` are those of this one.
inline void ShardedMemory::gather(std::span<std::byte> all, const std::byte* mine) {
  const auto r = static_cast<std::size_t>(ranks_->rank());
  const std::size_t own = offsets_[r + 1] - offsets_[r];
  if (own > 0) std::memcpy(all.data() + offsets_[r], mine, own);
  ranks_->all_gather(all, offsets_);
  received_bytes_ += all.size() - own;
}

/// Sharded to replicated, for whole rows.
inline void ShardedMemory::replicate(Block& block, std::size_t begin, std::size_t end) {
  const std::size_t row = block.row_bytes(), rows = (end - begin) / row;
  allocate_replicated(block);
  std::byte* const target = block.copies[replicated].raw_mutable() + begin;
  const std::size_t element = size_of(block.dtype);
  const auto columns = static_cast<std::size_t>(columns_of(block.sharding)) * element;
  const std::byte* const mine = block.copies[sharded].raw() + begin / row * columns;
  set_offsets(block.sharding, rows * element);
  if (rows == 1) return gather({target, row}, mine);
  if (gathered_.bytes() < end - begin)
    gathered_ = device_->empty(DType::u8, {static_cast<std::int64_t>(end - begin)});
  std::byte* const all = gathered_.raw_mutable();
  gather({all, end - begin}, mine);
  for (std::size_t r = 0; r + 1 < offsets_.size(); ++r) {
    const std::size_t width = (offsets_[r + 1] - offsets_[r]) / rows;
    for (std::size_t i = 0; i < rows && width > 0; ++i)
      std::memcpy(target + i * row + offsets_[r] / rows, all + offsets_[r] + i * width, width);
  }
}

/// Replicated to sharded: this rank's columns of all rows that the bytes touch.
inline void ShardedMemory::take_columns(Block& block, std::size_t begin, std::size_t end) {
  const std::size_t row = block.row_bytes(), element = size_of(block.dtype);
  const auto columns = static_cast<std::size_t>(columns_of(block.sharding)) * element;
  const auto at = static_cast<std::size_t>(begin_of(block.sharding)) * element;
  allocate_sharded(block);
  const std::size_t last = std::min((end + row - 1) / row, block.bytes / row);
  for (std::size_t i = begin / row; i < last && columns > 0; ++i)
    std::memcpy(block.copies[sharded].raw_mutable() + i * columns,
                block.copies[replicated].raw() + i * row + at, columns);
}

inline Tensor ShardedMemory::download(const Tensor& tensor) {
  Block& block = *blocks_->find(tensor).block;
  if (block.part) {
    Tensor all = Tensor::empty(tensor.dtype(), tensor.shape());
    set_offsets(block.part->outputs,
                all.bytes() / static_cast<std::size_t>(block.part->outputs.width));
    gather({all.raw_mutable(), all.bytes()}, block.part->weight.values.raw());
    return all;
  }
  const Tensor whole = in(tensor);
  return Tensor::view_of(tensor.dtype(), tensor.shape(), whole.raw(), block.shared_from_this());
}

}}}  // namespace idefics::v0::detail
