// Sums and products of elements, and copies of rows.
//
//   add            out = x + y, y repeated over the rows of x
//   multiply       out = x * y, y repeated over the rows of x
//   scale          out = x * factor
//   gated_add      x += tanh(alpha) * y                   IdeficsGatedCrossAttentionLayer
//   scatter_rows   out[rows[i]] = x[i]
//   gather_rows    out[i] = x[rows[i]]
//
// Letters: M rows, D width, R selected rows, Q rows that scatter_rows writes to.
#pragma once

#include <cmath>

#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

inline void add(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/, const Tensor& y /*[M,D] or [D]*/) {
  auto result = out.as_mutable<float>();
  for (std::int64_t i = 0; i < x.count(); ++i)
    result[static_cast<std::size_t>(i)] = static_cast<float>(value(x, i) + value(y, i % y.count()));
}

inline void multiply(Tensor out /*[M,D]*/, const Tensor& x /*[M,D]*/,
                     const Tensor& y /*[M,D] or [D]*/) {
  auto result = out.as_mutable<float>();
  for (std::int64_t i = 0; i < x.count(); ++i)
    result[static_cast<std::size_t>(i)] = static_cast<float>(value(x, i) * value(y, i % y.count()));
}

inline void scale(Tensor out, const Tensor& x, float factor) {
  auto result = out.as_mutable<float>();
  for (std::int64_t i = 0; i < x.count(); ++i)
    result[static_cast<std::size_t>(i)] =
        static_cast<float>(value(x, i) * static_cast<double>(factor));
}

inline void gated_add(Tensor x /*[M,D]*/, const Tensor& y /*[M,D]*/,
                      const Tensor& alpha /*[1] or [D]*/) {
  auto result = x.as_mutable<float>();
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const double gate = std::tanh(value(alpha, i % alpha.count()));
    result[static_cast<std::size_t>(i)] = static_cast<float>(value(x, i) + gate * value(y, i));
  }
}

inline void scatter_rows(Tensor out /*[Q,D]*/, std::span<const std::int32_t> rows /*[M]*/,
                         const Tensor& x /*[M,D]*/) {
  const std::int64_t width = rows.empty() ? 0 : x.count() / x.dim(0);
  std::int64_t m = 0;
  for (const std::int64_t row : rows) {
    require_index(row, out.dim(0), ErrorCode::invalid_argument, "row");
    write(out, row * width, read(x, m++ * width, width));
  }
}

inline void gather_rows(Tensor out /*[R,D]*/, const Tensor& x /*[M,D]*/,
                        std::span<const std::int32_t> rows /*[R]*/) {
  const std::int64_t width = rows.empty() ? 0 : out.count() / out.dim(0);
  std::int64_t m = 0;
  for (const std::int64_t row : rows) {
    require_index(row, x.dim(0), ErrorCode::invalid_argument, "row");
    write(out, m++ * width, read(x, row * width, width));
  }
}

}}}  // namespace idefics::v0::reference
