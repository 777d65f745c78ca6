// Names that the tokenizer shares with its callers.
#pragma once

#include <cstdint>
#include <string>

namespace idefics { inline namespace v0 {

/// A token that is split off a text before anything else: one after the vocabulary, or one of it.
struct AddedToken {
  std::int32_t id = 0;
  std::string content{};
  bool single_word = false;             // matches only where no letter or digit adjoins
  bool lstrip = false, rstrip = false;  // also matches the white space before, after it
  bool normalized = false;              // matches its normalized form in the normalized text
  bool special = true;
};

enum class PaddingSide { left, right };
enum class TruncationSide { left, right };

/// Which of a checkpoint's files to read: tokenizer.json if there is one, or only one of the two.
enum class TokenizerFormat { any, json, sentencepiece };

}}  // namespace idefics::v0
