// What a checkpoint's tokenizer files say, whichever form they have.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <idefics/text/sentencepiece_model.hpp>

namespace idefics { inline namespace v0 {

/// A token after the vocabulary, or a special one within it: split off a text before anything else.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool lstrip = false, rstrip = false;  // also matches the spaces before, after it
  bool special = true;
};

enum class PaddingSide { left, right };

struct TokenizerDescription {
  detail::SentencePieceModel model;
  std::vector<AddedToken> added;
  std::vector<std::string> additional_special_tokens;
  std::string bos = "<s>", eos = "</s>", unk = "<unk>", pad = "<unk>";
  bool add_bos_token = true, add_eos_token = false;
  bool strip_leading_space = true;  // remove one leading space of a decoded text
  PaddingSide padding_side = PaddingSide::left;
  std::string chat_template;
};

enum class TokenizerFormat { any, json, sentencepiece };

}}  // namespace idefics::v0
