// Text to token ids and back, exactly as transformers' LlamaTokenizerFast with `legacy` does it:
// added tokens are split off first; every non-empty piece between them is prefixed with "▁", its
// spaces become "▁", and byte-pair encoding with byte fallback does the rest
// (docs/layers/tokenizer.md).
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <idefics/text/tokenizer_description.hpp>
#include <idefics/text/utf8.hpp>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace idefics { inline namespace v0 {

struct EncodeOptions {
  bool add_special_tokens = false;  // bos and eos, as configured in tokenizer_config.json
};

struct DecodeOptions {
  bool skip_special_tokens = false;
};

class Tokenizer {
 public:
  /// Reads the tokenizer files of a directory. Throws `not_a_checkpoint` or `invalid_tokenizer`.
  static Tokenizer from_pretrained(const std::filesystem::path& directory,
                                   TokenizerFormat format = TokenizerFormat::any);

  /// Ids of a text. Throws `invalid_utf8` naming the offset of the first bad byte.
  std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options = {}) const;

  /// Text of ids. Throws `invalid_token_id`.
  std::string decode(std::span<const std::int32_t> ids, DecodeOptions options = {}) const;

  std::vector<std::string> batch_decode(const std::vector<std::vector<std::int32_t>>& rows,
                                        DecodeOptions options = {}) const {
    std::vector<std::string> texts;
    texts.reserve(rows.size());
    for (const auto& row : rows) texts.push_back(decode(row, options));
    return texts;
  }

  /// The number of pieces of the model, without added tokens.
  std::int64_t vocab_size() const { return std::ssize(description_.model.pieces); }
  /// One more than the highest id.
  std::int64_t size() const { return std::ssize(texts_); }

  std::optional<std::int32_t> token_to_id(std::string_view token) const {
    const auto it = ids_.find(std::string(token));
    return it == ids_.end() ? std::nullopt : std::optional(it->second);
  }
  const std::string& id_to_token(std::int32_t id) const { return texts_[checked(id)]; }
  /// The text that each token adds in the middle of a text, by id; of a byte token its byte. For
  /// stop_strings.
  std::shared_ptr<const std::vector<std::string>> token_texts() const;

  std::int32_t bos_id() const { return required(description_.bos); }
  std::int32_t eos_id() const { return required(description_.eos); }
  std::int32_t unk_id() const { return required(description_.unk); }
  std::int32_t pad_id() const { return required(description_.pad); }
  std::span<const AddedToken> added_tokens() const { return description_.added; }
  PaddingSide padding_side() const { return description_.padding_side; }
  /// Whether decoding removes one leading space.
  bool strips_leading_space() const { return description_.strip_leading_space; }
  const std::string& chat_template() const { return description_.chat_template; }

  /// Whether decoding can skip this id.
  bool is_special(std::int32_t id) const { return special_[checked(id)]; }
  /// Whether the files list this token under their additional special tokens.
  bool has_special(std::string_view token) const {
    return std::ranges::find(description_.additional_special_tokens, token) !=
           description_.additional_special_tokens.end();
  }

 private:
  Tokenizer(TokenizerDescription description, std::string file);

  struct Match {
    std::size_t begin, end;
    const AddedToken* token;
  };
  std::optional<Match> next_added_token(std::string_view text, std::size_t from) const;
  void encode_piece(std::string_view piece, std::vector<std::int32_t>& ids) const;
  std::size_t checked(std::int32_t id) const;
  std::int32_t required(const std::string& token) const;

  TokenizerDescription description_;
  std::string file_;
  std::shared_ptr<sentencepiece::SentencePieceProcessor> pieces_;
  std::string first_bytes_;         // of added tokens
  std::vector<std::string> texts_;  // by id
  std::vector<bool> special_;       // by id
  std::unordered_map<std::string, std::int32_t> ids_;
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <sentencepiece_processor.h>

#include <idefics/text/tokenizer_files.hpp>

