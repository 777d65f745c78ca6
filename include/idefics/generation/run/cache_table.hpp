// Which rows of the key-value pool each sequence of a run reads. Beams with a common past refer to
// the same rows; reordering beams copies row numbers, never keys or values.
// Letters: B sequences (the prompts), G new tokens, n copies of each prompt (beams), p tokens of a
// prompt.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <idefics/core/checked.hpp>
#include <idefics/nn/attention.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// How far the copies of a prompt can diverge.
enum class Branches {
  many_tokens,  // each copy may have a past of its own
  one_token,    // after each token all copies continue the same one
};

/// Sequence b n + i is copy i of prompt b. The pool holds the rows of all prompts, then G rows for
/// each sequence, which writes its new token g into the g-th of them, whichever sequence it
/// continues. A row is written once, so the row numbers in a table stay valid. With one_token each
/// sequence has one row; the sequence that the others continue gives up its row, which is now part
/// of their past, and gets another: n + G - 1 rows for a prompt instead of n G.
class CacheTable {
 public:
  CacheTable(std::span<const std::int64_t> prompt_lengths, std::int64_t copies,
             std::int64_t new_tokens, Branches branches = Branches::many_tokens)
      : branches_(branches), copies_(copies) {
    const bool one_token = branches == Branches::one_token;
    for (const std::int64_t p : prompt_lengths) {
      Row row;
      row.prompt = p;
      row.table = iota_rows(pool_rows_, p);
      row.table.resize(static_cast<std::size_t>(p + new_tokens));
      row.next = row.table;
      rows_.insert(rows_.end(), static_cast<std::size_t>(copies), row);
      pool_rows_ += p;
    }
    for (Row& row : rows_)
      row.own = std::exchange(pool_rows_, pool_rows_ + (one_token ? 1 : new_tokens));
    for (std::size_t b = 0; one_token && b < prompt_lengths.size(); ++b)
      unused_.push_back(std::exchange(pool_rows_, pool_rows_ + new_tokens - 1));
  }

  /// The number of pool rows of such a table, without constructing it.
  static Checked pool_rows(std::span<const std::int64_t> prompt_lengths, std::int64_t copies,
                           std::int64_t new_tokens, Branches branches) {
    const Checked n = static_cast<std::uint64_t>(copies),
                  g = static_cast<std::uint64_t>(new_tokens);
    Checked rows;
    for (const std::int64_t p : prompt_lengths)
      rows = rows + static_cast<std::uint64_t>(p) +
             (branches == Branches::one_token ? n + g - 1 : n * g);
    return rows;
  }

  std::int64_t size() const { return std::ssize(rows_); }
  std::int64_t pool_rows() const { return pool_rows_; }

  /// Tokens of a sequence whose keys and values are in the pool.
  std::int64_t length(std::size_t row) const { return rows_[row].length; }

  /// Appends a token to a sequence and returns its pool row.
  std::int32_t append(std::size_t index) {
    Row& row = rows_[index];
    std::int32_t& entry = row.table[static_cast<std::size_t>(row.length)];
    if (row.length >= row.prompt)
      entry = static_cast<std::int32_t>(
          row.own + (branches_ == Branches::one_token ? 0 : row.length - row.prompt));
    ++row.length;
    return entry;
  }

  /// The pool rows of all tokens of a sequence, in order; valid until it is reordered.
  std::span<const std::int32_t> rows(std::size_t row) const {
    return std::span(rows_[row].table).first(static_cast<std::size_t>(rows_[row].length));
  }

  /// Makes sequence rows[i] continue the past of sequence parents[i], a copy of the same prompt.
  void reorder(std::span<const std::int32_t> rows, std::span<const std::int32_t> parents) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Row& parent = rows_[static_cast<std::size_t>(parents[i])];
      Row& row = rows_[static_cast<std::size_t>(rows[i])];
      if (parent.length > row.prompt)
        std::copy(parent.table.begin() + row.prompt, parent.table.begin() + parent.length,
                  row.next.begin() + row.prompt);
      row.next_length = parent.length;
    }
    if (branches_ == Branches::one_token)
      for (const std::int32_t parent : parents) release_row(static_cast<std::size_t>(parent));
    for (const std::int32_t index : rows) {
      Row& row = rows_[static_cast<std::size_t>(index)];
      row.table.swap(row.next);
      row.length = row.next_length;
    }
  }

  /// Drops all tokens from position `length` on. Only for sequences that share no past.
  void truncate(std::size_t row, std::int64_t length) { rows_[row].length = length; }

 private:
  struct Row {
    std::int64_t prompt = 0;                // p
    std::vector<std::int32_t> table, next;  // [p+G]; reorder prepares `next`
    std::int64_t own = 0;                   // first pool row that this sequence writes
    std::int64_t length = 0, next_length = 0;
  };
  /// The row that this sequence wrote last is now part of a past: its next token needs another one.
  void release_row(std::size_t index) {
    Row& row = rows_[index];
    if (row.length > row.prompt && row.table[static_cast<std::size_t>(row.length - 1)] == row.own)
      row.own = unused_[index / static_cast<std::size_t>(copies_)]++;
  }

  Branches branches_;
  std::int64_t copies_;               // n
  std::vector<std::int64_t> unused_;  // [B] with one_token: the first unused pool row
  std::vector<Row> rows_;             // [B*n]
  std::int64_t pool_rows_ = 0;
};

}}}  // namespace idefics::v0::detail
