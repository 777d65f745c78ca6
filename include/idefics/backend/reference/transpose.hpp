// Copies of tensors of any dtype in another order: no arithmetic, elements keep their bytes.
//
//   transpose   out[o,j,m,i,e] = x[o,i,m,j,e]: two dimensions swapped, the others merged into three
//   concat      a run of out is the runs of all parts in turn
#pragma once

#include <cstring>
#include <span>

#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 { namespace reference {

/// Copies `count` elements from element `from` of x to element `to` of `out`.
inline void copy(Tensor& out, std::int64_t to, const Tensor& x, std::int64_t from,
                 std::int64_t count) {
  const auto size = static_cast<std::int64_t>(size_of(x.dtype()));
  std::memcpy(out.raw_mutable() + to * size, x.raw() + from * size,
              static_cast<std::size_t>(count * size));
}

inline void transpose(Tensor out /*[outer,b,middle,a,inner]*/,
                      const Tensor& x /*[outer,a,middle,b,inner]*/) {
  const std::int64_t a = x.dim(1), middle = x.dim(2), b = x.dim(3), inner = x.dim(4);
  std::int64_t from = 0;
  for (std::int64_t o = 0; o < x.dim(0); ++o)
    for (std::int64_t i = 0; i < a; ++i)
      for (std::int64_t m = 0; m < middle; ++m)
        for (std::int64_t j = 0; j < b; ++j, from += inner)
          copy(out, (((o * b + j) * middle + m) * a + i) * inner, x, from, inner);
}

inline void concat(Tensor out, std::span<const Tensor> parts, std::int64_t rows) {
  std::int64_t to = 0;
  for (std::int64_t row = 0; row < rows; ++row)
    for (const Tensor& part : parts) {
      const std::int64_t run = part.count() / rows;
      if (run > 0) copy(out, to, part, row * run, run);
      to += run;
    }
}

}}}  // namespace idefics::v0::reference
