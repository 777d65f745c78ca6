// Access to tensors for the reference: one row at a time, as a vector of doubles.
#pragma once

#include <Eigen/Core>

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 { namespace reference {

/// Element i of a float tensor of any dtype and alignment.
inline double value(const Tensor& t, std::int64_t i) {
  return static_cast<double>(detail::element_as_f32(t, i));
}

/// The value rounded to bf16: 8 bits of precision, ties to even.
inline double round_to_bf16(double x) {
  return static_cast<double>(to_f32(to_bf16(static_cast<float>(x))));
}

/// A copy of elements [begin, begin + width) of a tensor: the order of a sum over a separate vector
/// depends only on its length.
inline Eigen::VectorXd read(const Tensor& t, std::int64_t begin, std::int64_t width) {
  return Eigen::VectorXd::NullaryExpr(
      width, [&](Eigen::Index i) { return value(t, begin + static_cast<std::int64_t>(i)); });
}

/// Stores `values` from element `begin` on, each rounded once, from double to f32; for bf16, a second
/// time.
inline void write(Tensor& t, std::int64_t begin, const Eigen::VectorXd& values) {
  if (t.dtype() == DType::bf16) {
    auto out = t.as_mutable<bf16_t>().subspan(static_cast<std::size_t>(begin));
    for (Eigen::Index i = 0; i < values.size(); ++i)
      out[static_cast<std::size_t>(i)] = to_bf16(static_cast<float>(values[i]));
    return;
  }
  auto out = t.as_mutable<float>().subspan(static_cast<std::size_t>(begin));
  for (Eigen::Index i = 0; i < values.size(); ++i)
    out[static_cast<std::size_t>(i)] = static_cast<float>(values[i]);
}

/// Fails unless 0 <= index < limit. For ids, positions and row numbers passed by a caller.
inline void require_index(std::int64_t index, std::int64_t limit, ErrorCode code,
                          const char* what) {
  if (index < 0 || index >= limit)
    fail(code, std::string(what) + " " + std::to_string(index) + " is outside [0, " +
                   std::to_string(limit) + ")");
}

}}}  // namespace idefics::v0::reference