namespace idefics { inline namespace v0 {

IDEFICS_ENGINE_INLINE Tokenizer Tokenizer::from_pretrained(const std::filesystem::path& directory,
                                                           TokenizerFormat format) {
  return Tokenizer(detail::read_tokenizer_files(directory, format), directory.string());
}

IDEFICS_ENGINE_INLINE Tokenizer::Tokenizer(TokenizerDescription description, std::string file)
    : description_(std::move(description)),
      file_(std::move(file)),
      pieces_(std::make_shared<sentencepiece::SentencePieceProcessor>()) {
  const auto status = pieces_->LoadFromSerializedProto(detail::serialize(description_.model));
  if (!status.ok())
    fail(ErrorCode::invalid_tokenizer, "SentencePiece rejects the model: " + status.ToString(),
         {.file = file_});
  for (const detail::Piece& piece : description_.model.pieces) texts_.push_back(piece.text);
  constexpr std::size_t max_gap = 1 << 16;
  for (const AddedToken& token : description_.added) {
    const auto id = static_cast<std::size_t>(token.id);
    if (id >= description_.model.pieces.size() + max_gap)
      fail(ErrorCode::invalid_tokenizer,
           "the id of \"" + token.content + "\" is far beyond the vocabulary",
           {.file = file_, .actual = id, .limit = description_.model.pieces.size() + max_gap});
    if (id >= texts_.size()) texts_.resize(id + 1);
    texts_[id] = token.content;
  }
  for (const AddedToken& token : description_.added) first_bytes_.push_back(token.content[0]);
  special_.resize(texts_.size(), false);
  for (const AddedToken& token : description_.added)
    special_[static_cast<std::size_t>(token.id)] = token.special;
  for (std::size_t id = 0; id < texts_.size(); ++id)
    ids_.emplace(texts_[id], static_cast<std::int32_t>(id));
  for (const std::string& token :
       {description_.bos, description_.eos, description_.unk, description_.pad})
    (void)required(token);
}

IDEFICS_ENGINE_INLINE std::vector<std::int32_t> Tokenizer::encode(std::string_view text,
                                                                  EncodeOptions options) const {
  if (const auto valid = detail::valid_utf8_prefix(text); valid != text.size())
    fail(ErrorCode::invalid_utf8, "the text is not UTF-8", {.offset = valid});
  std::vector<std::int32_t> ids;
  if (options.add_special_tokens && description_.add_bos_token) ids.push_back(bos_id());
  std::size_t at = 0;
  while (const auto match = next_added_token(text, at)) {
    encode_piece(text.substr(at, match->begin - at), ids);
    ids.push_back(match->token->id);
    at = match->end;
  }
  encode_piece(text.substr(at), ids);
  if (options.add_special_tokens && description_.add_eos_token) ids.push_back(eos_id());
  return ids;
}

/// The first added token at or after `from`; of several at one position, the longest.
IDEFICS_ENGINE_INLINE std::optional<Tokenizer::Match> Tokenizer::next_added_token(
    std::string_view text, std::size_t from) const {
  std::optional<Match> best;
  // one pass over the text that examines only the positions of a token's first byte
  for (std::size_t at = from;
       !best && (at = text.find_first_of(first_bytes_, at)) != std::string_view::npos; ++at)
    for (const AddedToken& token : description_.added)
      if (text.substr(at).starts_with(token.content) &&
          (!best || at + token.content.size() > best->end))
        best = Match{at, at + token.content.size(), &token};
  if (best && best->token->lstrip)
    while (best->begin > from && text[best->begin - 1] == ' ') --best->begin;
  if (best && best->token->rstrip)
    while (best->end < text.size() && text[best->end] == ' ') ++best->end;
  return best;
}

/// The library adds the "▁" prefix and turns spaces into "▁", as the serialized model specifies.
IDEFICS_ENGINE_INLINE void Tokenizer::encode_piece(std::string_view piece,
                                                   std::vector<std::int32_t>& ids) const {
  if (piece.empty()) return;
  std::vector<int> found;
  const auto status = pieces_->Encode(piece, &found);
  if (!status.ok())
    fail(ErrorCode::invalid_tokenizer, "SentencePiece cannot encode: " + status.ToString(),
         {.file = file_});
  ids.insert(ids.end(), found.begin(), found.end());
}

}}  // namespace idefics::v0

