// Shapes of up to five dimensions, row-major.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include <idefics/core/checked.hpp>

namespace idefics { inline namespace v0 {

class Shape {
 public:
  static constexpr int max_rank = 5;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims)
      : Shape(std::span<const std::int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims) {
    require(dims.size() <= max_rank, "a shape has at most five dimensions");
    for (auto d : dims) {
      require(d >= 0, "a dimension cannot be negative");
      dims_[static_cast<std::size_t>(rank_++)] = d;
    }
  }

  int rank() const noexcept { return rank_; }

  /// Negative indices count from the end: shape[-1] is the innermost dimension.
  std::int64_t operator[](int i) const { return dims_[static_cast<std::size_t>(index(i))]; }

  /// A dimension index that counts from the beginning.
  int index(int i) const {
    const int at = i < 0 ? i + rank_ : i;
    require(at >= 0 && at < rank_, "dimension index out of range");
    return at;
  }

  /// Product of all dimensions, checked; 1 for a scalar.
  std::int64_t count() const { return count(0, rank_); }
  /// Product of dimensions [begin, end), checked; 1 for an empty range.
  std::int64_t count(int begin, int end) const {
    Checked product = 1;
    for (int i = begin; i < end; ++i)
      product = product * static_cast<std::uint64_t>(dims_[static_cast<std::size_t>(i)]);
    return static_cast<std::int64_t>(product.size());
  }

  /// The same shape with another dimension i.
  Shape with(int i, std::int64_t dim) const {
    std::array<std::int64_t, max_rank> changed = dims_;
    changed[static_cast<std::size_t>(index(i))] = dim;
    return Shape(std::span<const std::int64_t>(changed.data(), dims().size()));
  }

  std::span<const std::int64_t> dims() const noexcept {
    return {dims_.data(), static_cast<std::size_t>(rank_)};
  }

  bool operator==(const Shape& other) const noexcept {
    return std::ranges::equal(dims(), other.dims());
  }

  /// "[2, 3, 224, 224]", the form used in error messages.
  std::string to_string() const {
    std::string text = "[";
    for (auto d : dims()) text.append(text.size() > 1 ? ", " : "").append(std::to_string(d));
    return text + "]";
  }

 private:
  std::array<std::int64_t, max_rank> dims_{};
  int rank_ = 0;
};

}}  // namespace idefics::v0
