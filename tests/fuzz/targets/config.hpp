// config.json and generation_config.json: an accepted file must lead to a table of weights and a
// memory plan without overflow.
#pragma once

#include <idefics/generation/options/read_config.hpp>
#include <idefics/generation/options/validate.hpp>
#include <idefics/io/json.hpp>
#include <idefics/model/idefics.hpp>
#include <idefics/plan/require_fit.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline void config(Bytes input) {
  const auto json = idefics::parse_json(text_of(input), "config.json");
  const auto read = idefics::Config::from_json(json, "config.json");
  expect(read.head_dim() > 0 && read.vision.head_dim() > 0, "a head without width");
  // many layers take long, up to a tenth of a second, and show nothing that a few do not, but
  // overflow
  const std::int64_t all = read.num_hidden_layers + read.vision.num_hidden_layers;
  if (all > 8 && input.size() % 64 != 0) return;
  idefics::WeightTable table;
  const idefics::Idefics layers(table, read);
  static const auto forms = idefics::weight_forms();  // one of them, to be faster
  const auto& options = forms[input.size() % forms.size()].options;
  (void)plan_memory(read, table.requests(), nullptr, options).total_bytes();
}

inline void generation_config(Bytes input) {
  const auto json = idefics::parse_json(text_of(input), "generation_config.json");
  const auto read = idefics::generation_config_from_json(json, "generation_config.json");
  const idefics::Config model;
  validate(read, model.total_vocab_size());
  const auto limits = idefics::detail::length_limits(read, 7, model.max_position_embeddings);
  expect(limits.new_tokens() > 0, "no space for a new token");
}

}  // namespace fuzz