#endif

namespace idefics { inline namespace v0 {

namespace detail {

/// Appends a piece with every "▁" turned into a space.
inline void append_piece(std::string& text, std::string_view piece) {
  constexpr std::string_view underline = "▁";
  for (std::size_t at = 0; at < piece.size();) {
    const bool space = piece.substr(at).starts_with(underline);
    text.push_back(space ? ' ' : piece[at]);
    at += space ? underline.size() : 1;
  }
}

}  // namespace detail

inline std::shared_ptr<const std::vector<std::string>> Tokenizer::token_texts() const {
  auto texts = std::make_shared<std::vector<std::string>>(texts_.size());
  for (std::size_t id = 0; id < texts_.size(); ++id) {
    const int byte = detail::byte_of_piece(texts_[id]);
    if (byte >= 0)
      (*texts)[id].push_back(static_cast<char>(byte));
    else
      detail::append_piece((*texts)[id], texts_[id]);
  }
  return texts;
}

/// Turns ids into text one by one. The returned pieces add up to the text of all ids, and none ends
/// within a character: a run of byte tokens is held back until it ends, because only then is it
/// known whether it is valid text.
class TextDecoder {
 public:
  /// `tokenizer` must outlive the decoder.
  explicit TextDecoder(const Tokenizer& tokenizer, DecodeOptions options = {})
      : tokenizer_(tokenizer), options_(options), at_start_(tokenizer.strips_leading_space()) {}

  /// The text that `id` completes, usually its own. Throws `invalid_token_id`.
  std::string push(std::int32_t id) {
    const std::string& token = tokenizer_.id_to_token(id);
    if (options_.skip_special_tokens && tokenizer_.is_special(id)) return {};
    if (const int byte = detail::byte_of_piece(token); byte >= 0) {
      bytes_.push_back(static_cast<char>(byte));
      return {};
    }
    std::string text = take_bytes();
    detail::append_piece(text, token);
    return without_first_space(std::move(text));
  }

  /// The text that was held back, after the last id.
  std::string finish() { return without_first_space(take_bytes()); }

 private:
  /// A run of bytes is text if it is valid as a whole; otherwise every byte becomes one U+FFFD.
  std::string take_bytes() {
    std::string text = std::exchange(bytes_, {});
    if (detail::valid_utf8_prefix(text) == text.size()) return text;
    std::string replaced;
    for (std::size_t i = 0; i < text.size(); ++i) replaced += "\xEF\xBF\xBD";
    return replaced;
  }
  std::string without_first_space(std::string text) {
    if (text.empty()) return text;
    if (std::exchange(at_start_, false) && text.starts_with(' ')) text.erase(0, 1);
    return text;
  }

  const Tokenizer& tokenizer_;
  DecodeOptions options_;
  std::string bytes_;  // the run of byte tokens not yet turned into text
  bool at_start_;      // no text yet: one leading space is still to be removed
};

inline std::string Tokenizer::decode(std::span<const std::int32_t> ids,
                                     DecodeOptions options) const {
  TextDecoder decoder(*this, options);
  std::string text;
  for (const std::int32_t id : ids) text += decoder.push(id);
  return text += decoder.finish();
}

inline std::size_t Tokenizer::checked(std::int32_t id) const {
  if (id < 0 || id >= size() || texts_[static_cast<std::size_t>(id)].empty())
    fail(ErrorCode::invalid_token_id,
         "token id " + std::to_string(id) + " is not in the vocabulary",
         {.file = file_, .limit = static_cast<std::uint64_t>(size())});
  return static_cast<std::size_t>(id);
}

inline std::int32_t Tokenizer::required(const std::string& token) const {
  const auto id = token_to_id(token);
  if (!id)
    fail(ErrorCode::invalid_tokenizer,
         "the special token \"" + token + "\" is not in the vocabulary", {.file = file_});
  return *id;
}

}}  // namespace idefics::v0
