// Words that an answer must not contain, as ids.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <idefics/text/tokenizer.hpp>

namespace idefics { inline namespace v0 {

/// For bad_words_ids: the ids of each word at the beginning of a word, after a space, and of the same
/// letters in the middle of one, as transformers' documentation recommends. Throws `invalid_option`
/// for an empty word.
inline std::vector<std::vector<std::int32_t>> bad_words_ids(const Tokenizer& tokenizer,
                                                            std::span<const std::string> words) {
  std::vector<std::vector<std::int32_t>> lists;
  std::set<std::vector<std::int32_t>> known;
  const auto add = [&](std::vector<std::int32_t> ids) {
    if (known.insert(ids).second) lists.push_back(std::move(ids));
  };
  // no token joins a line end and a letter
  const std::size_t line = tokenizer.encode("\n").size();
  for (const std::string& word : words) {
    if (word.empty()) fail(ErrorCode::invalid_option, "a word is empty", {.field = "bad_words"});
    auto spaced = tokenizer.encode(word), glued = tokenizer.encode("\n" + word);
    glued.erase(glued.begin(),
                glued.begin() + static_cast<std::ptrdiff_t>(std::min(line, glued.size())));
    add(std::move(spaced));
    if (!glued.empty()) add(std::move(glued));
  }
  return lists;
}

}}  // namespace idefics::v0
