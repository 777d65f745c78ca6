// The memory of a compute device: tensors on it, and the way to them and back.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include <idefics/backend/operands.hpp>
#include <idefics/core/available_memory.hpp>

namespace idefics { inline namespace v0 {

/// What every backend offers besides its operations. The defaults are those of the CPU.
class TensorMemory {
 public:
  virtual ~TensorMemory() = default;

  virtual Tensor empty(DType dtype, Shape shape) { return Tensor::empty(dtype, shape); }
  /// The bytes of `host` where this device can read them; the CPU returns `host` itself. `weight`
  /// is the name of the weight that they belong to; a backend of several devices places them by it.
  Tensor upload(const Tensor& host, std::string_view weight = {}) { return place(host, weight); }
  /// The same for the matrix of a linear layer. A backend that shares the work with other ranks may
  /// keep some of its rows.
  LinearWeight upload_matrix(LinearWeight host, std::string_view weight) {
    return place_matrix(std::move(host), weight);
  }
  virtual Tensor download(const Tensor& device) { return device; }
  /// Fills a tensor of this device with the bytes of a host tensor of the same size.
  virtual void write(Tensor to, const Tensor& host) {
    require(to.bytes() == host.bytes(), "write: the tensors differ in size");
    if (host.bytes() != 0) std::memcpy(to.raw_mutable(), host.raw(), host.bytes());
  }
  /// Announces how many keys an attention may read, so that scratch for a growing past is allocated
  /// up front.
  virtual void reserve_keys(std::int64_t keys, std::int64_t head_dim) {
    (void)keys, (void)head_dim;
  }
  /// Announces how many rows the products of a later step may have, so that the scratch allocated
  /// before it is large enough.
  void expect_rows(std::int64_t rows) { expected_rows_ = std::max(expected_rows_, rows); }
  std::int64_t expected_rows() const { return expected_rows_; }
  /// [m,width] f32 of buffer `which`, whose contents do not outlive the layer that asks for it. It
  /// grows at once to the largest expected number of rows.
  Tensor scratch_rows(std::size_t which, std::int64_t m, std::int64_t width) {
    Tensor& buffer = scratch_rows_.at(which);
    const std::int64_t rows = std::max(m, expected_rows_);
    if (!buffer || buffer.count() < m * width) buffer = empty(DType::f32, {rows * width});
    return buffer.slice(0, m * width).reshape({m, width});
  }

  /// Locked while a backend that cannot be forked is in use: one lock for all of them, since a draft
  /// model's turn is within that of its model.
  virtual std::recursive_mutex& turns() {
    static std::recursive_mutex all;
    return all;
  }
  /// The value that the first of several ranks has, if this backend computes together with others:
  /// they must all take its decisions where these depend on a clock or on a user.
  virtual double agreed(double value) { return value; }

  /// Bytes that can still be allocated on this device, if known.
  virtual std::optional<std::uint64_t> memory_left() const { return available_memory(); }

 protected:
  virtual Tensor place(const Tensor& host, std::string_view weight) {
    (void)weight;
    return host;
  }
  virtual LinearWeight place_matrix(LinearWeight host, std::string_view weight) {
    QuantizedTensor& q = host.packed;
    for (Tensor* part : {&host.values, &q.codes, &q.absmax, &q.nested.absmax, &q.nested.map,
                         &host.int8.codes, &host.int8.absmax})
      if (*part) *part = upload(*part, weight);
    return host;
  }

 private:
  std::int64_t expected_rows_ = 0;
  std::array<Tensor, 2> scratch_rows_;
};

}}  // namespace idefics::v0
