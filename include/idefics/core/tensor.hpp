// A tensor: a dtype, a shape and shared ownership of its bytes. It has no arithmetic: operations
// belong to the backend (backend/backend.hpp). Copies are views that share the bytes.
#pragma once

#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <utility>

#include <idefics/core/dtype.hpp>
#include <idefics/core/memory.hpp>
#include <idefics/core/shape.hpp>

namespace idefics { inline namespace v0 {

/// A dense row-major tensor. Weights may be views of a read-only file mapping, at any alignment;
/// the owner keeps the mapping alive as long as a view exists.
class Tensor {
 public:
  Tensor() = default;

  /// Uninitialized, cache-line aligned. Throws `out_of_memory` or `arithmetic_overflow`.
  static Tensor empty(DType dtype, Shape shape) {
    const Checked bytes = Checked(static_cast<std::uint64_t>(shape.count())) * size_of(dtype);
    auto owner = detail::allocate(bytes);
    auto* data = owner.get();
    return Tensor(dtype, shape, data, std::move(owner), true);
  }

  static Tensor zeros(DType dtype, Shape shape) {
    Tensor t = empty(dtype, shape);
    if (t.bytes() != 0) std::memset(t.data_, 0, t.bytes());
    return t;
  }

  /// A copy of `values`, a contiguous range or a list: Tensor::from({1.0f, 2.0f}, {2, 1}). The type
  /// of the elements gives the dtype. Throws `shape_mismatch` unless their number is that of `shape`.
  template <std::ranges::contiguous_range Values>
  requires Element<std::ranges::range_value_t<Values>>
  static Tensor from(const Values& values, Shape shape) {
    if (static_cast<std::int64_t>(std::ranges::size(values)) != shape.count())
      fail(ErrorCode::shape_mismatch, std::to_string(std::ranges::size(values)) +
                                          " values do not fill a tensor of shape " +
                                          shape.to_string());
    Tensor t = empty(dtype_of<std::ranges::range_value_t<Values>>(), shape);
    if (t.bytes() != 0) std::memcpy(t.data_, std::ranges::data(values), t.bytes());
    return t;
  }
  template <Element T>
  static Tensor from(std::initializer_list<T> values, Shape shape) {
    return from(std::span<const T>(values.begin(), values.size()), shape);
  }

  /// A read-only view of bytes that `owner` keeps alive (a mapping, a caller's buffer).
  static Tensor view_of(DType dtype, Shape shape, const std::byte* data,
                        std::shared_ptr<const void> owner = {}) {
    return Tensor(dtype, shape, const_cast<std::byte*>(data), std::move(owner), false);
  }

  /// A writable view of memory that `owner` keeps alive; it may be device memory, which the host
  /// cannot read.
  static Tensor over(DType dtype, Shape shape, std::byte* data, std::shared_ptr<const void> owner) {
    return Tensor(dtype, shape, data, std::move(owner), true);
  }

  DType dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  std::int64_t dim(int i) const { return shape_[i]; }
  std::int64_t count() const { return shape_.count(); }
  std::size_t bytes() const { return static_cast<std::size_t>(count()) * size_of(dtype_); }
  bool writable() const noexcept { return writable_; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

  const std::byte* raw() const noexcept { return data_; }
  std::byte* raw_mutable() {
    require(writable_, "this tensor is a read-only view");
    return data_;
  }

  /// Elements as T; the dtype must match, and the bytes must be aligned for T.
  template <class T>
  std::span<const T> as() const {
    require(detail::stores<T>(dtype_), "the tensor has another dtype");
    require(reinterpret_cast<std::uintptr_t>(data_) % alignof(T) == 0, "the tensor is misaligned");
    return {reinterpret_cast<const T*>(data_), static_cast<std::size_t>(count())};
  }
  template <class T>
  std::span<T> as_mutable() {
    require(writable_, "this tensor is a read-only view");
    auto elements = static_cast<const Tensor*>(this)->as<T>();
    return {const_cast<T*>(elements.data()), elements.size()};
  }

  /// The same elements in another shape of equal count.
  Tensor reshape(Shape shape) const {
    require(shape.count() == count(), "reshape must keep the number of elements");
    return Tensor(dtype_, shape, data_, owner_, writable_);
  }

  /// Rows [begin, end) of the outermost dimension, sharing the bytes.
  Tensor slice(std::int64_t begin, std::int64_t end) const {
    require(shape_.rank() > 0 && begin >= 0 && begin <= end && end <= shape_[0],
            "the slice is outside the tensor");
    std::array<std::int64_t, Shape::max_rank> dims{};
    std::ranges::copy(shape_.dims(), dims.begin());
    const std::int64_t row = shape_[0] == 0 ? 0 : count() / shape_[0];
    dims[0] = end - begin;
    const auto offset = static_cast<std::size_t>(begin * row) * size_of(dtype_);
    return Tensor(dtype_, Shape(std::span<const std::int64_t>(dims.data(), shape_.dims().size())),
                  data_ + offset, owner_, writable_);
  }

 private:
  Tensor(DType dtype, Shape shape, std::byte* data, std::shared_ptr<const void> owner,
         bool writable)
      : dtype_(dtype), shape_(shape), data_(data), owner_(std::move(owner)), writable_(writable) {}

  DType dtype_ = DType::f32;
  Shape shape_{0};
  std::byte* data_ = nullptr;
  std::shared_ptr<const void> owner_;
  bool writable_ = false;
};

namespace detail {

/// Element i of a float tensor as f32, at any alignment.
inline float element_as_f32(const Tensor& t, std::int64_t i) {
  auto read = [&]<class T>(T value) {
    std::memcpy(&value, t.raw() + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
    return to_f32(value);
  };
  switch (t.dtype()) {
    case DType::f32: return read(float{});
    case DType::f16: return read(f16_t{});
    case DType::bf16: return read(bf16_t{});
    default: fail(ErrorCode::dtype_mismatch, "expected a float tensor");
  }
}

}  // namespace detail

}}  // namespace idefics::v0
