// A run of the decoder over some sequences: the prompts are read in chunks, then tokens are
// appended. Sequences can branch from each other (beams), be reordered, and drop their last tokens.
// Everything that a step needs is sized when the run begins, so that a step does not allocate.
// Letters: B sequences (the prompts), M rows, D width, V vocabulary, A added tokens, R selected
// rows, n copies of each prompt.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <idefics/core/progress.hpp>
#include <idefics/generation/run/attention_records.hpp>
#include <idefics/generation/run/continuous_batch.hpp>
#include <idefics/generation/run/pass_buffers.hpp>
#include <idefics/generation/run/run_sizes.hpp>
#include <idefics/generation/run/step_guard.hpp>
#include <idefics/model/idefics.hpp>
#include <idefics/model/sequences.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class TextRun {
 public:
  /// `slots[b][i]` is the slot in `pictures` of picture i of prompt b (-1 if no token sees it).
  /// Every sequence can grow by `new_tokens`; prompts are read at most `chunk` tokens at a time.
  /// Sequence b n + i is copy i of prompt b; `prefill` reads only copy 0, and the others begin with
  /// a `reorder`. Throws `out_of_memory`.
  TextRun(const Idefics& model, Backend& backend, const ImageCache& pictures,
          std::vector<Sequence> sequences, const std::vector<std::vector<std::int32_t>>& slots,
          std::int64_t new_tokens, std::int64_t chunk, LogitRows logit_rows,
          TextRunOptions options = {})
      : model_(model),
        backend_(backend),
        pictures_(pictures),
        logit_rows_(logit_rows),
        options_(std::move(options)),
        shape_(RunSizes::of(sequences, new_tokens, chunk, logit_rows, options_)),
        table_(make_table(new_tokens)) {
    if (options_.batch != nullptr)
      seat_ = std::make_unique<Seat>(*options_.batch, table_.pool_rows(), table_.size(),
                                     PassShare(model.config(), shape_, table_.size()));
    else
      make_buffers(sequences, slots, new_tokens);
    for (std::size_t i = 0; i < sequences.size(); ++i)
      prompts_.push_back(make_prompt(std::move(sequences[i]), slots[i], new_tokens));
    reserve();
  }

  /// Sets the callback that receives the progress of `prefill`.
  void report_to(ProgressCallback progress) { progress_ = std::move(progress); }

  /// Before `prefill`: the number of tokens that it will read, without those in the caller's past.
  std::int64_t unread() const {
    return std::accumulate(shape_.prompts.begin(), shape_.prompts.end(), -length(0));
  }

  /// Reads the prompts. sink(row, token, base, additional) receives the logits of one token, base
  /// [V] and additional [A], which are valid until it returns.
  template <class Sink>
  void prefill(const Sink& sink) {
    const std::int64_t total = unread();
    std::int64_t done = 0;
    for (std::size_t i = 0; i < prompts_.size(); ++i) {
      const std::span<const std::int32_t> ids = prompts_[i].sequence.ids;
      const auto row = i * static_cast<std::size_t>(options_.copies);
      for (std::int64_t begin = table_.length(row); begin < std::ssize(ids);) {
        const std::int64_t space = shape_.tokens_per_pass - tokens_.size();
        const std::int64_t count = std::min(space, std::ssize(ids) - begin);
        append(row, ids.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)),
               logit_rows_ == LogitRows::all      ? count
               : begin + count == std::ssize(ids) ? 1
                                                  : 0);
        begin += count, done += count;
        if (tokens_.size() < shape_.tokens_per_pass) continue;
        pass(sink);
        report(progress_, {"prefill", done, total});
      }
    }
    if (tokens_.size() == 0) return;
    pass(sink);
    report(progress_, {"prefill", total, total});
  }

  /// Appends ids[i] to row active[i] and passes the logits of each to `sink`.
  template <class Sink>
  void step(std::span<const std::int32_t> active, std::span<const std::int32_t> ids,
            const Sink& sink) {
    for (std::size_t i = 0; i < active.size(); ++i) {
      if (tokens_.size() == shape_.tokens_per_pass) pass(sink);
      add(active[i], ids.subspan(i, 1));
    }
    pass(sink);
  }

  /// Whether `step_greedily` may be called: a batch returns logits.
  bool chooses() const { return !seat_; }

  /// Announces how many tokens of a row `step_greedily` may have to forbid.
  void reserve_forbidden(std::size_t most) {
    forbidden_.reserve(most * static_cast<std::size_t>(shape_.logit_rows));
  }
  /// `step` where each row continues with the token of the largest logit. forbid(row, ids) adds the
  /// tokens that a row must not choose, and sink(row, choice) receives a token or, as
  /// Backend::greedy_choice, what was wrong with the logits.
  template <class Forbid, class Sink>
  void step_greedily(std::span<const std::int32_t> active, std::span<const std::int32_t> ids,
                     const Forbid& forbid, const Sink& sink) {
    for (std::size_t i = 0; i < active.size(); ++i) {
      if (tokens_.size() == shape_.tokens_per_pass) pass_greedily(forbid, sink);
      add(active[i], ids.subspan(i, 1));
    }
    pass_greedily(forbid, sink);
  }

  /// Calls TextRunOptions::ask, if it is set.
  void ask() const {
    if (options_.ask) options_.ask();
  }

  /// Adds tokens of a row to the next `pass`, which passes the logits of each to its sink.
  void add(std::int32_t row, std::span<const std::int32_t> ids) {
    append(static_cast<std::size_t>(row), ids, std::ssize(ids));
  }

  /// Runs one forward pass over the tokens added, if there are any.
  template <class Sink>
  void pass(const Sink& sink) {
    if (tokens_.size() == 0) return;
    ask();
    if (seat_)
      seat_->pass(tokens_, wanted_rows_, options_.ask);
    else
      own_pass([&](const Tensor& states) { read_logits(states); });
    for (delivered_ = 0; delivered_ < wanted_.size(); ++delivered_) {
      ask();
      const auto [row, token] = wanted_[delivered_];
      if (seat_)
        sink(row, token, seat_->logits().base(delivered_), seat_->logits().additional(delivered_));
      else
        sink(row, token, base_of(*logits_), additional_of(*logits_));
    }
    end_pass();
  }

  /// Makes row rows[i] continue the past of row parents[i], a copy of the same prompt.
  void reorder(std::span<const std::int32_t> rows, std::span<const std::int32_t> parents) {
    table_.reorder(rows, parents);
  }

  /// Drops all tokens of a row from position `length` on. Only without copies.
  void truncate(std::int32_t row, std::int64_t length) {
    table_.truncate(static_cast<std::size_t>(row), length);
    if (options_.past != nullptr) options_.past->truncate(length);
  }

  /// With TextRunOptions::attention_columns: adds the attention weights of the returned rows to
  /// `output`. Step `step` of returned row i was read by row source(i, step).
  template <class Source>
  void finish_attentions(GenerationOutput& output, const Source& source) {
    if (attentions_) attentions_->finish(output, source);
  }

  /// Number of tokens of a row that have been read.
  std::int64_t length(std::int32_t row) const {
    return table_.length(static_cast<std::size_t>(row));
  }
  std::int64_t rows() const { return table_.size(); }
  std::int64_t width() const { return model_.config().hidden_size; }  // D
  Backend& backend() const { return backend_; }

  /// Number of layers whose input the head also reads.
  std::size_t early_layers() const { return early_.size(); }

  /// Within a sink: the last hidden state of its token, after the final norm. Only with
  /// TextRunOptions::hidden.
  std::span<const float> hidden() const /*[D]*/ {
    return row_of(host_hidden_, delivered_, model_.config().hidden_size);
  }
  /// Within a sink: the logits of its token that the head computes from the input of early layer
  /// `exit`.
  std::span<const float> early_base(std::size_t exit) const /*[V]*/ {
    return base_of(early_[exit]);
  }
  std::span<const float> early_additional(std::size_t exit) const /*[A]*/ {
    return additional_of(early_[exit]);
  }

 private:
  struct Prompt {
    Sequence sequence;
    // for each of its runs, the rows of picture features that it sees
    std::vector<std::vector<std::int32_t>> run_key_rows;
  };
  struct Wanted {  // a token whose logits are passed to the sink
    std::size_t row;
    std::int64_t token;
  };

  /// The table of cache rows. Checks, before anything is allocated, that the run fits in memory.
  CacheTable make_table(std::int64_t new_tokens) const {
    const RunBytes bytes = run_bytes(model_.config(), shape_, new_tokens, options_);
    require_memory(bytes.past + bytes.pass,
                   "keys and values of " + std::to_string(new_tokens) + " new tokens",
                   options_.length_option);
    return {shape_.prompts, options_.copies, new_tokens, options_.branches};
  }

  void make_buffers(const std::vector<Sequence>& sequences,
                    const std::vector<std::vector<std::int32_t>>& slots, std::int64_t new_tokens) {
    const Config& c = model_.config();
    past_ = make_past(sequences, slots);
    buffers_.emplace(model_, backend_,
                     PassSizes{shape_.longest, shape_.tokens_per_pass, shape_.logit_rows});
    logits_ = buffers_->make_logits();
    for (std::size_t layer = 0; layer < options_.early_layers.size(); ++layer)
      early_.push_back(buffers_->make_logits());
    if (options_.attention_columns > 0)
      attentions_.emplace(backend_, c, sequences,
                          AttentionSizes{.prompt_columns = options_.attention_columns,
                                         .pictures = std::ssize(slots.front()),
                                         .features = pictures_.latents(),
                                         .copies = options_.copies,
                                         .tokens_per_step = options_.tokens_per_step,
                                         .new_tokens = new_tokens});
    backend_.reserve_keys(shape_.longest, c.head_dim());
    backend_.expect_rows(rows() * options_.tokens_per_step);
  }

  /// A new cache, or the caller's, which may already hold the beginning of the prompt.
  KvCache make_past(const std::vector<Sequence>& sequences,
                    const std::vector<std::vector<std::int32_t>>& slots) {
    if (sequences.size() != 1 || options_.copies != 1) options_.past = nullptr;
    if (options_.past == nullptr) return KvCache(backend_, model_.config(), table_.pool_rows());
    KvCache cache = options_.past->begin(backend_, model_.config(), sequences[0], slots[0],
                                         pictures_, table_.pool_rows());
    table_.truncate(0, options_.past->length());
    return cache;
  }

  Prompt make_prompt(Sequence sequence, std::span<const std::int32_t> slots,
                     std::int64_t new_tokens) const {
    Prompt prompt{.sequence = std::move(sequence), .run_key_rows = {}};
    const std::int64_t l = pictures_.latents();
    for (const PictureRun& run : prompt.sequence.runs) {
      std::vector<std::int32_t> keys;
      for (const std::int32_t picture : run.pictures) {
        const auto rows = iota_rows(slots[static_cast<std::size_t>(picture)] * l, l);
        keys.insert(keys.end(), rows.begin(), rows.end());
      }
      prompt.run_key_rows.push_back(std::move(keys));
    }
    // new tokens see what the last token of the prompt sees
    prompt.sequence.runs.back().end = std::ssize(prompt.sequence.ids) + new_tokens;
    return prompt;
  }

  void reserve() {
    const auto m = static_cast<std::size_t>(shape_.tokens_per_pass);
    tokens_.ids.reserve(m), tokens_.positions.reserve(m), tokens_.cache_rows.reserve(m);
    tokens_.self_attention.reserve(static_cast<std::size_t>(rows()));
    tokens_.watched.reserve(static_cast<std::size_t>(rows() * options_.tokens_per_step));
    tokens_.cross_attention.reserve(static_cast<std::size_t>(shape_.segments));
    wanted_.reserve(static_cast<std::size_t>(shape_.logit_rows));
    wanted_rows_.reserve(static_cast<std::size_t>(shape_.logit_rows));
    forbidden_ends_.reserve(static_cast<std::size_t>(shape_.logit_rows));
  }

  /// Adds tokens of a row to the pass; the last `wanted` of them get logits.
  void append(std::size_t row, std::span<const std::int32_t> ids, std::int64_t wanted) {
    const std::int64_t first = tokens_.size(), begin = table_.length(row);
    const std::int64_t end = begin + std::ssize(ids);
    for (std::int64_t t = begin; t < end; ++t) {
      tokens_.ids.push_back(ids[static_cast<std::size_t>(t - begin)]);
      tokens_.positions.push_back(static_cast<std::int32_t>(t));
      tokens_.cache_rows.push_back(table_.append(row));
      if (attentions_) attentions_->watch(tokens_, row, t, first + t - begin);
      if (t < end - wanted) continue;
      wanted_.push_back({row, t});
      wanted_rows_.push_back(static_cast<std::int32_t>(first + t - begin));
    }
    tokens_.self_attention.push_back({.query_begin = first,
                                      .query_end = first + std::ssize(ids),
                                      .key_rows = table_.rows(row),
                                      .causal = true});
    append_pictures(prompts_[row / static_cast<std::size_t>(options_.copies)], first, begin, end);
  }

  /// Tokens [begin, end) of a sequence are queries of the pass from `first` on. Adjacent queries
  /// that see the same pictures, such as the beams of a prompt, form one segment.
  void append_pictures(const Prompt& prompt, std::int64_t first, std::int64_t begin,
                       std::int64_t end) {
    auto& segments = tokens_.cross_attention;
    for (std::size_t i = 0; i < prompt.sequence.runs.size(); ++i) {
      const PictureRun& run = prompt.sequence.runs[i];
      const std::int64_t from = std::max(begin, run.begin), to = std::min(end, run.end);
      if (from >= to) continue;
      const std::span<const std::int32_t> keys = prompt.run_key_rows[i];
      if (!segments.empty() && segments.back().key_rows.data() == keys.data() &&
          segments.back().query_end == first + from - begin)
        segments.back().query_end = first + to - begin;
      else
        segments.push_back({.query_begin = first + from - begin,
                            .query_end = first + to - begin,
                            .key_rows = keys});
    }
  }

  template <class Forbid, class Sink>
  void pass_greedily(const Forbid& forbid, const Sink& sink) {
    ask();
    forbidden_.clear(), forbidden_ends_.clear();
    for (const Wanted& wanted : wanted_) {
      forbid(wanted.row, forbidden_);
      forbidden_ends_.push_back(static_cast<std::int32_t>(forbidden_.size()));
    }
    Tensor choices;
    own_pass([&](const Tensor& states) {
      choices = buffers_->choose(*logits_, states, wanted_rows_, {forbidden_, forbidden_ends_});
    });
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      ask();
      sink(wanted_[i].row, choices.as<std::int32_t>()[i]);
    }
    end_pass();
  }

  void end_pass() { tokens_.clear(), wanted_.clear(), wanted_rows_.clear(); }

  /// A pass with the buffers of this run; read(states) then reads what is wanted of its final states.
  template <class Read>
  void own_pass(const Read& read) {
    std::size_t exit = 0;
    const bool by_layer = backend_.stops_within_pass();
    const auto before_layer = [&](std::size_t layer, const Tensor& input) {
      if (by_layer) ask();
      if (exit < early_.size() && !wanted_rows_.empty() &&
          layer == static_cast<std::size_t>(options_.early_layers[exit]))
        buffers_->read_head(early_[exit++], input, wanted_rows_);
    };
    const Tensor states =
        buffers_->forward(tokens_, *past_, pictures_,
                          attentions_ ? attentions_->weights() : AttentionWeights{}, before_layer);
    if (attentions_) attentions_->keep();
    if (options_.past != nullptr) options_.past->append(tokens_.ids);
    if (!wanted_rows_.empty()) read(states);
  }

  void read_logits(const Tensor& states) {
    buffers_->read_head(*logits_, states, wanted_rows_);
    if (options_.hidden) host_hidden_ = buffers_->download_hidden(std::ssize(wanted_rows_));
  }

  std::span<const float> base_of(const PassLogits& logits) const {
    return row_of(logits.host_base, delivered_, model_.config().vocab_size);
  }
  std::span<const float> additional_of(const PassLogits& logits) const {
    return row_of(logits.host_additional, delivered_, model_.config().additional_vocab_size);
  }

  const Idefics& model_;
  Backend& backend_;
  const ImageCache& pictures_;
  LogitRows logit_rows_;
  TextRunOptions options_;
  RunSizes shape_;
  CacheTable table_;
  std::unique_ptr<Seat> seat_;  // in a batch, which has what follows for all of its runs
  std::optional<KvCache> past_;
  std::optional<PassBuffers> buffers_;
  std::optional<PassLogits> logits_;
  std::vector<PassLogits> early_;  // one per early layer
  Tensor host_hidden_;             // [R,D]
  std::vector<Prompt> prompts_;
  TokenBatch tokens_;
  std::vector<Wanted> wanted_;
  std::vector<std::int32_t> wanted_rows_;
  std::vector<std::int32_t> forbidden_, forbidden_ends_;  // of a greedy pass
  std::size_t delivered_ = 0;
  std::optional<AttentionRecords> attentions_;
  ProgressCallback progress_;
};

}}}  // namespace idefics::v0::detail
