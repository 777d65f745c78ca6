// The JSON files of a tokenizer, in one input and separated by zero bytes: tokenizer.json,
// tokenizer_config.json, special_tokens_map.json, added_tokens.json. Without the first, a
// tokenizer.model of six pieces takes its place. An accepted tokenizer must encode and decode.
#pragma once

#include <idefics/text/tokenizer.hpp>

#include "fuzz/scratch_dir.hpp"
#include "fuzz/target.hpp"

namespace fuzz {

inline std::string small_sentencepiece_model() {
  using enum idefics::detail::PieceType;
  return idefics::detail::serialize(
      idefics::detail::SentencePieceModel{.pieces = {{"<unk>", 0, unknown},
                                                     {"<s>", 0, control},
                                                     {"</s>", 0, control},
                                                     {"▁", -2, normal},
                                                     {"a", -3, normal},
                                                     {"▁a", -1, normal}}});
}

inline void tokenizer(Bytes input) {
  static const ScratchDir directory;
  static const bool ready = (directory.set("tokenizer.model", small_sentencepiece_model()), true);
  (void)ready;
  std::string_view rest = text_of(input);
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"})
    directory.set(name, next_file(rest));
  const auto read = idefics::Tokenizer::from_pretrained(directory.path());
  const auto ids = read.encode(" a<s>a b\xE2\x96\x81 <image></s>\n", {.add_special_tokens = true});
  expect(!ids.empty(), "no ids");
  (void)read.decode(ids);
  (void)read.decode(ids, {.skip_special_tokens = true});
}

}  // namespace fuzz
