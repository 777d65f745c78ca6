// tokenizer.model: an accepted model must survive being written and read again.
#pragma once

#include <algorithm>

#include <idefics/text/tokenizer/sentencepiece_model.hpp>

#include "fuzz/target.hpp"
#include "support/sentencepiece_writer.hpp"

namespace fuzz {

inline void sentencepiece_model(Bytes input) {
  const auto model = idefics::detail::parse_sentencepiece_model(text_of(input), "input");
  const auto again = idefics::detail::parse_sentencepiece_model(testing::serialize(model), "again");
  expect(
      again.byte_fallback == model.byte_fallback && again.unk_piece == model.unk_piece &&
          std::ranges::equal(again.pieces, model.pieces,
                             [](const idefics::detail::Piece& a, const idefics::detail::Piece& b) {
                               return a.text == b.text && a.score == b.score && a.type == b.type;
                             }),
      "a model changes when it is written and read");
}

}  // namespace fuzz
