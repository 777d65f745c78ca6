// What the model looked at when it chose each new token, kept when asked for: the weights of
// attention, in every layer, of the token whose logits it was chosen by. Source: transformers'
// output_attentions; docs/attentions.md. Letters: B prompts, n copies of each, R rows, L new tokens
// at most, S steps, H heads, N pictures of a prompt, F features of a picture, P columns of the
// padded prompt.
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

/// Sizes of a run whose attentions are kept.
struct AttentionSizes {
  std::int64_t prompt_columns = 0;   // P
  std::int64_t pictures = 0;         // N
  std::int64_t features = 0;         // F
  std::int64_t copies = 1;           // n
  std::int64_t tokens_per_step = 1;  // most tokens of a row in one pass
  std::int64_t new_tokens = 0;       // L
};

/// Row b n + i is copy i of prompt b. A token that is read twice, since it stood behind a guess that
/// was wrong, is kept as it was read last.
class AttentionRecords {
 public:
  /// Throws `out_of_memory`.
  AttentionRecords(Backend& backend, const Config& config, std::span<const Sequence> prompts,
                   AttentionSizes sizes)
      : backend_(backend), sizes_(sizes), heads_(config.num_attention_heads) {
    std::int64_t cross_keys = 1, self_keys = 1;
    for (const Sequence& prompt : prompts) {
      const Places& p = places_.emplace_back(places_of(prompt));
      cross_keys = std::max(cross_keys, std::ssize(p.cross));
      self_keys = std::max(self_keys, std::ssize(p.self));
    }
    const std::int64_t layers = config.num_hidden_layers;
    const std::int64_t cross_layers =
        (layers + config.cross_layer_interval - 1) / config.cross_layer_interval;
    const std::int64_t rows = std::ssize(prompts) * sizes.copies;
    const std::int64_t most = rows * sizes.tokens_per_step;
    const auto number = [](std::int64_t n) { return Checked(static_cast<std::uint64_t>(n)); };
    const Checked columns = number(layers) * number(sizes.prompt_columns + sizes.new_tokens) +
                            number(cross_layers) * number(sizes.pictures * sizes.features);
    require_memory(number(sizes.new_tokens) * number(rows * heads_) * columns * sizeof(float),
                   "the attentions of every step", "output_attentions");
    weights_ = {.self = backend.empty(DType::f32, {layers, most, heads_, self_keys}),
                .cross = backend.empty(DType::f32, {cross_layers, most, heads_, cross_keys})};
    self_ = Tensor::zeros(DType::f32, {sizes.new_tokens, rows, layers, heads_,
                                       sizes.prompt_columns + sizes.new_tokens - 1});
    cross_ = Tensor::zeros(DType::f32, {sizes.new_tokens, rows, cross_layers, heads_,
                                        sizes.pictures * sizes.features});
    watched_.reserve(static_cast<std::size_t>(most));
  }

  /// Token `token` of a row joins a pass as its query `query`: watched, unless it is one of the
  /// prompt that nothing is chosen by.
  void watch(TokenBatch& pass, std::size_t row, std::int64_t token, std::int64_t query) {
    const std::int64_t step = token + 1 - places_of_row(row).prompt;
    if (step < 0 || step >= sizes_.new_tokens) return;
    pass.watched.push_back(static_cast<std::int32_t>(query));
    watched_.push_back({row, step});
  }

  /// Where the pass writes to.
  const AttentionWeights& weights() const { return weights_; }

  /// After a pass: keeps what its tokens looked at.
  void keep() {
    if (watched_.empty()) return;
    const Tensor self = backend_.download(weights_.self), cross = backend_.download(weights_.cross);
    for (std::size_t i = 0; i < watched_.size(); ++i) {
      const auto [row, step] = watched_[i];
      const Places& p = places_of_row(row);
      spread(self, i, std::span(p.self).first(static_cast<std::size_t>(p.prompt + step)),
             line_of(self_, row, step), self_.dim(4));
      spread(cross, i, p.cross, line_of(cross_, row, step), cross_.dim(4));
    }
    watched_.clear();
  }

  /// Hands over what was kept of the returned rows, whose lengths `output` has. Step `step` of
  /// returned row i was read by row source(i, step); the prompt only by the first copy.
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
  /// Of a prompt: the columns in which its keys stand.
  struct Places {
    std::vector<std::int32_t> self;   // of the padded prompt and the new tokens, by token
    std::vector<std::int32_t> cross;  // of all pictures, by key of those that new tokens see
    std::int64_t prompt = 0;          // tokens
  };
  struct Watched {
    std::size_t row;
    std::int64_t step;
  };

  Places places_of(const Sequence& prompt) const {
    Places p{.self = {}, .cross = {}, .prompt = std::ssize(prompt.ids)};
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
  const Places& places_of_row(std::size_t row) const {
    return places_[row / static_cast<std::size_t>(sizes_.copies)];
  }

  /// What was kept of a row and step, [layers,H,columns].
  static std::span<float> line_of(Tensor& all, std::size_t row, std::int64_t step) {
    const auto size = static_cast<std::size_t>(all.count() / (all.dim(0) * all.dim(1)));
    const auto at = static_cast<std::size_t>(step * all.dim(1)) + row;
    return all.as_mutable<float>().subspan(at * size, size);
  }

  /// Weights of watched token i to the columns of their keys.
  void spread(const Tensor& weights /*[layers,R,H,J]*/, std::size_t i,
              std::span<const std::int32_t> columns, std::span<float> to /*[layers,H,width]*/,
              std::int64_t width) const {
    const auto heads = static_cast<std::size_t>(heads_),
               rows = static_cast<std::size_t>(weights.dim(1)),
               keys = static_cast<std::size_t>(weights.dim(3));
    const auto from = weights.as<float>();
    for (std::size_t line = 0; line * static_cast<std::size_t>(width) < to.size(); ++line) {
      const std::size_t layer = line / heads, head = line % heads;
      const auto mine = from.subspan(((layer * rows + i) * heads + head) * keys, keys);
      const auto theirs = to.subspan(line * static_cast<std::size_t>(width));
      for (std::size_t j = 0; j < columns.size(); ++j)
        theirs[static_cast<std::size_t>(columns[j])] = mine[j];
    }
  }

  /// The first `columns` of each line of the returned rows; zeros where a row had ended.
  template <class Source>
  static Tensor select(Tensor& all, std::int64_t columns, std::int64_t steps,
                       std::span<const std::int64_t> lengths, const Source& row_of) {
    const std::int64_t rows = std::ssize(lengths), width = all.dim(4);
    Tensor result = Tensor::zeros(DType::f32, {steps, rows, all.dim(2), all.dim(3), columns});
    for (std::int64_t step = 0; step < steps; ++step)
      for (std::int64_t i = 0; i < rows; ++i) {
        const auto at = static_cast<std::size_t>(i);
        if (step >= lengths[at]) continue;
        const auto from = line_of(all, row_of(at, static_cast<std::size_t>(step)), step);
        const auto to = line_of(result, at, step);
        for (std::int64_t line = 0; line < all.dim(2) * all.dim(3); ++line)
          std::copy_n(from.begin() + line * width, columns, to.begin() + line * columns);
      }
    return result;
  }

  Backend& backend_;
  AttentionSizes sizes_;
  std::int64_t heads_;
  std::vector<Places> places_;  // [B]
  AttentionWeights weights_;
  std::vector<Watched> watched_;  // of the pass
  Tensor self_;                   // [L,R,layers,H,P+L-1]
  Tensor cross_;                  // [L,R,cross layers,H,N*F]
};

}}}  // namespace idefics::v0::detail
