// What each new token looked at: its attention to a picture, carried back from the latents that it
// read to the patches of the picture. Source: attention rollout (Abnar and Zuidema 2020, "Quantifying
// attention flow in transformers"); docs/attentions.md.
// Letters: I pictures, P patches, S positions, L latents, H heads, J keys, s steps, r rows
// of the output, w words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <idefics/model.hpp>
#include <idefics/text/tokenizer.hpp>

namespace idefics { inline namespace v0 {

/// The attention weights with which pictures [I,3,Y,X] are encoded: those of the resampler, if there
/// is one, and with `vision` those of the vision tower. The cache of pictures does not change. Throws
/// `out_of_memory`, and `shape_mismatch` as `forward` does.
IDEFICS_ENGINE_INLINE ImageAttentions image_attentions(const Model& model, const Tensor& pixels,
                                                       bool vision, bool interpolate_pos_encoding);

struct AttentionRolloutOptions {
  std::optional<std::int64_t> layer{};  // of cross-attention; unset: the mean of all
  std::optional<std::int64_t> head{};   // of cross-attention; unset: the mean of all
  bool vision = false;                  // also go back through the layers of the vision tower
  std::int64_t row = 0;                 // of the output
};

/// Shares of attention: for each token that sees a picture, those of all pictures sum to 1, patches,
/// class tokens and learned latents together. All are zero for a token that sees no picture.
struct AttentionRollout {
  std::int64_t rows = 0, columns = 0;  // of patches; P = rows * columns
  Tensor patches{};                    // [s,I,P] f32, row by row
  Tensor class_token{};                // [s,I] f32, that of the vision tower
  Tensor learned_latents{};            // [s,I] f32, what no part of the picture accounts for
};

/// A word of an answer: its text, and its tokens from `begin` to before `end`.
struct WordSpan {
  std::string text;
  std::size_t begin = 0, end = 0;
};

namespace detail {

/// A matrix of shares, [rows,J].
struct Shares {
  std::size_t rows = 0, columns = 0;
  std::vector<double> values;

