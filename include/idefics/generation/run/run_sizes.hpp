// The sizes of a run of the decoder, and the memory that follows from them.
// Letters: B sequences (the prompts), D width, n copies of each prompt, m tokens of a pass, r rows
// with logits.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <idefics/generation/run/cache_table.hpp>
#include <idefics/generation/run/past_key_values.hpp>
#include <idefics/model/sequences.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class ContinuousBatch;

/// Which tokens of a prompt get logits.
enum class LogitRows { last, all };

struct TextRunOptions {
  std::int64_t copies = 1;  // n, the sequences that can branch from each prompt
  Branches branches = Branches::many_tokens;
  std::int64_t tokens_per_step = 1;          // most tokens that `add` appends to a row in one pass
  std::vector<std::int32_t> early_layers{};  // ascending; the head also reads their inputs
  bool hidden = false;                       // whether sinks may read the last hidden state
  std::int64_t attention_columns = 0;        // of the padded prompts, if attentions are recorded
  const char* length_option = "max_new_tokens";  // named in `out_of_memory` errors
  PastKeyValues* past = nullptr;     // for one prompt without copies: reused and extended
  std::function<void()> ask{};       // called within steps; may throw, which ends the run
  ContinuousBatch* batch = nullptr;  // whose passes the run shares; null: it has passes of its own
};

struct RunSizes {
  std::vector<std::int64_t> prompts;  // [B], tokens of each
  std::int64_t longest = 0, tokens_per_pass = 0, logit_rows = 0, segments = 0;

  /// Of a run whose sequences can grow by `new_tokens`, with prompts read `chunk` tokens at a time.
  static RunSizes of(std::span<const Sequence> sequences, std::int64_t new_tokens,
                     std::int64_t chunk, LogitRows logit_rows, const TextRunOptions& options) {
    RunSizes sizes;
    std::int64_t prompt = 0;
    for (const Sequence& s : sequences) {
      sizes.prompts.push_back(std::ssize(s.ids));
      prompt += std::ssize(s.ids);
      sizes.longest = std::max(sizes.longest, std::ssize(s.ids) + new_tokens);
      sizes.segments += std::ssize(s.runs) + options.copies;
    }
    const std::int64_t most = std::max<std::int64_t>(chunk, 1);
    auto step = std::ssize(sequences) * options.copies * options.tokens_per_step;
    if (options.tokens_per_step == 1) step = std::min(step, most);  // a step makes several passes
    sizes.tokens_per_pass = std::max(step, std::min(prompt, most));
    // a pass may end several short prompts
    const auto ends = std::min(std::ssize(sequences), sizes.tokens_per_pass);
    sizes.logit_rows = logit_rows == LogitRows::all ? sizes.tokens_per_pass : std::max(step, ends);
    return sizes;
  }
};

/// What a run allocates, without the records of attentions.
struct RunBytes {
  Checked past;  // keys, values, and what is kept for each token
  Checked pass;  // the buffers of a pass
};

inline RunBytes run_bytes(const Config& c, const RunSizes& sizes, std::int64_t new_tokens,
                          const TextRunOptions& options) {
  const auto number = [](std::int64_t n) { return Checked(static_cast<std::uint64_t>(n)); };
  const Checked longest = number(sizes.longest), copies = number(options.copies),
                d = number(c.hidden_size), m = number(sizes.tokens_per_pass),
                r = number(sizes.logit_rows), outputs = options.early_layers.size() + 1;
  Checked rows = CacheTable::pool_rows(sizes.prompts, options.copies, new_tokens, options.branches);
  if (options.past != nullptr && sizes.prompts.size() == 1 && options.copies == 1)
    rows = rows - std::min(rows, number(options.past->rows()));
  Checked table_entries;
  for (const std::int64_t p : sizes.prompts)
    table_entries = table_entries + number(p + new_tokens) * copies * 2;
  const Checked keys = rows * d * number(2 * c.num_hidden_layers) * size_of(c.kv_cache_dtype);
  const Checked state = m * (d * 6 + number(c.intermediate_size) * 2);
  const Checked logits = r * (d + outputs * number(c.total_vocab_size()));
  const Checked segments = number(sizes.segments) * (sizeof(AttentionSegment) / 4);
  if (options.batch != nullptr)  // which has keys, values and buffers for all of its runs
    return {.past = (table_entries * 2 + rows) * sizeof(std::int32_t),
            .pass = r * number(c.total_vocab_size()) * sizeof(float) +
                    (m * 3 + r * 5 + segments) * 2 * sizeof(std::int32_t)};
  return {
      .past = keys + longest * number(c.head_dim()) * sizeof(float) +
              table_entries * sizeof(std::int32_t),
      .pass = (state + logits) * sizeof(float) + (m * 3 + r * 5 + segments) * sizeof(std::int32_t)};
}

}}}  // namespace idefics::v0::detail
