// Text to token ids and back, exactly as transformers' LlamaTokenizerFast does it
// (docs/layers/tokenizer.md): added tokens are split off, the text between them is normalized, and
// byte-pair encoding does the rest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/core/error.hpp>
#include <idefics/core/warning.hpp>
#include <idefics/text/tokenizer_types.hpp>

namespace idefics { inline namespace v0 {

class Processor;

namespace detail {
class DecodeStream;
struct CallArguments;
struct TokenizerState;
}  // namespace detail

struct EncodeOptions {
  bool add_special_tokens = false;  // bos and eos, as configured in tokenizer_config.json
  /// Offsets in the text, ascending: characters around one are never part of the same added token,
  /// so that what looks like a token there is text.
  std::span<const std::size_t> breaks{};
};

struct DecodeOptions {
  bool skip_special_tokens = false;
};

/// Immutable; copies share their state, also between threads.
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
                                        DecodeOptions options = {}) const;

  /// The number of tokens of the model, without added tokens.
  std::int64_t vocab_size() const;
  /// One more than the highest id.
  std::int64_t size() const { return static_cast<std::int64_t>(texts_->size()); }

  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  /// Throws `invalid_token_id`.
  const std::string& id_to_token(std::int32_t id) const;
  /// The text that each token adds in the middle of a text, by id; of a byte token its byte. For
  /// stop_strings.
  std::shared_ptr<const std::vector<std::string>> token_texts() const;

  /// The id of the unknown token for a token without an id. Throw `invalid_tokenizer` if the files do
  /// not name the token.
  std::int32_t bos_id() const { return special_id("bos_token"); }
  std::int32_t eos_id() const { return special_id("eos_token"); }
  std::int32_t unk_id() const { return special_id("unk_token"); }
  std::int32_t pad_id() const { return special_id("pad_token"); }
  /// The content of the token that the files call `name`: "bos_token", or a name of
  /// extra_special_tokens, such as "image_token".
  std::optional<std::string> special_token(std::string_view name) const;
  /// In the order of their ids.
  std::vector<AddedToken> added_tokens() const;
  bool add_bos_token() const;
  bool add_eos_token() const;
  PaddingSide padding_side() const;
  TruncationSide truncation_side() const;
  /// The number of tokens that the model was made for, if the files give it.
  std::optional<std::int64_t> model_max_length() const;

  /// The template of that name; without a name the default, or "" if the files have no template.
  /// Throws `invalid_option` naming the templates if there is no such one.
  const std::string& chat_template(std::string_view name = {}) const;
  std::vector<std::string> chat_template_names() const;

  /// Whether decoding can skip this id. Throws `invalid_token_id`.
  bool is_special(std::int32_t id) const;
  /// Whether the files list this token under their additional special tokens.
  bool has_special(std::string_view token) const;

  /// What was unusual about the files.
  const Warnings& warnings() const;

 private:
  friend class TextDecoder;
  friend class Processor;
  explicit Tokenizer(std::shared_ptr<const detail::TokenizerState> state);

  /// The settings that are defaults of the processor's calls. Throws `invalid_tokenizer` for those
  /// that it cannot follow.
  const detail::CallArguments& call_arguments() const;
  std::size_t checked(std::int32_t id) const;
  std::int32_t special_id(const char* name) const;

  std::shared_ptr<const detail::TokenizerState> state_;
  /// By id; an id that no token has is a null pointer.
  std::shared_ptr<const std::vector<const std::string*>> texts_;
};

/// Turns ids into text one by one. The returned pieces add up to the text of all ids, and none ends
/// within a character: a run of byte tokens is held back until it ends, because only then is it
/// known whether it is valid text, and so is what a later token may still clean up.
class TextDecoder {
 public:
  /// `tokenizer` must outlive the decoder.
  explicit TextDecoder(const Tokenizer& tokenizer, DecodeOptions options = {});

  /// The text that `id` completes, usually its own. Throws `invalid_token_id`.
  std::string push(std::int32_t id);

  /// The text that was held back, after the last id.
  std::string finish();

 private:
  std::string cleaned(std::string text, bool last);

