// Records of attention, kept on request: for each new token, the attention weights, in every layer,
// of the token whose logits it was chosen by. Source: transformers' output_attentions;
// docs/attentions.md.
// Letters: B sequences (the prompts), T columns, I pictures, S positions, L latents, H heads, J
// keys, R selected rows, G new tokens, n copies of each prompt.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <idefics/core/available_memory.hpp>
#include <idefics/generation/run/output.hpp>
#include <idefics/model/sequences.hpp>
#include <idefics/model/text_state.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Sizes of a run that records attentions.
struct AttentionSizes {
  std::int64_t prompt_columns = 0;   // T, of the padded prompt
  std::int64_t pictures = 0;         // I, of a prompt
  std::int64_t features = 0;         // L, or S without a resampler
  std::int64_t copies = 1;           // n
  std::int64_t tokens_per_step = 1;  // most tokens of a row in one pass
  std::int64_t new_tokens = 0;       // G
};

/// Row b n + i is copy i of prompt b. A position that is read again, because it followed a rejected
/// candidate token, keeps the weights read last.
class AttentionRecords {
 public:
  /// Throws `out_of_memory`.
  AttentionRecords(Backend& backend, const Config& config, std::span<const Sequence> prompts,
                   AttentionSizes sizes)
      : backend_(backend), sizes_(sizes), heads_(config.num_attention_heads) {
    std::int64_t cross_keys = 1, self_keys = 1;
    for (const Sequence& prompt : prompts) {
      const KeyColumns& p = key_columns_.emplace_back(key_columns_of(prompt));
      cross_keys = std::max(cross_keys, std::ssize(p.cross));
      self_keys = std::max(self_keys, std::ssize(p.self));
    }
    const std::int64_t layers = config.num_hidden_layers;
    const std::int64_t cross_layers =
        (layers + config.cross_layer_interval - 1) / config.cross_layer_interval;
    const std::int64_t rows = std::ssize(prompts) * sizes.copies;
    const std::int64_t most = rows * sizes.tokens_per_step;
    require_memory(bytes(config, std::ssize(prompts), sizes), "the attentions of every step",
                   "output_attentions");
    weights_ = {.self = backend.empty(DType::f32, {layers, most, heads_, self_keys}),
                .cross = backend.empty(DType::f32, {cross_layers, most, heads_, cross_keys})};
    self_ = Tensor::zeros(DType::f32, {sizes.new_tokens, rows, layers, heads_,
                                       sizes.prompt_columns + sizes.new_tokens - 1});
    cross_ = Tensor::zeros(DType::f32, {sizes.new_tokens, rows, cross_layers, heads_,
                                        sizes.pictures * sizes.features});
    watched_.reserve(static_cast<std::size_t>(most));
  }

  /// What the records of `prompts` prompts take, with the copy of `returned` rows in the output and
  /// the buffers that a pass writes to.
  static Checked bytes(const Config& c, std::int64_t prompts, const AttentionSizes& sizes,
                       std::int64_t returned = 0) {
    const auto number = [](std::int64_t n) { return Checked(static_cast<std::uint64_t>(n)); };
    const Checked rows = number(prompts) * number(sizes.copies);
    const std::int64_t cross =
        (c.num_hidden_layers + c.cross_layer_interval - 1) / c.cross_layer_interval;
    const Checked of_row =
        number(c.num_attention_heads) *
        (number(c.num_hidden_layers) * number(sizes.prompt_columns + sizes.new_tokens) +
         number(cross) * number(sizes.pictures) * number(sizes.features)) *
        sizeof(float);
    return (number(sizes.new_tokens) * (rows + number(returned)) +
            rows * number(sizes.tokens_per_step)) *
           of_row;
  }

  /// Watches token `token` of a row, query `query` of the pass, if a new token is chosen by its
  /// logits.
  void watch(TokenBatch& pass, std::size_t row, std::int64_t token, std::int64_t query) {
    const std::int64_t step = token + 1 - columns_of_row(row).prompt;
    if (step < 0 || step >= sizes_.new_tokens) return;
    pass.watched.push_back(static_cast<std::int32_t>(query));
    watched_.push_back({row, step});
  }

  /// The buffers that the pass writes to.
  const AttentionWeights& weights() const { return weights_; }

  /// After a pass: records the weights of its watched tokens.
  void keep() {
    if (watched_.empty()) return;
    const Tensor self = backend_.download(weights_.self), cross = backend_.download(weights_.cross);
    for (std::size_t i = 0; i < watched_.size(); ++i) {
      const auto [row, step] = watched_[i];
      const KeyColumns& p = columns_of_row(row);
      scatter(self, i, std::span(p.self).first(static_cast<std::size_t>(p.prompt + step)),
              record_of(self_, row, step), self_.dim(4));
      scatter(cross, i, p.cross, record_of(cross_, row, step), cross_.dim(4));
    }
    watched_.clear();
  }

