// The buffers of forward passes, sized for the largest of them, and the computation of one.
// Letters: M rows, D width, V vocabulary, A added tokens, R selected rows, T columns, E head width.
#pragma once

#include <cstdint>
#include <span>

#include <idefics/model/idefics.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Row `row` of a host tensor; an empty span for an empty tensor.
inline std::span<const float> row_of(const Tensor& rows, std::size_t row, std::int64_t width) {
  if (!rows) return {};
  const auto w = static_cast<std::size_t>(width);
  return rows.as<float>().subspan(row * w, w);
}

/// Logits of the selected tokens of a pass, on the device and, after read_head, on the host.
struct PassLogits {
  Tensor base;        // [R,V]
  Tensor additional;  // [R,A] or empty
  Tensor host_base, host_additional;
};

struct PassSizes {
  std::int64_t positions = 0;   // T, of the longest sequence
  std::int64_t tokens = 0;      // M
  std::int64_t logit_rows = 0;  // R

  bool operator==(const PassSizes&) const = default;
};

class PassBuffers {
 public:
  PassBuffers(const Idefics& model, Backend& backend, const PassSizes& sizes)
      : model_(model),
        backend_(backend),
        sizes_(sizes),
        rotary_(backend, sizes.positions, model.config().head_dim()),
        state_(backend, model.config(), sizes.tokens),
        hidden_(backend.empty(DType::f32, {sizes.logit_rows, model.config().hidden_size})),
        choices_(backend.empty(DType::i32, {sizes.logit_rows})) {}

  const PassSizes& sizes() const { return sizes_; }

  /// Runs the decoder over `tokens`, as Idefics::forward, and returns the final hidden states [M,D].
  /// before_layer(i, x) is called with the input x [M,D] of layer i.
  template <class BeforeLayer>
  Tensor forward(const TokenBatch& tokens, const KvCache& past, const ImageCache& pictures,
                 const AttentionWeights& weights, const BeforeLayer& before_layer) const {
    const TextState state = state_.first(tokens.size());
    model_.forward(backend_, state, tokens, past, pictures, rotary_, weights,
                   [&](std::size_t layer) { before_layer(layer, state.hidden); });
    return state.normed;
  }

  PassLogits make_logits() const {
    const Config& c = model_.config();
    PassLogits logits{.base = backend_.empty(DType::f32, {sizes_.logit_rows, c.vocab_size}),
                      .additional = {},
                      .host_base = {},
                      .host_additional = {}};
    if (c.additional_vocab_size > 0)
      logits.additional = backend_.empty(DType::f32, {sizes_.logit_rows, c.additional_vocab_size});
    return logits;
  }

  /// Computes the logits of the selected rows of `states`, on the host as well.
  void read_head(PassLogits& logits, const Tensor& states /*[M,D]*/,
                 std::span<const std::int32_t> rows /*[R]*/) const {
    const auto [base, additional] = compute_head(logits, states, rows);
    logits.host_base = backend_.download(base);
    if (additional) logits.host_additional = backend_.download(additional);
  }
  /// Computes them on the device alone, and returns the token that greedy search chooses from each.
  Tensor choose(const PassLogits& logits, const Tensor& states, std::span<const std::int32_t> rows,
                const ForbiddenTokens& excluded) const /*[R] i32*/ {
    const auto [base, additional] = compute_head(logits, states, rows);
    const Tensor choices = choices_.slice(0, std::ssize(rows));
    backend_.greedy_choice(choices, base, additional, excluded);
    return backend_.download(choices);
  }

  /// After read_head: the hidden states of the rows that it read, on the host.
  Tensor download_hidden(std::int64_t r) const /*[R,D]*/ {
    return backend_.download(hidden_.slice(0, r));
  }

 private:
  struct Head {
    Tensor base, additional;  // [R,V], [R,A]
  };
  Head compute_head(const PassLogits& logits, const Tensor& states,
                    std::span<const std::int32_t> rows) const {
    const auto r = std::ssize(rows);
    const Tensor hidden = hidden_.slice(0, r), base = logits.base.slice(0, r);
    const Tensor additional = logits.additional ? logits.additional.slice(0, r) : Tensor();
    backend_.gather_rows(hidden, states, rows);
    model_.logits(backend_, base, additional, hidden);
    return {base, additional};
  }

  const Idefics& model_;
  Backend& backend_;
  PassSizes sizes_;
  RotaryTable rotary_;
  TextState state_;
  Tensor hidden_;   // [R,D]
  Tensor choices_;  // [R] i32
};

}}}  // namespace idefics::v0::detail