  const Tokenizer& tokenizer_;
  DecodeOptions options_;
  std::shared_ptr<detail::DecodeStream> stream_;
  std::string unclean_;  // text whose cleaning depends on what follows
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/text/tokenizer/loading.hpp>

namespace idefics { inline namespace v0 {

IDEFICS_ENGINE_INLINE Tokenizer Tokenizer::from_pretrained(const std::filesystem::path& directory,
                                                           TokenizerFormat format) {
  return Tokenizer(detail::TokenizerLoader(directory, format).load());
}

IDEFICS_ENGINE_INLINE Tokenizer::Tokenizer(std::shared_ptr<const detail::TokenizerState> state)
    : state_(std::move(state)) {
  std::vector<const std::string*> texts;
  auto set = [&texts](std::int32_t id, const std::string& text) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= texts.size()) texts.resize(at + 1, nullptr);
    texts[at] = &text;
  };
  for (const auto& [text, id] : state_->model->model().ids) set(id, text);
  for (const auto& [id, token] : state_->added.tokens()) set(id, token.content);
  texts_ = std::make_shared<const std::vector<const std::string*>>(std::move(texts));
}

namespace detail {

/// The ids of text between added tokens, after normalization.
inline void encode_piece(const TokenizerState& state, TextPiece piece,
                         std::vector<std::int32_t>& ids) {
  std::vector<TextPiece> pieces;
  pieces.push_back(std::move(piece));
  for (const MetaspaceStep& step : state.pre_tokenizer) {
    std::vector<TextPiece> next;
    for (TextPiece& part : pieces)
      for (TextPiece& cut : pre_tokenized(std::move(part), step)) next.push_back(std::move(cut));
    pieces = std::move(next);
  }
  for (const TextPiece& part : pieces) state.model->encode(part.text, ids);
}

/// Where the breaks of a text are after normalization; nothing if that is not known.
inline std::optional<std::vector<std::size_t>> normalized_breaks(
    std::string_view text, std::span<const std::size_t> breaks, const Normalizer& steps,
    std::size_t size) {
  if (breaks.empty()) return std::vector<std::size_t>();
  const std::size_t prepended = normalized("a", steps).size() - 1;
  std::vector<std::size_t> found;
  std::size_t at = 0, sum = prepended;
  for (const std::size_t place : breaks) {
    sum += normalized(text.substr(at, place - at), steps).size() - prepended;
    found.push_back(sum);
    at = place;
  }
  sum += normalized(text.substr(at), steps).size() - prepended;
  return sum == size ? std::optional(found) : std::nullopt;
}

/// The ids of text between added tokens that match the text as it was given.
inline void encode_text(const TokenizerState& state, std::string_view text, bool at_start,
                        std::span<const std::size_t> breaks, std::vector<std::int32_t>& ids) {
  const std::string rewritten = normalized(text, state.normalizer);
  const auto moved = normalized_breaks(text, breaks, state.normalizer, rewritten.size());
  if (!moved) return encode_piece(state, {rewritten, at_start}, ids);
  for (const auto& [begin, end, id] :
       state.added.split_normalized(rewritten, *moved, state.split_special_tokens))
    if (id)
      ids.push_back(*id);
    else
      encode_piece(state, {rewritten.substr(begin, end - begin), at_start && begin == 0}, ids);
}

}  // namespace detail

IDEFICS_ENGINE_INLINE std::vector<std::int32_t> Tokenizer::encode(std::string_view text,
                                                                  EncodeOptions options) const {
  if (const auto valid = detail::valid_utf8_prefix(text); valid != text.size())
    fail(ErrorCode::invalid_utf8, "the text is not UTF-8", {.offset = valid});
  std::vector<std::int32_t> ids;
  if (options.add_special_tokens && state_->add_bos_token) ids.push_back(bos_id());
  for (const auto& [begin, end, id] :
       state_->added.split(text, options.breaks, state_->split_special_tokens)) {
    if (id) {
      ids.push_back(*id);
      continue;
    }
    std::vector<std::size_t> breaks;
    const auto last = std::ranges::lower_bound(options.breaks, end);
    for (auto at = std::ranges::upper_bound(options.breaks, begin); at < last; ++at)
      breaks.push_back(*at - begin);
    detail::encode_text(*state_, text.substr(begin, end - begin), begin == 0, breaks, ids);
  }
  if (options.add_special_tokens && state_->add_eos_token) ids.push_back(eos_id());
  return ids;
}

IDEFICS_ENGINE_INLINE std::int64_t Tokenizer::vocab_size() const { return state_->model->size(); }

IDEFICS_ENGINE_INLINE std::optional<std::int32_t> Tokenizer::token_to_id(
    std::string_view token) const {
  return state_->added.id(token, *state_->model);
}

IDEFICS_ENGINE_INLINE const std::string& Tokenizer::id_to_token(std::int32_t id) const {
  return *(*texts_)[checked(id)];
}

IDEFICS_ENGINE_INLINE std::shared_ptr<const std::vector<std::string>> Tokenizer::token_texts()
    const {
  auto texts = std::make_shared<std::vector<std::string>>(texts_->size());
  for (std::size_t id = 0; id < texts->size(); ++id)
    if ((*texts_)[id] != nullptr)
      (*texts)[id] = detail::text_within(state_->decoder, *(*texts_)[id]);
  return texts;
}

IDEFICS_ENGINE_INLINE std::optional<std::string> Tokenizer::special_token(
    std::string_view name) const {
  const auto it = state_->special.find(std::string(name));
  return it == state_->special.end() ? std::nullopt : std::optional(it->second);
}

IDEFICS_ENGINE_INLINE std::vector<AddedToken> Tokenizer::added_tokens() const {
  std::vector<AddedToken> tokens;
  for (const auto& [id, token] : state_->added.tokens()) tokens.push_back(token);
  std::ranges::sort(tokens, {}, &AddedToken::id);
  return tokens;
}

IDEFICS_ENGINE_INLINE bool Tokenizer::add_bos_token() const { return state_->add_bos_token; }
IDEFICS_ENGINE_INLINE bool Tokenizer::add_eos_token() const { return state_->add_eos_token; }
IDEFICS_ENGINE_INLINE PaddingSide Tokenizer::padding_side() const { return state_->padding_side; }
IDEFICS_ENGINE_INLINE TruncationSide Tokenizer::truncation_side() const {
  return state_->truncation_side;
}
IDEFICS_ENGINE_INLINE std::optional<std::int64_t> Tokenizer::model_max_length() const {
  return state_->model_max_length;
}
IDEFICS_ENGINE_INLINE const Warnings& Tokenizer::warnings() const { return state_->warnings; }

IDEFICS_ENGINE_INLINE const std::string& Tokenizer::chat_template(std::string_view name) const {
  static const std::string none;
  const detail::ChatTemplates& templates = state_->chat_templates;
  const auto it = templates.find(std::string(name.empty() ? "default" : name));
  if (it != templates.end()) return it->second;
  if (name.empty() && templates.empty()) return none;
  std::string names;
  for (const auto& [known, text] : templates) names += (names.empty() ? "" : ", ") + known;
  fail(ErrorCode::invalid_option,
       name.empty()
           ? "there are several chat templates and none is the default: name one of " + names
           : "there is no chat template of this name, only " +
                 (names.empty() ? "the built-in form" : names),
       {.file = state_->file, .field = "chat_template"});
}

IDEFICS_ENGINE_INLINE std::vector<std::string> Tokenizer::chat_template_names() const {
  std::vector<std::string> names;
  for (const auto& [name, text] : state_->chat_templates) names.push_back(name);
  return names;
}

IDEFICS_ENGINE_INLINE bool Tokenizer::is_special(std::int32_t id) const {
  return state_->added.is_special(id_to_token(id));
}

IDEFICS_ENGINE_INLINE bool Tokenizer::has_special(std::string_view token) const {
  const auto& tokens = state_->additional_special_tokens;
  return std::ranges::find(tokens, token) != tokens.end();
}

IDEFICS_ENGINE_INLINE const detail::CallArguments& Tokenizer::call_arguments() const {
  if (const detail::CallArguments& call = state_->call; !call.refused.empty())
    fail(ErrorCode::invalid_tokenizer, call.why,
         {.file = (std::filesystem::path(state_->file) / "tokenizer_config.json").string(),
          .field = call.refused});
  return state_->call;
}

IDEFICS_ENGINE_INLINE std::size_t Tokenizer::checked(std::int32_t id) const {
  if (id < 0 || id >= size() || (*texts_)[static_cast<std::size_t>(id)] == nullptr)
    fail(ErrorCode::invalid_token_id,
         "token id " + std::to_string(id) + " is not in the vocabulary",
         {.file = state_->file, .limit = static_cast<std::uint64_t>(size())});
  return static_cast<std::size_t>(id);
}

IDEFICS_ENGINE_INLINE std::int32_t Tokenizer::special_id(const char* name) const {
  const auto content = special_token(name), unknown = special_token("unk_token");
  auto id = content ? token_to_id(*content) : std::nullopt;
  if (content && !id && unknown) id = token_to_id(*unknown);  // as for any text without an id
  if (!id)
    fail(ErrorCode::invalid_tokenizer, "the tokenizer has none: set it in tokenizer_config.json",
         {.file = state_->file, .field = name});
  return *id;
}

IDEFICS_ENGINE_INLINE std::vector<std::string> Tokenizer::batch_decode(
    const std::vector<std::vector<std::int32_t>>& rows, DecodeOptions options) const {
  std::vector<std::string> texts;
  texts.reserve(rows.size());
  for (const auto& row : rows) texts.push_back(decode(row, options));
  return texts;
}

IDEFICS_ENGINE_INLINE std::string Tokenizer::decode(std::span<const std::int32_t> ids,
                                                    DecodeOptions options) const {
  TextDecoder decoder(*this, options);
  std::string text;
  for (const std::int32_t id : ids) text += decoder.push(id);
  return text += decoder.finish();
}

IDEFICS_ENGINE_INLINE TextDecoder::TextDecoder(const Tokenizer& tokenizer, DecodeOptions options)
    : tokenizer_(tokenizer),
      options_(options),
      stream_(std::make_shared<detail::DecodeStream>(tokenizer.state_->decoder)) {}

IDEFICS_ENGINE_INLINE std::string TextDecoder::push(std::int32_t id) {
  const std::string& token = tokenizer_.id_to_token(id);
  if (options_.skip_special_tokens && tokenizer_.is_special(id)) return {};
  return cleaned(stream_->push(token), false);
}

IDEFICS_ENGINE_INLINE std::string TextDecoder::finish() { return cleaned(stream_->finish(), true); }

IDEFICS_ENGINE_INLINE std::string TextDecoder::cleaned(std::string text, bool last) {
  if (!tokenizer_.state_->clean_up_tokenization_spaces) return text;
  unclean_ += text;
  const std::size_t end = last ? unclean_.size() : detail::clean_up_boundary(unclean_);
  text = detail::cleaned_up(unclean_.substr(0, end));
  unclean_.erase(0, end);
  return text;
}

}}  // namespace idefics::v0

#endif
