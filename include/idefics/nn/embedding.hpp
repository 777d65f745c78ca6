// A vocabulary in two parts: that of the language model, followed by the tokens that IDEFICS adds.
//
// Letters: M rows, D width, V vocabulary, A added tokens.
#pragma once

#include <span>
#include <utility>

#include <idefics/nn/linear.hpp>

namespace idefics { inline namespace v0 {

/// transformers' IdeficsDecoupledEmbedding: ids >= V are rows of `additional`.
struct DecoupledEmbedding {
  Tensor table;       // [V,D]
  Tensor additional;  // [A,D] or empty

  void operator()(Backend& backend, Tensor out /*[M,D]*/, std::span<const std::int32_t> ids) const {
    backend.embedding(std::move(out), ids, table, additional);
  }
};

/// transformers' IdeficsDecoupledLinear, the output head: logits are [base | additional].
struct DecoupledHead {
  Linear base;        // [V,D]
  Linear additional;  // [A,D] or empty

  /// The two parts are separate products with separate outputs; a caller that needs them joined
  /// must copy.
  void operator()(Backend& backend, Tensor base_logits /*[M,V]*/,
                  Tensor additional_logits /*[M,A] or empty*/, const Tensor& x /*[M,D]*/) const {
    if (!additional.weight) return base(backend, base_logits, x);
    linear_group(backend, x, {{base, base_logits}, {additional, additional_logits}});
  }
};

}}  // namespace idefics::v0
