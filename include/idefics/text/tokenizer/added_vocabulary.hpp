// The tokens that are found in a text before anything else is done with it: how they get their ids,
// and where they match. Source: tokenizers' AddedVocabulary, including what looks odd in it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include <idefics/text/tokenizer/bpe.hpp>
#include <idefics/text/tokenizer/steps.hpp>
#include <idefics/text/tokenizer/word_characters.hpp>
#include <idefics/text/tokenizer/word_finder.hpp>
#include <idefics/text/tokenizer_types.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// All that distinguishes a token from another, except its id.
using AddedTokenKey = std::tuple<std::string, bool, bool, bool, bool, bool>;
inline AddedTokenKey key_of(const AddedToken& t) {
  return {t.content, t.single_word, t.lstrip, t.rstrip, t.normalized, t.special};
}

class AddedVocabulary {
 public:
  /// Adds tokens, some of which may be known with other flags. A token that the model lacks gets the
  /// next id; the id that a file gives is not used.
  void add(const std::vector<AddedToken>& tokens, const Bpe& model) {
    for (const AddedToken& token : tokens)
      if (token.special && !token.content.empty() && special_names_.insert(token.content).second)
        special_.push_back(token);
    std::set<AddedTokenKey> existing;  // also what is replaced in this call
    for (const auto& [id, token] : by_id_) existing.insert(key_of(token));
    for (const AddedToken& token : tokens) {
      if (token.content.empty() || !existing.insert(key_of(token)).second) continue;
      const auto known = id(token.content, model);
      const std::int32_t id =
          known ? *known : std::max(next_, static_cast<std::int32_t>(model.size()));
      ids_.insert_or_assign(token.content, id);
      by_id_.insert_or_assign(id, token).first->second.id = id;
      next_ = std::max(next_, id + 1);
      if (!special_names_.contains(token.content)) ordinary_.push_back(token);
    }
  }

  /// To be called after the last token was added.
  void prepare(const Bpe& model, const Normalizer& normalizer) {
    std::vector<std::string> plain, rewritten;
    plain_ids_.clear(), rewritten_ids_.clear();
    for (const auto* list : {&special_, &ordinary_})
      for (const AddedToken& token : *list) {
        std::string word =
            token.normalized ? detail::normalized(token.content, normalizer) : token.content;
        if (word.empty()) continue;
        (token.normalized ? rewritten : plain).push_back(std::move(word));
        (token.normalized ? rewritten_ids_ : plain_ids_).push_back(*id(token.content, model));
      }
    plain_.emplace(plain), rewritten_.emplace(rewritten);
  }

  std::optional<std::int32_t> id(std::string_view content, const Bpe& model) const {
    const auto it = ids_.find(content);
    return it == ids_.end() ? model.id(content) : std::optional(it->second);
  }
  bool is_special(std::string_view content) const { return special_names_.contains(content); }
  const std::unordered_map<std::int32_t, AddedToken>& tokens() const { return by_id_; }

  /// A part of a text: a token, or text between tokens.
  struct Part {
    std::size_t begin, end;
    std::optional<std::int32_t> id;
  };

  /// The parts of a text as it was given. No token spans a break (an offset, ascending);
  /// `encode_special`: special tokens count as text.
  std::vector<Part> split(std::string_view text, std::span<const std::size_t> breaks,
                          bool encode_special) const {
    return parts(text, breaks, *plain_, plain_ids_, encode_special);
  }
  /// The parts of a text between tokens, after normalization.
  std::vector<Part> split_normalized(std::string_view text, std::span<const std::size_t> breaks,
                                     bool encode_special) const {
    return parts(text, breaks, *rewritten_, rewritten_ids_, encode_special);
  }

 private:
  static bool is_single_word(std::string_view text, std::size_t begin, std::size_t end) {
    const bool joined_left =
        begin > 0 && is_word_character(last_character(text.substr(0, begin)).code);
    const bool joined_right =
        end < text.size() && is_word_character(first_character(text.substr(end)).code);
    return !joined_left && !joined_right;
  }

  std::vector<Part> parts(std::string_view text, std::span<const std::size_t> breaks,
                          const WordFinder& words, const std::vector<std::int32_t>& ids,
                          bool encode_special) const {
    std::vector<Part> parts;
    std::size_t at = 0, spaces_until = 0;  // the end of the last white space that was measured
    for (auto [begin, end, word] : words.find(text, breaks)) {
      const AddedToken& token = by_id_.at(ids[word]);
      if (encode_special && is_special(token.content)) continue;
      if (token.single_word && !is_single_word(text, begin, end)) continue;
      // white space before it may already belong to the previous token
      if (token.lstrip)
        begin = at < begin ? begin - trailing_white_space(text.substr(at, begin - at)) : at;
      if (token.rstrip && end >= spaces_until)
        spaces_until = end + leading_white_space(text.substr(end));
      if (token.rstrip) end = spaces_until;
      if (at < begin) parts.push_back({at, begin, std::nullopt});
      if (begin < end) parts.push_back({begin, end, token.id});  // not within the previous one
      at = end;
    }
    if (at < text.size()) parts.push_back({at, text.size(), std::nullopt});
    return parts;
  }

  StringMap<std::int32_t> ids_;
  std::unordered_map<std::int32_t, AddedToken> by_id_;
  std::int32_t next_ = 0;  // one more than the highest id of an added token
  std::unordered_set<std::string, StringHash, std::equal_to<>> special_names_;
  // as first added: later flags change by_id_ only
  std::vector<AddedToken> special_, ordinary_;
  std::optional<WordFinder> plain_, rewritten_;
  std::vector<std::int32_t> plain_ids_, rewritten_ids_;
};

}}}  // namespace idefics::v0::detail
