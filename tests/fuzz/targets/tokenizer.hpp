// The files of a tokenizer and a text, in one input and separated by zero bytes: tokenizer.json,
// tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja, the text.
// There is also a tokenizer.model of six pieces, which takes the place of the first or is converted,
// as the files say. An accepted tokenizer must encode, decode, and decode id by id to the same text.
#pragma once

#include <idefics/text/tokenizer.hpp>

#include "fuzz/scratch_dir.hpp"
#include "fuzz/target.hpp"
#include "support/sentencepiece_writer.hpp"

namespace fuzz {

inline std::string small_sentencepiece_model() {
  using enum idefics::detail::PieceType;
  return testing::serialize(idefics::detail::SentencePieceModel{.pieces = {{"<unk>", 0, unknown},
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
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "added_tokens.json", "chat_template.jinja"})
    directory.set(name, next_file(rest));
  const auto read = idefics::Tokenizer::from_pretrained(directory.path());
  const std::string text = std::string(next_file(rest)) + " a<s>a b\xE2\x96\x81 <image></s>\n";
  const auto ids = read.encode(text, {.add_special_tokens = true});
  (void)read.token_texts();
  (void)read.chat_template_names();
  for (const bool skip : {false, true}) {
    idefics::TextDecoder decoder(read, {.skip_special_tokens = skip});
    std::string pieces;
    for (const auto id : ids) pieces += decoder.push(id);
    pieces += decoder.finish();
    expect(pieces == read.decode(ids, {.skip_special_tokens = skip}), "pieces differ");
  }
}

}  // namespace fuzz
