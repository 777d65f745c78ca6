// Which rows of the key-value pool each sequence of a run reads. Beams that share a past name the
// same rows; reordering beams copies row numbers, never keys or values. Letters: B prompts, n
// copies of each (beams), R = B n sequences, P tokens of a prompt, L new tokens at most.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <idefics/nn/attention.hpp>

namespace idefics::inline v0 {

/// Sequence r = b n + i is copy i of prompt b. The pool holds the rows of all prompts, then L rows
/// for each sequence: new token t of sequence r goes into row t of r's own L rows, whoever its
/// parent was. A row is written once, so whatever a table names stays valid.
class CacheTable {
 public:
  CacheTable(std::span<const std::int64_t> prompt_lengths, std::int64_t copies,
             std::int64_t new_tokens) {
    for (const std::int64_t p : prompt_lengths) {
      Row row;
      row.prompt = p;
      row.table = iota_rows(pool_rows_, p);
      row.table.resize(static_cast<std::size_t>(p + new_tokens));
      row.next = row.table;
      rows_.insert(rows_.end(), static_cast<std::size_t>(copies), row);
      pool_rows_ += p;
    }
    for (Row& row : rows_) row.own = std::exchange(pool_rows_, pool_rows_ + new_tokens);
  }

  std::int64_t size() const { return std::ssize(rows_); }
  std::int64_t pool_rows() const { return pool_rows_; }

  /// Tokens of a sequence whose keys and values are in the pool.
  std::int64_t length(std::size_t row) const { return rows_[row].length; }

  /// The pool row of the next token, which the sequence names from now on.
  std::int32_t append(std::size_t index) {
    Row& row = rows_[index];
    std::int32_t& place = row.table[static_cast<std::size_t>(row.length)];
    if (row.length >= row.prompt)
      place = static_cast<std::int32_t>(row.own + row.length - row.prompt);
    ++row.length;
    return place;
  }

  /// The rows of all tokens of a sequence, in order; valid until it is reordered.
  std::span<const std::int32_t> rows(std::size_t row) const {
    return std::span(rows_[row].table).first(static_cast<std::size_t>(rows_[row].length));
  }

  /// Sequence rows[i] continues the past of sequence parents[i], a copy of the same prompt.
  void reorder(std::span<const std::int32_t> rows, std::span<const std::int32_t> parents) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Row& parent = rows_[static_cast<std::size_t>(parents[i])];
      Row& row = rows_[static_cast<std::size_t>(rows[i])];
      if (parent.length > row.prompt)
        std::copy(parent.table.begin() + row.prompt, parent.table.begin() + parent.length,
                  row.next.begin() + row.prompt);
      row.next_length = parent.length;
    }
    for (const std::int32_t index : rows) {
      Row& row = rows_[static_cast<std::size_t>(index)];
      row.table.swap(row.next);
      row.length = row.next_length;
    }
  }

  /// Forgets all tokens from `length` on. Only for sequences that share no past.
  void truncate(std::size_t row, std::int64_t length) { rows_[row].length = length; }

 private:
  struct Row {
    std::int64_t prompt = 0;                // P
    std::vector<std::int32_t> table, next;  // [P + L], the second being prepared by reorder
    std::int64_t own = 0;                   // first of the L pool rows that this sequence writes
    std::int64_t length = 0, next_length = 0;
  };
  std::vector<Row> rows_;  // [R]
  std::int64_t pool_rows_ = 0;
};

}  // namespace idefics::inline v0