  /// Adds the records of the returned rows to `output`, which already has their lengths. Step
  /// `step` of returned row i was read by row source(i, step), the prompt only by the first copy.
  template <class Source>
  void finish(GenerationOutput& output, const Source& source) {
    const auto row_of = [&](std::size_t i, std::size_t step) {
      const auto n = static_cast<std::size_t>(sizes_.copies);
      const std::size_t row = source(i, step);
      return step == 0 ? row / n * n : row;
    };
    const std::int64_t steps = *std::ranges::max_element(output.lengths);
    output.attentions =
        select(self_, sizes_.prompt_columns + steps - 1, steps, output.lengths, row_of);
    output.cross_attentions = select(cross_, cross_.dim(4), steps, output.lengths, row_of);
  }

 private:
  /// The output columns of the keys of a prompt.
  struct KeyColumns {
    std::vector<std::int32_t> self;   // by token, of the padded prompt and the new tokens
    std::vector<std::int32_t> cross;  // by key of the pictures that new tokens see, among all
    std::int64_t prompt = 0;          // tokens of the prompt
  };
  struct Watched {
    std::size_t row;
    std::int64_t step;
  };

  KeyColumns key_columns_of(const Sequence& prompt) const {
    KeyColumns p{.self = {}, .cross = {}, .prompt = std::ssize(prompt.ids)};
    for (const std::int64_t column : prompt.columns)
      p.self.push_back(static_cast<std::int32_t>(column));
    for (std::int64_t i = 0; i + 1 < sizes_.new_tokens; ++i)
      p.self.push_back(static_cast<std::int32_t>(sizes_.prompt_columns + i));
    for (const std::int32_t picture : prompt.runs.back().pictures) {
      const auto columns = iota_rows(picture * sizes_.features, sizes_.features);
      p.cross.insert(p.cross.end(), columns.begin(), columns.end());
    }
    return p;
  }
  const KeyColumns& columns_of_row(std::size_t row) const {
    return key_columns_[row / static_cast<std::size_t>(sizes_.copies)];
  }

  /// The record of a row and step, [layers,H,columns].
  static std::span<float> record_of(Tensor& all, std::size_t row, std::int64_t step) {
    const auto size = static_cast<std::size_t>(all.count() / (all.dim(0) * all.dim(1)));
    const auto index = static_cast<std::size_t>(step * all.dim(1)) + row;
    return all.as_mutable<float>().subspan(index * size, size);
  }

  /// Copies the weights of watched token i to the columns of their keys.
  void scatter(const Tensor& weights /*[layers,R,H,J]*/, std::size_t i,
               std::span<const std::int32_t> columns, std::span<float> to /*[layers,H,width]*/,
               std::int64_t width) const {
    const auto heads = static_cast<std::size_t>(heads_),
               rows = static_cast<std::size_t>(weights.dim(1)),
               keys = static_cast<std::size_t>(weights.dim(3));
    const auto from = weights.as<float>();
    for (std::size_t line = 0; line * static_cast<std::size_t>(width) < to.size(); ++line) {
      const std::size_t layer = line / heads, head = line % heads;
      const auto source = from.subspan(((layer * rows + i) * heads + head) * keys, keys);
      const auto target = to.subspan(line * static_cast<std::size_t>(width));
      for (std::size_t j = 0; j < columns.size(); ++j)
        target[static_cast<std::size_t>(columns[j])] = source[j];
    }
  }

  /// The first `columns` of each layer and head of the returned rows; zeros after the end of a row.
  template <class Source>
  static Tensor select(Tensor& all, std::int64_t columns, std::int64_t steps,
                       std::span<const std::int64_t> lengths, const Source& row_of) {
    const std::int64_t rows = std::ssize(lengths), width = all.dim(4);
    Tensor result = Tensor::zeros(DType::f32, {steps, rows, all.dim(2), all.dim(3), columns});
    for (std::int64_t step = 0; step < steps; ++step)
      for (std::int64_t i = 0; i < rows; ++i) {
        const auto index = static_cast<std::size_t>(i);
        if (step >= lengths[index]) continue;
        const auto from = record_of(all, row_of(index, static_cast<std::size_t>(step)), step);
        const auto to = record_of(result, index, step);
        for (std::int64_t line = 0; line < all.dim(2) * all.dim(3); ++line)
          std::copy_n(from.begin() + line * width, columns, to.begin() + line * columns);
      }
    return result;
  }

  Backend& backend_;
  AttentionSizes sizes_;
  std::int64_t heads_;
  std::vector<KeyColumns> key_columns_;  // [B]
  AttentionWeights weights_;
  std::vector<Watched> watched_;  // of the pass
  Tensor self_;                   // [G,B*n,layers,H,T+G-1]
  Tensor cross_;                  // [G,B*n,cross layers,H,I*L], or I*S without a resampler
};

}}}  // namespace idefics::v0::detail
