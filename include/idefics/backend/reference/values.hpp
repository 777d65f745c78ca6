// How the reference reads and writes tensors: one row at a time, as a vector of doubles.
#pragma once

#include <Eigen/Core>

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 { namespace reference {

/// Element i of a float tensor of any dtype and alignment.
inline double value(const Tensor& t, std::int64_t i) {
  return static_cast<double>(detail::element_as_f32(t, i));
}

/// What is left of a value that is stored in bf16: 8 bits of precision, ties to even.
inline double round_to_bf16(double x) {
  return static_cast<double>(to_f32(to_bf16(static_cast<float>(x))));
}

/// Elements [begin, begin + width) of a tensor. A vector of its own, so that the order of a sum
/// over it depends on its length alone.
inline Eigen::VectorXd read(const Tensor& t, std::int64_t begin, std::int64_t width) {
  return Eigen::VectorXd::NullaryExpr(
      width, [&](Eigen::Index i) { return value(t, begin + static_cast<std::int64_t>(i)); });
}

/// Rounds once, from double to f32.
inline void write(Tensor& t, std::int64_t begin, const Eigen::VectorXd& values) {
  auto out = t.as_mutable<float>().subspan(static_cast<std::size_t>(begin));
  for (Eigen::Index i = 0; i < values.size(); ++i)
    out[static_cast<std::size_t>(i)] = static_cast<float>(values[i]);
}

/// Fails unless 0 <= index < limit: ids, positions and row numbers that a caller passes.
inline void require_index(std::int64_t index, std::int64_t limit, ErrorCode code,
                          const char* what) {
  if (index < 0 || index >= limit)
    fail(code, std::string(what) + " " + std::to_string(index) + " is outside [0, " +
                   std::to_string(limit) + ")");
}

}}}  // namespace idefics::v0::reference
