// Attention: softmax(q k^T * scale) v per head, as in IdeficsAttention, IdeficsVisionAttention and
// IdeficsPerceiverAttention.
//
//   score[j]  = scale * sum_e q[e] k[j,e]            over the keys that the query sees
//   p[j]      = exp(score[j] - max) / sum_j exp(score[j] - max)
//   out[e]    = sum_j p[j] v[j,e]                    zero for a query that sees no key
//
// Letters: M rows, H heads, E head width, J keys, R selected rows.
#pragma once

#include <algorithm>
#include <vector>

#include <idefics/backend/backend.hpp>
#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

/// The number of keys of a segment that `query` sees: all of them, or if `causal` those up to its
/// own position. Positions count from the end: the last query sees all keys.
inline std::int64_t visible_keys(const AttentionSegment& segment, std::int64_t query) {
  const auto keys = static_cast<std::int64_t>(segment.key_rows.size());
  if (!segment.causal) return keys;
  const std::int64_t later_queries = segment.query_end - 1 - query;
  return std::max<std::int64_t>(0, keys - later_queries);
}

inline void require_segment(const AttentionSegment& segment, std::int64_t queries,
                            std::int64_t keys) {
  require(segment.query_begin >= 0 && segment.query_begin <= segment.query_end &&
              segment.query_end <= queries,
          "the queries of an attention segment are out of range");
  for (const std::int32_t row : segment.key_rows)
    require_index(row, keys, ErrorCode::invalid_argument, "key row");
}

/// p of one query and one head. `row_begin(r)` is the offset of that head of row r in k.
template <class RowBegin>
Eigen::VectorXd weights_of(const Eigen::VectorXd& q /*[E]*/, const Tensor& k,
                           std::span<const std::int32_t> rows, const RowBegin& row_begin,
                           double scale) {
  Eigen::VectorXd score(static_cast<Eigen::Index>(rows.size()));
  if (rows.empty()) return score;
  for (Eigen::Index j = 0; j < score.size(); ++j)
    score[j] = scale * q.dot(read(k, row_begin(rows[static_cast<std::size_t>(j)]), q.size()));
  const Eigen::VectorXd weight = (score.array() - score.maxCoeff()).exp();
  return weight / weight.sum();
}

/// `out` of one query and one head. `row_begin(r)` is the offset of that head of row r in k and v.
template <class RowBegin>
Eigen::VectorXd attend(const Eigen::VectorXd& q /*[E]*/, const Tensor& k, const Tensor& v,
                       std::span<const std::int32_t> rows, const RowBegin& row_begin,
                       double scale) {
  const Eigen::VectorXd weight = weights_of(q, k, rows, row_begin, scale);
  Eigen::VectorXd mixed = Eigen::VectorXd::Zero(q.size());
  for (Eigen::Index j = 0; j < weight.size(); ++j)
    mixed += weight[j] * read(v, row_begin(rows[static_cast<std::size_t>(j)]), q.size());
  return mixed;
}

inline void attention(Tensor out /*[M,H,E]*/, const Tensor& q /*[M,H,E]*/,
                      const Tensor& k /*[J,H,E]*/, const Tensor& v /*[J,H,E]*/,
                      std::span<const AttentionSegment> segments, float scale) {
  const std::int64_t heads = q.dim(1), width = q.dim(2);
  for (const AttentionSegment& segment : segments) {
    require_segment(segment, q.dim(0), k.dim(0));
    for (std::int64_t m = segment.query_begin; m < segment.query_end; ++m) {
      const auto seen = segment.key_rows.first(static_cast<std::size_t>(visible_keys(segment, m)));
      for (std::int64_t h = 0; h < heads; ++h) {
        auto head_of_row = [&](std::int64_t row) { return (row * heads + h) * width; };
        const Eigen::VectorXd query = read(q, head_of_row(m), width);
        write(out, head_of_row(m),
              attend(query, k, v, seen, head_of_row, static_cast<double>(scale)));
      }
    }
  }
}

inline void attention_weights(Tensor out /*[R,H,J]*/, const Tensor& q /*[M,H,E]*/,
                              const Tensor& k /*[J,H,E]*/,
                              std::span<const AttentionSegment> segments,
                              std::span<const std::int32_t> queries /*[R]*/, float scale) {
  const std::int64_t heads = q.dim(1), width = q.dim(2), columns = out.dim(2);
  for (const AttentionSegment& segment : segments) require_segment(segment, q.dim(0), k.dim(0));
  for (std::size_t r = 0; r < queries.size(); ++r) {
    const AttentionSegment& segment = detail::segment_of(segments, queries[r]);
    const auto seen =
        segment.key_rows.first(static_cast<std::size_t>(visible_keys(segment, queries[r])));
    for (std::int64_t h = 0; h < heads; ++h) {
      auto head_of_row = [&](std::int64_t row) { return (row * heads + h) * width; };
      Eigen::VectorXd weight = Eigen::VectorXd::Zero(columns);
      weight.head(static_cast<Eigen::Index>(seen.size())) =
          weights_of(read(q, head_of_row(queries[r]), width), k, seen, head_of_row,
                     static_cast<double>(scale));
      write(out, (static_cast<std::int64_t>(r) * heads + h) * columns, weight);
    }
  }
}

}}}  // namespace idefics::v0::reference
