// How attention is divided among threads: blocks of queries of one head or, for a segment with one
// query, several heads, which are neighbours in each row of keys and values.
//
// Letters: H heads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include <idefics/backend/cpu/kernel_table.hpp>
#include <idefics/core/threads.hpp>

namespace idefics { inline namespace v0 { namespace detail::cpu {

struct AttentionTask {
  const AttentionSegment* segment;
  std::int64_t head, head_end, query, query_end;
};

class AttentionTasks {
 public:
  AttentionTasks(std::span<const AttentionSegment> segments, std::int64_t heads)
      : segments_(segments), heads_(heads) {
    const auto single = std::ranges::count(segments, 1, queries_of);
    some_heads_ = std::clamp<std::int64_t>(ceil_div(single * heads, num_threads()), 1,
                                           std::min(heads, attention_queries));
    for (const AttentionSegment& s : segments) count_ += tasks_of(s);
  }

  std::int64_t count() const { return count_; }

  /// Neighbouring tasks share a head, whose keys and values then stay in cache.
  AttentionTask operator[](std::int64_t i) const {
    const AttentionSegment* s = segments_.data();
    for (; i >= tasks_of(*s); ++s) i -= tasks_of(*s);
    if (queries_of(*s) == 1)
      return {s, i * some_heads_, std::min((i + 1) * some_heads_, heads_), s->query_begin,
              s->query_end};
    const std::int64_t blocks = blocks_of(*s);
    const std::int64_t queries = round_up(ceil_div(queries_of(*s), blocks), 4);
    const std::int64_t query = s->query_begin + i % blocks * queries;
    return {s, i / blocks, i / blocks + 1, query, std::min(query + queries, s->query_end)};
  }

 private:
  static std::int64_t queries_of(const AttentionSegment& s) { return s.query_end - s.query_begin; }
  static std::int64_t blocks_of(const AttentionSegment& s) {
    return ceil_div(queries_of(s), attention_queries);
  }
  std::int64_t tasks_of(const AttentionSegment& s) const {
    return queries_of(s) == 1 ? ceil_div(heads_, some_heads_) : heads_ * blocks_of(s);
  }

  std::span<const AttentionSegment> segments_;
  std::int64_t heads_, some_heads_ = 1, count_ = 0;
};

}}}  // namespace idefics::v0::detail::cpu
