// A run of the decoder over some sequences: the prompts are read in chunks, then tokens are
// appended one at a time. Everything a step needs is sized when the run begins; a step allocates
// nothing. Letters: M tokens of a pass, R rows with logits, V vocabulary, A added tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <idefics/model/idefics.hpp>
#include <idefics/model/sequences.hpp>

namespace idefics::inline v0 {

/// Which tokens of a prompt get logits.
enum class LogitRows { last, all };

class TextRun {
 public:
  /// `slots[row][n]` is the place of picture n of that row in `pictures` (-1 where no token sees
  /// it). Every row can grow by `new_tokens`; prompts are read at most `chunk` tokens at a time.
  TextRun(const Idefics& model, Backend& backend, const ImageCache& pictures,
          std::vector<Sequence> sequences, const std::vector<std::vector<std::int32_t>>& slots,
          std::int64_t new_tokens, std::int64_t chunk, LogitRows logit_rows)
      : model_(model),
        backend_(backend),
        pictures_(pictures),
        logit_rows_(logit_rows),
        shape_(measure(sequences, new_tokens, chunk, logit_rows)),
        past_(backend, model.config(), shape_.cache_rows),
        rotary_(backend, shape_.longest, model.config().head_dim()),
        state_(backend, model.config(), shape_.tokens_per_pass),
        hidden_(backend.empty(DType::f32, {shape_.logit_rows, model.config().hidden_size})),
        base_(backend.empty(DType::f32, {shape_.logit_rows, model.config().vocab_size})) {
    if (model.config().additional_vocab_size > 0)
      additional_ =
          backend.empty(DType::f32, {shape_.logit_rows, model.config().additional_vocab_size});
    std::int64_t cache_row = 0;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const auto capacity = std::ssize(sequences[i].ids) + new_tokens;
      rows_.push_back(make_row(std::move(sequences[i]), slots[i], cache_row, capacity));
      cache_row += capacity;
    }
    reserve();
  }

