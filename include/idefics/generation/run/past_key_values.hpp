// The keys and values of a conversation, kept by the caller from one generation to the next, so
// that the part of a prompt that was read before is not read again. Source: transformers'
// past_key_values. The bits of an answer do not depend on it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <idefics/model/image_cache.hpp>
#include <idefics/model/sequences.hpp>
#include <idefics/model/text_state.hpp>

namespace idefics { inline namespace v0 {

/// Belongs to one sequence and one model. Row t of the cache holds token t.
class PastKeyValues {
 public:
  /// Number of tokens whose keys and values are kept.
  std::int64_t length() const { return std::ssize(ids_); }
  /// Number of rows allocated.
  std::int64_t rows() const { return rows_; }
  void clear() { ids_.clear(), layers_.reset(), rows_ = 0; }

  /// For a run: keeps the tokens that `sequence` also begins with, at most all but its last one,
  /// whose logits are needed; allocates at least `rows` rows, and returns the cache.
  KvCache begin(Backend& backend, const Config& config, const Sequence& sequence,
                std::span<const std::int32_t> slots, const ImageCache& pictures,
                std::int64_t rows) {
    std::vector<Pictures> seen = pictures_seen(sequence, slots, pictures);
    std::size_t kept = 0;
    while (kept + 1 < sequence.ids.size() && kept < ids_.size() &&
           ids_[kept] == sequence.ids[kept] && seen_[kept] == seen[kept])
      ++kept;
    ids_.resize(kept);
    if (rows > rows_) grow(backend, config, rows);
    seen_ = std::move(seen);
    return *layers_;
  }
  /// For a run: records that these tokens have been read.
  void append(std::span<const std::int32_t> ids) {
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    if (ids_.size() > seen_.size()) seen_.resize(ids_.size(), seen_.back());
  }
  /// For a run: drops all tokens from position `length` on.
  void truncate(std::int64_t length) { ids_.resize(static_cast<std::size_t>(length)); }

 private:
  using Pictures = std::vector<std::uint64_t>;  // stamps of the pictures that a token sees

  static std::vector<Pictures> pictures_seen(const Sequence& sequence,
                                             std::span<const std::int32_t> slots,
                                             const ImageCache& cache) {
    std::vector<Pictures> seen;
    for (const PictureRun& run : sequence.runs) {
      Pictures stamps;
      for (const std::int32_t picture : run.pictures)
        stamps.push_back(cache.stamp(slots[static_cast<std::size_t>(picture)]));
      seen.resize(static_cast<std::size_t>(run.end), stamps);
    }
    return seen;
  }

  void grow(Backend& backend, const Config& config, std::int64_t rows) {
    constexpr std::int64_t step = 512;  // so that a long conversation is rarely copied
    rows_ = (rows + step - 1) / step * step;
    KvCache larger(backend, config, rows_);
    const auto moved = iota_rows(0, length());
    for (std::size_t i = 0;
         !moved.empty() && i < static_cast<std::size_t>(config.num_hidden_layers); ++i) {
      backend.scatter_rows(larger[i].k, moved, (*layers_)[i].k.slice(0, length()));
      backend.scatter_rows(larger[i].v, moved, (*layers_)[i].v.slice(0, length()));
    }
    layers_ = std::move(larger);
  }

  std::vector<std::int32_t> ids_;
  std::vector<Pictures> seen_;  // by token, for at least those of ids_
  std::optional<KvCache> layers_;
  std::int64_t rows_ = 0;
};

}}  // namespace idefics::v0
