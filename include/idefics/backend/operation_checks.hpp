// Checks of operands. Those of shapes are made once, before an operation reaches a backend; backends
// check the indices that they use.
//
// Letters: M rows, D width.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <idefics/backend/operands.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class OperationChecks {
 protected:
  static void check_indices(std::span<const std::int32_t> indices, std::int64_t limit,
                            const char* what, ErrorCode code = ErrorCode::invalid_argument) {
    for (const std::int32_t i : indices)
      if (i < 0 || i >= limit)
        fail(code, std::string(what) + " " + std::to_string(i) + " is out of range",
             {.limit = static_cast<std::uint64_t>(limit)});
  }

  static void check_segment(const AttentionSegment& s, std::int64_t queries, std::int64_t keys) {
    require(s.query_begin >= 0 && s.query_begin <= s.query_end && s.query_end <= queries,
            "the queries of an attention segment are out of range");
    check_indices(s.key_rows, keys, "attention key row");
  }

  static void check(bool good, const char* op, const char* what, const Tensor& a, const Tensor& b) {
    if (!good)
      fail(ErrorCode::shape_mismatch, std::string("[") + op + "] " + what + ": " +
                                          a.shape().to_string() + " and " + b.shape().to_string() +
                                          " do not match");
  }
  static void check_dtypes(bool good, const char* op, const Tensor& a, const Tensor& b) {
    if (!good)
      fail(ErrorCode::dtype_mismatch, std::string("[") + op + "] " +
                                          std::string(name_of(a.dtype())) + " and " +
                                          std::string(name_of(b.dtype())) + " do not match");
  }
  static std::int64_t rows_of(const Tensor& t, std::int64_t width) {
    if (width <= 0 || t.count() % width != 0)
      fail(ErrorCode::shape_mismatch, "a tensor of shape " + t.shape().to_string() +
                                          " cannot be split into rows of width " +
                                          std::to_string(width));
    return t.count() / width;
  }
  /// The operands of a product.
  static void check_linear(const char* op, const Tensor& out, const Tensor& x,
                           const LinearWeight& weight, const Tensor& bias) {
    const auto n = weight.rows(), k = weight.cols();
    check(rows_of(x, k) == rows_of(out, n), op, "rows of x and out", x, out);
    check(!bias || bias.count() == n, op, "bias", bias, out);
  }
  static void check_linear(const char* op, const LinearTask& task, const NormedInput& x) {
    check_linear(op, task.out, x.x, *task.weight, task.bias);
    check(x.weight.count() == task.weight->cols(), op, "weight of the norm", x.weight, x.x);
    check(x.scratch.count() == x.x.count(), op, "x and scratch", x.x, x.scratch);
  }
  /// Rows of the width of the last dimension.
  static std::int64_t last_rows_of(const Tensor& t, const char* op) {
    check(t.shape().rank() > 0, op, "x has no dimension", t, t);
    return rows_of(t, t.dim(-1));
  }
};

}}}  // namespace idefics::v0::detail