  /// Reads the prompts. sink(row, token, base, additional) takes the logits of one token: base [V]
  /// and additional [A], valid until it returns.
  template <class Sink>
  void prefill(const Sink& sink) {
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      while (rows_[row].length < std::ssize(rows_[row].sequence.ids)) {
        const std::int64_t room = shape_.tokens_per_pass - tokens_.size();
        append(row, std::min(room, std::ssize(rows_[row].sequence.ids) - rows_[row].length));
        if (tokens_.size() == shape_.tokens_per_pass) pass(sink);
      }
    }
    if (tokens_.size() > 0) pass(sink);
  }

  /// Appends ids[i] to row active[i] and gives the logits of each to `sink`.
  template <class Sink>
  void step(std::span<const std::int32_t> active, std::span<const std::int32_t> ids,
            const Sink& sink) {
    for (std::size_t i = 0; i < active.size(); ++i) {
      const auto row = static_cast<std::size_t>(active[i]);
      rows_[row].sequence.ids.push_back(ids[i]);
      append(row, 1);
    }
    pass(sink);
  }

  std::int64_t rows() const { return std::ssize(rows_); }

 private:
  struct Row {
    Sequence sequence;
    std::vector<std::int32_t> cache_rows;  // [capacity]
    std::vector<std::vector<std::int32_t>>
        run_key_rows;         // rows of picture features that each run sees
    std::int64_t length = 0;  // tokens whose keys are in the cache
  };
  struct Sizes {
    std::int64_t cache_rows = 0, longest = 0, tokens_per_pass = 0, logit_rows = 0, segments = 0;
  };
  struct Wanted {  // a token whose logits are asked for
    std::size_t row;
    std::int64_t token;
  };

  static Sizes measure(const std::vector<Sequence>& sequences, std::int64_t new_tokens,
                       std::int64_t chunk, LogitRows logit_rows) {
    Sizes sizes;
    std::int64_t prompt = 0;
    for (const Sequence& s : sequences) {
      prompt += std::ssize(s.ids);
      sizes.longest = std::max(sizes.longest, std::ssize(s.ids) + new_tokens);
      sizes.segments += std::ssize(s.runs) + 1;
    }
    const auto rows = std::ssize(sequences);
    sizes.cache_rows = prompt + rows * new_tokens;
    sizes.tokens_per_pass = std::max(rows, std::min(prompt, std::max<std::int64_t>(chunk, 1)));
    sizes.logit_rows = logit_rows == LogitRows::all ? sizes.tokens_per_pass : rows;
    return sizes;
  }

  Row make_row(Sequence sequence, std::span<const std::int32_t> slots, std::int64_t first_cache_row,
               std::int64_t capacity) const {
    Row row{.sequence = std::move(sequence),
            .cache_rows = iota_rows(first_cache_row, capacity),
            .run_key_rows = {}};
    const std::int64_t l = pictures_.latents();
    for (const PictureRun& run : row.sequence.runs) {
      std::vector<std::int32_t> keys;
      for (const std::int32_t picture : run.pictures) {
        const auto rows = iota_rows(slots[static_cast<std::size_t>(picture)] * l, l);
        keys.insert(keys.end(), rows.begin(), rows.end());
      }
      row.run_key_rows.push_back(std::move(keys));
    }
    row.sequence.runs.back().end =
        capacity;  // new tokens see what the last token of the prompt sees
    row.sequence.ids.reserve(static_cast<std::size_t>(capacity));
    return row;
  }

  void reserve() {
    backend_.reserve_keys(shape_.longest, model_.config().head_dim());
    const auto m = static_cast<std::size_t>(shape_.tokens_per_pass);
    tokens_.ids.reserve(m), tokens_.positions.reserve(m), tokens_.cache_rows.reserve(m);
    tokens_.self_attention.reserve(rows_.size());
    tokens_.cross_attention.reserve(static_cast<std::size_t>(shape_.segments));
    wanted_.reserve(static_cast<std::size_t>(shape_.logit_rows));
    wanted_rows_.reserve(static_cast<std::size_t>(shape_.logit_rows));
  }

  /// The next `count` tokens of a row join the pass.
  void append(std::size_t index, std::int64_t count) {
    Row& row = rows_[index];
    const std::int64_t first = tokens_.size(), begin = row.length, end = begin + count;
    for (std::int64_t t = begin; t < end; ++t) {
      tokens_.ids.push_back(row.sequence.ids[static_cast<std::size_t>(t)]);
      tokens_.positions.push_back(static_cast<std::int32_t>(t));
      tokens_.cache_rows.push_back(row.cache_rows[static_cast<std::size_t>(t)]);
      if (logit_rows_ == LogitRows::all || t + 1 == std::ssize(row.sequence.ids)) {
        wanted_.push_back({index, t});
        wanted_rows_.push_back(static_cast<std::int32_t>(first + t - begin));
      }
    }
    tokens_.self_attention.push_back(
        {.query_begin = first,
         .query_end = first + count,
         .key_rows = std::span(row.cache_rows).first(static_cast<std::size_t>(end)),
         .causal = true});
    for (std::size_t i = 0; i < row.sequence.runs.size(); ++i) {
      const PictureRun& run = row.sequence.runs[i];
      const std::int64_t from = std::max(begin, run.begin), to = std::min(end, run.end);
      if (from < to)
        tokens_.cross_attention.push_back({.query_begin = first + from - begin,
                                           .query_end = first + to - begin,
                                           .key_rows = row.run_key_rows[i]});
    }
    row.length = end;
  }

  template <class Sink>
  void pass(const Sink& sink) {
    const TextState state = state_.first(tokens_.size());
    model_.forward(backend_, state, tokens_, past_, pictures_, rotary_);
    const auto r = std::ssize(wanted_rows_);
    if (r > 0) {
      const Tensor hidden = hidden_.slice(0, r), base = base_.slice(0, r);
      const Tensor additional = additional_ ? additional_.slice(0, r) : Tensor();
      backend_.gather_rows(hidden, state.normed, wanted_rows_);
      model_.logits(backend_, base, additional, hidden);
      deliver(sink, backend_.download(base), additional ? backend_.download(additional) : Tensor());
    }
    tokens_.clear(), wanted_.clear(), wanted_rows_.clear();
  }

  template <class Sink>
  void deliver(const Sink& sink, const Tensor& base, const Tensor& additional) const {
    const auto v = static_cast<std::size_t>(model_.config().vocab_size);
    const auto a = static_cast<std::size_t>(model_.config().additional_vocab_size);
    const auto all = base.as<float>();
    const auto added = additional ? additional.as<float>() : std::span<const float>();
    for (std::size_t i = 0; i < wanted_.size(); ++i)
      sink(wanted_[i].row, wanted_[i].token, all.subspan(i * v, v), added.subspan(i * a, a));
  }

  const Idefics& model_;
  Backend& backend_;
  const ImageCache& pictures_;
  LogitRows logit_rows_;
  Sizes shape_;
  KvCache past_;
  RotaryTable rotary_;
  TextState state_;
  Tensor hidden_;      // [R,D]
  Tensor base_;        // [R,V]
  Tensor additional_;  // [R,A] or empty
  std::vector<Row> rows_;
  TokenBatch tokens_;
  std::vector<Wanted> wanted_;
  std::vector<std::int32_t> wanted_rows_;
};

}  // namespace idefics::inline v0
