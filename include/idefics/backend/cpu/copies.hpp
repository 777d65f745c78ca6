// Copies of tensors in another order, of any dtype: divided among threads by bytes of the output.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>

#include <idefics/backend/cpu/divide.hpp>
#include <idefics/core/tensor.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

/// The fewest copies of `bytes` bytes that are worth a thread.
inline std::int64_t copy_grain(std::int64_t bytes) {
  return grain(bytes / static_cast<std::int64_t>(sizeof(float)) + 1);
}

/// Copies `count` rows; place(i) returns the row numbers {target, source} of the i-th copy.
template <class Place>
void copy_rows(Tensor& out, const Tensor& x, std::size_t count, const Place& place) {
  if (out.dtype() != x.dtype())
    fail(ErrorCode::dtype_mismatch, "rows can only be copied between tensors of the same dtype");
  if (count == 0) return;
  const std::size_t bytes = out.bytes() / static_cast<std::size_t>(out.dim(0));
  std::byte* to = out.raw_mutable();
  parallel_ranges(static_cast<std::int64_t>(count), copy_grain(static_cast<std::int64_t>(bytes)),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (auto i = begin; i < end; ++i) {
                      const auto [target, source] = place(static_cast<std::size_t>(i));
                      std::memcpy(to + target * bytes, x.raw() + source * bytes, bytes);
                    }
                  });
}

/// The kernel's part of `transpose`: `unit` bytes, a size that it supports, keep their order. Each
/// task is a block of one matrix, of which x has outer * middle.
inline void transpose_matrices(const KernelTable& kernels, std::byte* out, const std::byte* x,
                               const Shape& s, std::int64_t unit) {
  const std::int64_t a = s[1], middle = s[2], b = s[3];
  constexpr std::int64_t rows = 256, columns = 64;
  const std::int64_t down = ceil_div(a, rows), across = ceil_div(b, columns);
  const std::int64_t work = std::min(a, rows) * std::min(b, columns);
  parallel_ranges(s[0] * middle * down * across, grain(work), [&](auto begin, auto end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t matrix = task / (down * across), o = matrix / middle, m = matrix % middle;
      const std::int64_t i = task / across % down * rows, j = task % across * columns;
      kernels.transpose({.out = out + (((o * b + j) * middle + m) * a + i) * unit,
                         .x = x + (((o * a + i) * middle + m) * b + j) * unit,
                         .rows = std::min(rows, a - i),
                         .columns = std::min(columns, b - j),
                         .x_stride = middle * b,
                         .out_stride = middle * a},
                        static_cast<std::size_t>(unit));
    }
  });
}

/// out [outer,b,middle,a,inner] from x [outer,a,middle,b,inner].
inline void transpose(const KernelTable& kernels, Tensor& out, const Tensor& x) {
  const Shape& s = x.shape();
  const std::int64_t a = s[1], middle = s[2], b = s[3];
  const std::int64_t unit = s[4] * static_cast<std::int64_t>(size_of(x.dtype()));
  std::byte* to = out.raw_mutable();
  if (unit <= 8 && std::has_single_bit(static_cast<std::uint64_t>(unit)))
    return transpose_matrices(kernels, to, x.raw(), s, unit);
  parallel_ranges(s[0] * b * middle, copy_grain(a * unit), [&](auto begin, auto end) {
    for (std::int64_t row = begin; row < end; ++row) {  // a * inner elements of `out`
      const std::int64_t o = row / middle / b, j = row / middle % b, m = row % middle;
      for (std::int64_t i = 0; i < a; ++i)
        std::memcpy(to + (row * a + i) * unit,
                    x.raw() + (((o * a + i) * middle + m) * b + j) * unit,
                    static_cast<std::size_t>(unit));
    }
  });
}

/// Joins runs of contiguous elements, `rows` of each part.
inline void concat(Tensor& out, std::span<const Tensor> parts, std::int64_t rows) {
  constexpr std::int64_t piece = 65536;
  const std::int64_t out_run = static_cast<std::int64_t>(out.bytes()) / rows;
  std::byte* to = out.raw_mutable();
  for (const Tensor& part : parts) {
    const std::int64_t run = static_cast<std::int64_t>(part.bytes()) / rows;
    if (run == 0) continue;
    const std::int64_t pieces = ceil_div(run, piece);
    parallel_ranges(rows * pieces, copy_grain(std::min(run, piece)), [&](auto begin, auto end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t row = i / pieces, at = i % pieces * piece;
        std::memcpy(to + row * out_run + at, part.raw() + row * run + at,
                    static_cast<std::size_t>(std::min(piece, run - at)));
      }
    });
    to += run;
  }
}

}}}  // namespace idefics::v0::detail::cpu
