// One forward pass for several runs: their tokens in a row, keys and values in one pool, and the
// logits handed back to each. A pass reads the weights once, however many runs share it.
// Letters: M rows, V vocabulary, A added tokens, R selected rows.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <idefics/core/available_memory.hpp>
#include <idefics/generation/run/pass_buffers.hpp>
#include <idefics/generation/run/run_sizes.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// What one run contributes to a pass, and what it gets.
class PassShare {
 public:
  /// A run of these sizes, of at most `sequences` sequences at once.
  PassShare(const Config& config, const RunSizes& sizes, std::int64_t sequences)
      : longest_(sizes.longest),
        base_(Tensor::empty(DType::f32, {sizes.logit_rows, config.vocab_size})) {
    if (config.additional_vocab_size > 0)
      additional_ = Tensor::empty(DType::f32, {sizes.logit_rows, config.additional_vocab_size});
    const auto m = static_cast<std::size_t>(sizes.tokens_per_pass);
    tokens_.ids.reserve(m), tokens_.positions.reserve(m), tokens_.cache_rows.reserve(m);
    tokens_.self_attention.reserve(static_cast<std::size_t>(sequences));
    tokens_.cross_attention.reserve(static_cast<std::size_t>(sizes.segments));
    keys_.reserve(static_cast<std::size_t>(sequences * sizes.longest));
  }

  /// Sets the tokens, whose cache row r is row rows[r] of the pool. `logit_rows` must outlive the
  /// pass.
  void set(const TokenBatch& tokens, std::span<const std::int32_t> logit_rows,
           std::span<const std::int32_t> rows) {
    const auto mapped = [rows](std::int32_t r) { return rows[static_cast<std::size_t>(r)]; };
    tokens_.ids = tokens.ids;
    tokens_.positions = tokens.positions;
    tokens_.cache_rows.resize(tokens.cache_rows.size());
    std::ranges::transform(tokens.cache_rows, tokens_.cache_rows.begin(), mapped);
    keys_.clear();
    for (const AttentionSegment& segment : tokens.self_attention)
      std::ranges::transform(segment.key_rows, std::back_inserter(keys_), mapped);
    tokens_.self_attention = tokens.self_attention;
    std::span<const std::int32_t> keys = keys_;
    for (AttentionSegment& segment : tokens_.self_attention) {
      const std::size_t count = segment.key_rows.size();
      segment.key_rows = keys.first(count);
      keys = keys.subspan(count);
    }
    tokens_.cross_attention = tokens.cross_attention;
    logit_rows_ = logit_rows;
  }

  std::int64_t size() const { return tokens_.size(); }

  /// After the pass: the logits of token logit_rows[i].
  std::span<const float> base(std::size_t i) const /*[V]*/ {
    return row_of(base_, i, base_.dim(1));
  }
  std::span<const float> additional(std::size_t i) const /*[A]*/ {
    return additional_ ? row_of(additional_, i, additional_.dim(1)) : std::span<const float>();
  }

 private:
  friend class BatchPass;

  std::int64_t longest_;
  TokenBatch tokens_;               // with rows of the pool
  std::vector<std::int32_t> keys_;  // that the segments of tokens_ refer to
  std::span<const std::int32_t> logit_rows_;
  Tensor base_, additional_;  // [R,V], [R,A]
};

/// The pool of keys and values, and the buffers of the passes over it.
class BatchPass {
 public:
  /// Throws `out_of_memory`.
  BatchPass(const Idefics& model, Backend& backend, std::int64_t rows)
      : model_(model), backend_(backend), pool_(make_pool(model.config(), backend, rows)) {}

  /// Computes the tokens of all `shares`.
  void operator()(std::span<PassShare* const> shares, const ImageCache& pictures) {
    merge(shares);
    make_space(shares);
    const Tensor states =
        buffers_->forward(tokens_, pool_, pictures, {}, [](std::size_t, const Tensor&) {});
    if (logit_rows_.empty()) return;
    buffers_->read_head(logits_, states, logit_rows_);
    hand_out(shares);
  }

 private:
  static KvCache make_pool(const Config& c, Backend& backend, std::int64_t rows) {
    const auto number = [](std::int64_t n) { return Checked(static_cast<std::uint64_t>(n)); };
    require_memory(number(rows) * number(2 * c.num_hidden_layers) * number(c.hidden_size) *
                       size_of(c.kv_cache_dtype),
                   "keys and values of " + std::to_string(rows) + " tokens", "shared_cache_tokens");
    return {backend, c, rows};
  }

  /// Collects the tokens, with queries counted from the first token of the pass.
  void merge(std::span<PassShare* const> shares) {
    tokens_.clear();
    logit_rows_.clear();
    for (const PassShare* share : shares) {
      const TokenBatch& own = share->tokens_;
      const std::int64_t first = tokens_.size();
      const auto append = [](auto& all, const auto& more) {
        all.insert(all.end(), more.begin(), more.end());
      };
      const auto append_segments = [first](auto& all, const auto& more) {
        for (AttentionSegment segment : more) {
          segment.query_begin += first, segment.query_end += first;
          all.push_back(segment);
        }
      };
      append(tokens_.ids, own.ids);
      append(tokens_.positions, own.positions);
      append(tokens_.cache_rows, own.cache_rows);
      append_segments(tokens_.self_attention, own.self_attention);
      append_segments(tokens_.cross_attention, own.cross_attention);
      for (const std::int32_t row : share->logit_rows_)
        logit_rows_.push_back(static_cast<std::int32_t>(first) + row);
    }
  }

  /// Makes the buffers large enough; each size grows by doubling, so that this ends.
  void make_space(std::span<PassShare* const> shares) {
    PassSizes sizes = buffers_ ? buffers_->sizes() : PassSizes{};
    bool grown = !buffers_;
    const auto grow = [&grown](std::int64_t& size, std::int64_t needed) {
      if (needed <= size) return;
      size = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(needed)));
      grown = true;
    };
    for (const PassShare* share : shares) grow(sizes.positions, share->longest_);
    grow(sizes.tokens, tokens_.size());
    grow(sizes.logit_rows, std::max<std::int64_t>(1, std::ssize(logit_rows_)));
    if (!grown) return;
    buffers_.reset(), logits_ = {};
    backend_.reserve_keys(sizes.positions, model_.config().head_dim());
    backend_.expect_rows(sizes.tokens);
    buffers_.emplace(model_, backend_, sizes);
    logits_ = buffers_->make_logits();
  }

  void hand_out(std::span<PassShare* const> shares) const {
    std::size_t row = 0;
    const auto copy_row = [&row](const Tensor& from, Tensor& to, std::size_t i) {
      if (!from) return;
      const auto width = static_cast<std::size_t>(from.dim(1));
      std::ranges::copy(from.as<float>().subspan(row * width, width),
                        to.as_mutable<float>().subspan(i * width).begin());
    };
    for (PassShare* share : shares)
      for (std::size_t i = 0; i < share->logit_rows_.size(); ++i, ++row) {
        copy_row(logits_.host_base, share->base_, i);
        copy_row(logits_.host_additional, share->additional_, i);
      }
  }

  const Idefics& model_;
  Backend& backend_;
  KvCache pool_;
  TokenBatch tokens_;
  std::vector<std::int32_t> logit_rows_;
  std::optional<PassBuffers> buffers_;
  PassLogits logits_;
};

}}}  // namespace idefics::v0::detail
