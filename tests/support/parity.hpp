// Common to all parity tests: run an operation on each backend, compare the result with the
// expected values, and require the same bits for every number of threads and every instruction set.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <sstream>

#include "support/backends.hpp"
#include "support/catch.hpp"
#include "support/random_tensors.hpp"
#include "support/tolerance.hpp"

namespace testing {

inline constexpr idefics::DType weight_dtypes[] = {idefics::DType::f32, idefics::DType::f16,
                                                   idefics::DType::bf16};

/// Describes the first byte in which two tensors of another dtype than f32 differ.
inline std::string different_bytes(const idefics::Tensor& a, const idefics::Tensor& b) {
  if (a.dtype() != b.dtype() || a.bytes() != b.bytes()) return "dtypes or sizes differ";
  const std::byte* first = std::mismatch(a.raw(), a.raw() + a.bytes(), b.raw()).first;
  if (first == a.raw() + a.bytes()) return "";
  return "byte " + std::to_string(first - a.raw()) + " of " + std::to_string(a.bytes());
}

/// Describes the first element in which two tensors differ in a bit; empty if none does.
inline std::string different_bits(const idefics::Tensor& actual, const idefics::Tensor& expected) {
  if (actual.dtype() != idefics::DType::f32) return different_bytes(actual, expected);
  const auto a = actual.as<float>(), b = expected.as<float>();
  if (a.size() != b.size()) return "sizes differ";
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) {
      std::ostringstream text;
      text << "element " << i << " of " << a.size() << ": " << std::hexfloat << a[i] << " and "
           << b[i];
      return text.str();
    }
  return "";
}

/// Describes the first element whose |actual - expected| is above bound(i), or NaN; empty if none.
template <class Bound>
std::string beyond(const idefics::Tensor& actual, const idefics::Tensor& expected,
                   const Bound& bound) {
  const auto a = actual.as<float>(), b = expected.as<float>();
  if (a.size() != b.size()) return "sizes differ";
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double error = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    const double limit = bound(static_cast<std::int64_t>(i));
    if (!(error <= limit)) {
      std::ostringstream text;
      text << "element " << i << " of " << a.size() << ": " << a[i] << " instead of " << b[i]
           << ", error " << error << " above " << limit;
      return text.str();
    }
  }
  return "";
}

/// An output on the device between two guards of NaN, which must not be touched. Without initial
/// values the output itself is NaN, so that an element that is not written is noticed.
class Output {
 public:
  Output(idefics::Backend& backend, idefics::Shape shape, const Values& initial = {})
      : backend_(backend), shape_(shape) {
    const auto count = static_cast<std::size_t>(shape.count());
    Values all(count + 2 * guard, sentinel());
    std::ranges::copy(initial, all.begin() + guard);
    all_ = backend.upload(tensor({static_cast<std::int64_t>(all.size())}, all));
  }

  /// The tensor that the operation writes.
  idefics::Tensor tensor_on_device() const {
    return all_.slice(guard, all_.count() - guard).reshape(shape_);
  }

  /// The values on the host; fails the test if a guard has changed.
  idefics::Tensor values() const {
    const idefics::Tensor host = backend_.download(all_);
    const auto bits = [&](std::int64_t i) {
      return std::bit_cast<std::uint32_t>(host.as<float>()[static_cast<std::size_t>(i)]);
    };
    std::int64_t touched = 0;
    for (std::int64_t i = 0; i < guard; ++i)
      for (const std::int64_t at : {i, host.count() - 1 - i})
        touched += bits(at) != std::bit_cast<std::uint32_t>(sentinel());
    CHECK(touched == 0);
    return host.slice(guard, host.count() - guard).reshape(shape_);
  }

 private:
  static constexpr std::int64_t guard = 35;  // more than two vectors, and not a multiple of one
  static float sentinel() { return std::bit_cast<float>(0x7fc0deadu); }

  idefics::Backend& backend_;
  idefics::Shape shape_;
  idefics::Tensor all_;
};

/// Remembers the bytes of inputs; unchanged() is true while they are the same.
class Untouched {
 public:
  explicit Untouched(std::vector<idefics::Tensor> inputs) : inputs_(std::move(inputs)) {
    for (const auto& t : inputs_) before_.emplace_back(t.raw(), t.raw() + t.bytes());
  }
  bool unchanged() const {
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      if (!std::equal(before_[i].begin(), before_[i].end(), inputs_[i].raw())) return false;
    return true;
  }

 private:
  std::vector<idefics::Tensor> inputs_;
  std::vector<std::vector<std::byte>> before_;
};

/// The code of the error that `call` throws, or "nothing".
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const idefics::Error& error) {
    return std::string(error.code_name());
  }
  return "nothing";
}

/// Calls check(result) with the result of `operation` (a function of a Backend& that returns a host
/// tensor) on every backend. All backends of fixed order must give the same bits, with every number
/// of threads; others must give the same bits in every order of work.
template <class Operation, class Check>
void on_every_backend(const Operation& operation, const Check& check) {
  std::optional<idefics::Tensor> first;
  for (const Subject& subject : subjects()) {
    INFO("backend " << subject.name);
    idefics::set_num_threads(1);
    const idefics::Tensor result = operation(*subject.backend);
    check(result);
    if (subject.fixed_order) {
      for (const int threads : {2, 3}) {
        INFO(threads << " threads");
        idefics::set_num_threads(threads);
        CHECK(different_bits(operation(*subject.backend), result) == "");
      }
      if (!first) first = result;
      CHECK(different_bits(result, *first) == "");
    }
    if (subject.disturb) {
      for (const int order : {1, 2}) {
        INFO("order " << order);
        subject.disturb(order);
        CHECK(different_bits(operation(*subject.backend), result) == "");
      }
      subject.disturb(0);
    }
    idefics::set_num_threads(0);
  }
}

/// Checks that the operation gives exactly `expected` on every backend.
template <class Operation>
void exactly(const Operation& operation, const idefics::Tensor& expected) {
  on_every_backend(operation, [&](const idefics::Tensor& result) {
    CHECK(different_bits(result, expected) == "");
  });
}

/// Checks that the operation gives the reference's result on every backend, within bound(i) at
/// element i.
template <class Operation, class Bound>
void like_the_reference(const Operation& operation, const Bound& bound) {
  const idefics::Tensor expected = operation(*subjects().front().backend);
  on_every_backend(operation, [&](const idefics::Tensor& result) {
    CHECK(beyond(result, expected, bound) == "");
  });
}

}  // namespace testing