  Shares(std::size_t r, std::size_t c) : rows(r), columns(c), values(r * c) {}
  std::span<double> row(std::size_t i) { return std::span(values).subspan(i * columns, columns); }
};

/// to += factor * from
inline void add_scaled(std::span<double> to, std::span<const double> from, double factor) {
  for (std::size_t i = 0; i < from.size(); ++i) to[i] += factor * from[i];
}

/// The mean over heads of one layer of attention weights.
inline Shares mean_of_heads(const Tensor& weights /*[layers,rows,H,J]*/, std::int64_t layer) {
  const auto rows = static_cast<std::size_t>(weights.dim(1)),
             heads = static_cast<std::size_t>(weights.dim(2)),
             keys = static_cast<std::size_t>(weights.dim(3));
  Shares mean(rows, keys);
  const auto all =
      weights.as<float>().subspan(static_cast<std::size_t>(layer) * rows * heads * keys);
  for (std::size_t i = 0; i < rows * heads * keys; ++i)
    mean.values[i / (heads * keys) * keys + i % keys] +=
        static_cast<double>(all[i]) / static_cast<double>(heads);
  return mean;
}

/// What the latents consist of: [L,S+1], the shares of the features and, last, of the learned
/// latents that every picture starts from. A block adds what its latents read to what they were, and
/// each half counts as much: half identity, half attention.
inline Shares resampler_rollout(const Tensor& weights /*[depth,L,H,S+L]*/) {
  const auto l = static_cast<std::size_t>(weights.dim(1)),
             s = static_cast<std::size_t>(weights.dim(3)) - l;
  Shares latents(l, s + 1);
  for (std::size_t i = 0; i < l; ++i) latents.row(i)[s] = 1;
  for (std::int64_t block = 0; block < weights.dim(0); ++block) {
    Shares attention = mean_of_heads(weights, block), next(l, s + 1);
    for (std::size_t i = 0; i < l; ++i) {
      const auto read = attention.row(i);
      add_scaled(next.row(i), latents.row(i), 0.5);
      add_scaled(next.row(i), read.first(s), 0.5);
      for (std::size_t j = 0; j < l; ++j)
        add_scaled(next.row(i), latents.row(j), 0.5 * read[s + j]);
    }
    latents = std::move(next);
  }
  return latents;
}

/// Without a resampler the features themselves are read: each is its own share.
inline Shares own_shares(std::size_t positions) {
  Shares shares(positions, positions + 1);
  for (std::size_t i = 0; i < positions; ++i) shares.row(i)[i] = 1;
  return shares;
}

/// Shares of features become shares of the embeddings that the vision tower begins with, by the same
/// rule.
inline void roll_through_vision(Shares& shares /*[rows,S+1]*/,
                                const Tensor& weights /*[layers,S,H,S]*/) {
  const std::size_t s = shares.columns - 1;
  for (std::int64_t layer = weights.dim(0) - 1; layer >= 0; --layer) {
    Shares attention = mean_of_heads(weights, layer);
    for (std::size_t i = 0; i < shares.rows; ++i) {
      const auto row = shares.row(i);
      std::vector<double> next(s);
      add_scaled(next, row.first(s), 0.5);
      for (std::size_t j = 0; j < s; ++j) add_scaled(next, attention.row(j), 0.5 * row[j]);
      std::ranges::copy(next, row.begin());
    }
  }
}

/// Throws `invalid_option` for a layer or head that the model does not have.
inline void validate(const AttentionRolloutOptions& options, std::int64_t layers,
                     std::int64_t heads) {
  const auto check = [](const char* name, std::optional<std::int64_t> value, std::int64_t count) {
    if (value && (*value < 0 || *value >= count))
      fail(ErrorCode::invalid_option,
           "there are " + std::to_string(count) + " of cross-attention, counted from 0",
           {.field = name,
            .actual = static_cast<std::uint64_t>(*value),
            .limit = static_cast<std::uint64_t>(count - 1)});
  };
  check("layer", options.layer, layers);
  check("head", options.head, heads);
}

/// The cross-attention of every step of a row, over the layers and heads that are asked for.
inline Shares mean_cross_attention(const Tensor& all /*[s,r,layers,H,J]*/,
                                   const AttentionRolloutOptions& options, std::int64_t steps) {
  const std::int64_t layers = all.dim(2), heads = all.dim(3);
  const auto keys = static_cast<std::size_t>(all.dim(4));
  const std::int64_t chosen = (options.layer ? 1 : layers) * (options.head ? 1 : heads);
  Shares mean(static_cast<std::size_t>(steps), keys);
  for (std::int64_t step = 0; step < steps; ++step)
    for (std::int64_t i = 0; i < layers * heads; ++i) {
      if (i / heads != options.layer.value_or(i / heads)) continue;
      if (i % heads != options.head.value_or(i % heads)) continue;
      const std::int64_t at = (step * all.dim(1) + options.row) * layers * heads + i;
      const auto from = all.as<float>().subspan(static_cast<std::size_t>(at) * keys, keys);
      const auto to = mean.row(static_cast<std::size_t>(step));
      for (std::size_t j = 0; j < keys; ++j)
        to[j] += static_cast<double>(from[j]) / static_cast<double>(chosen);
    }
  return mean;
}

/// What the features of a picture that tokens read consist of, [L,S+1] or [S,S+1].
inline Shares sources_of(const Model& model, const Tensor& pixels /*[1,3,Y,X]*/, bool vision) {
  const ImageAttentions weights = image_attentions(model, pixels, vision, true);
  const std::int64_t s = model.config().vision.positions_of(pixels.dim(2), pixels.dim(3));
  Shares sources = weights.resampler ? resampler_rollout(weights.resampler)
                                     : own_shares(static_cast<std::size_t>(s));
  if (vision) roll_through_vision(sources, weights.vision);
  return sources;
}

/// Stores the shares of one picture in every step, [class token, patches, learned latents].
inline void put_picture(AttentionRollout& to, std::int64_t picture, Shares& tokens /*[s,I*L]*/,
                        Shares& sources /*[L,S+1]*/) {
  const auto i = static_cast<std::size_t>(picture), p = sources.columns - 2;
  const auto n = static_cast<std::size_t>(to.class_token.dim(1));
  for (std::size_t step = 0; step < tokens.rows; ++step) {
    std::vector<double> sum(sources.columns);
    for (std::size_t l = 0; l < sources.rows; ++l)
      add_scaled(sum, sources.row(l), tokens.row(step)[i * sources.rows + l]);
    const std::size_t at = step * n + i;
    to.class_token.as_mutable<float>()[at] = static_cast<float>(sum.front());
    to.learned_latents.as_mutable<float>()[at] = static_cast<float>(sum.back());
    const auto patches = to.patches.as_mutable<float>().subspan(at * p, p);
    for (std::size_t j = 0; j < p; ++j) patches[j] = static_cast<float>(sum[j + 1]);
  }
}

}  // namespace detail

/// What each new token of a row looked at, from the prompts and the output of `generate` with
/// output_attentions. The share of a patch is the sum, over the latents, of the token's attention to
/// a latent times the patch's share of that latent. The pictures are encoded again. Throws
/// `invalid_option` for a layer or head that the model does not have, and what `image_attentions`
/// throws.
inline AttentionRollout attention_rollout(const Model& model, const Inputs& inputs,
                                          const GenerationOutput& output,
                                          const AttentionRolloutOptions& options = {}) {
  const Tensor &read = output.cross_attentions, &pixels = inputs.pixel_values;  // [B,I,3,Y,X]
  require(read && options.row >= 0 && options.row < read.dim(1),
          "attention rollout needs output_attentions, and a row of the output");
  detail::validate(options, read.dim(2), read.dim(3));
  const std::int64_t steps = output.lengths[static_cast<std::size_t>(options.row)];
  const std::int64_t n = pixels.dim(1), side = model.config().vision.patch_size;
  AttentionRollout result{.rows = pixels.dim(3) / side, .columns = pixels.dim(4) / side};
  result.patches = Tensor::zeros(DType::f32, {steps, n, result.rows * result.columns});
  result.class_token = Tensor::zeros(DType::f32, {steps, n});
  result.learned_latents = Tensor::zeros(DType::f32, {steps, n});

  const std::int64_t prompt = options.row / (read.dim(1) / pixels.dim(0));
  const Tensor pictures =
      pixels.reshape({pixels.dim(0) * n, pixels.dim(2), pixels.dim(3), pixels.dim(4)});
  detail::Shares tokens = detail::mean_cross_attention(read, options, steps);
  for (std::int64_t i = 0; i < n; ++i) {
    const Tensor picture = pictures.slice(prompt * n + i, prompt * n + i + 1);
    detail::Shares sources = detail::sources_of(model, picture, options.vision);
    detail::put_picture(result, i, tokens, sources);
  }
  return result;
}

/// The words of an answer: tokens between spaces, without special tokens.
inline std::vector<WordSpan> word_spans(const Tokenizer& tokenizer,
                                        std::span<const std::int32_t> ids) {
  constexpr const char* spaces = " \t\r\n";
  const auto texts = tokenizer.token_texts();
  std::vector<WordSpan> words;
  bool inside = false;  // whether the next token continues the word
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (tokenizer.is_special(ids[i])) {
      inside = false;
      continue;
    }
    const std::string& text = (*texts)[static_cast<std::size_t>(ids[i])];
    const auto first = text.find_first_not_of(spaces);
    if (!inside || first != 0) words.push_back({.text = {}, .begin = i, .end = i});
    words.back().end = i + 1;
    inside = first == std::string::npos || text.find_last_not_of(spaces) + 1 == text.size();
  }
  for (WordSpan& word : words) {
    const std::string text = tokenizer.decode(ids.subspan(word.begin, word.end - word.begin));
    const auto first = std::min(text.find_first_not_of(spaces), text.size());
    word.text = text.substr(first, text.find_last_not_of(spaces) + 1 - first);
  }
  std::erase_if(words, [](const WordSpan& word) { return word.text.empty(); });
  return words;
}

/// The shares of words, [w,I,P] and [w,I]: the means of their tokens.
inline AttentionRollout mean_of_words(const AttentionRollout& tokens,
                                      std::span<const WordSpan> words) {
  const auto mean = [words](const Tensor& all) {
    Tensor result = Tensor::zeros(DType::f32, all.shape().with(0, std::ssize(words)));
    if (words.empty()) return result;
    const auto size = result.as<float>().size() / words.size();
    for (std::size_t w = 0; w < words.size(); ++w)
      for (std::size_t i = 0; i < size; ++i) {
        double sum = 0;
        for (std::size_t token = words[w].begin; token < words[w].end; ++token)
          sum += static_cast<double>(all.as<float>()[token * size + i]);
        result.as_mutable<float>()[w * size + i] =
            static_cast<float>(sum / static_cast<double>(words[w].end - words[w].begin));
      }
    return result;
  };
  return {.rows = tokens.rows,
          .columns = tokens.columns,
          .patches = mean(tokens.patches),
          .class_token = mean(tokens.class_token),
          .learned_latents = mean(tokens.learned_latents)};
}

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/core/available_memory.hpp>

namespace idefics { inline namespace v0 {

IDEFICS_ENGINE_INLINE ImageAttentions image_attentions(const Model& model, const Tensor& pixels,
                                                       bool vision, bool interpolate_pos_encoding) {
  const Config& c = model.config();
  require(pixels.shape().rank() == 4 && pixels.dim(0) > 0, "pixels must be [I,3,Y,X]");
  const std::int64_t n = pixels.dim(0), l = c.perceiver.latents;
  const std::int64_t s = c.vision.positions_of(pixels.dim(2), pixels.dim(3));
  const auto session = model.parts_->sessions.borrow();
  Backend& backend = *session->backend;
  const auto empty = [&backend](bool wanted, Shape shape) {
    if (!wanted) return Tensor();
    Checked bytes = 2 * sizeof(float);  // here and on the device
    for (const std::int64_t dim : shape.dims()) bytes = bytes * static_cast<std::uint64_t>(dim);
    detail::require_memory(bytes, "the attentions of pictures", "pixel_values");
    return backend.empty(DType::f32, shape);
  };
  const ImageAttentions weights{
      .vision = empty(vision, {c.vision.num_hidden_layers, n * s, c.vision.num_attention_heads, s}),
      .resampler = empty(c.use_resampler, {c.perceiver.depth, n * l, c.perceiver.heads, s + l})};
  model.parts_->model.encode_pictures(backend, backend.upload(pixels), interpolate_pos_encoding,
                                      weights);
  const auto host = [&backend](const Tensor& t) { return t ? backend.download(t) : Tensor(); };
  return {.vision = host(weights.vision), .resampler = host(weights.resampler)};
}

}}  // namespace idefics::v0

#endif
