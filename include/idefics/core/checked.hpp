// Checked unsigned arithmetic. Sizes read from a file are added and multiplied only through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include <idefics/core/error.hpp>

namespace idefics { inline namespace v0 {

/// An unsigned 64-bit size whose sums and products throw `arithmetic_overflow` instead of wrapping.
class Checked {
 public:
  constexpr Checked() = default;
  constexpr Checked(std::uint64_t value) : value_(value) {}  // implicit, to mix with plain sizes

  constexpr std::uint64_t value() const noexcept { return value_; }

  /// The value as a `size_t` that can be passed to an allocation.
  std::size_t size() const {
    if (value_ > std::numeric_limits<std::size_t>::max() / 2) overflow();
    return static_cast<std::size_t>(value_);
  }

  friend Checked operator+(Checked a, Checked b) {
    if (a.value_ > std::numeric_limits<std::uint64_t>::max() - b.value_) overflow();
    return Checked(a.value_ + b.value_);
  }
  friend Checked operator-(Checked a, Checked b) {
    if (a.value_ < b.value_) overflow();
    return Checked(a.value_ - b.value_);
  }
  friend Checked operator*(Checked a, Checked b) {
    if (b.value_ != 0 && a.value_ > std::numeric_limits<std::uint64_t>::max() / b.value_)
      overflow();
    return Checked(a.value_ * b.value_);
  }
  friend constexpr auto operator<=>(Checked, Checked) = default;

 private:
  [[noreturn]] static void overflow() {
    fail(ErrorCode::arithmetic_overflow, "a size does not fit in 64 bits");
  }
  std::uint64_t value_ = 0;
};

}}  // namespace idefics::v0
