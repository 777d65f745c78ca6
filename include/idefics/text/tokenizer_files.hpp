// The tokenizer files of a checkpoint, in either of two forms, read into one description.
//
//   tokenizer.json                              pieces, merges and added tokens (preferred)
//   tokenizer.model                             the SentencePiece model
//   tokenizer_config.json, special_tokens_map.json, added_tokens.json
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer_description.hpp>

namespace idefics { inline namespace v0 { namespace detail {

// the reference reads it with a strict parser
inline constexpr JsonOptions tokenizer_json_options{
    .bytes = 256u << 20, .depth = 64, .strict = true};
/// Each added token is searched for at every position of a text.
inline constexpr std::size_t max_added_tokens = 4096;

[[noreturn]] inline void refuse_tokenizer(const std::string& file, const std::string& field,
                                          const std::string& why) {
  fail(ErrorCode::invalid_tokenizer, why, {.file = file, .field = field});
}

[[noreturn]] inline void refuse_count(const std::string& file, std::size_t found) {
  fail(ErrorCode::invalid_tokenizer, "too many added tokens",
       {.file = file, .actual = found, .limit = max_added_tokens});
}

/// The value under `key`, or null where the object or the key is missing.
inline const Json& value_or_null(const Json& object, const char* key) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto it = object.find(key);
  return it == object.end() ? null : *it;
}

/// A token given as a string, or as an object with its content.
inline std::optional<std::string> token_content(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  const Json& content = value_or_null(value, "content");
  if (content.is_string()) return content.get<std::string>();
  return std::nullopt;
}

inline bool flag_or(const Json& object, const char* key, bool fallback) {
  const Json& value = value_or_null(object, key);
  return value.is_boolean() ? value.get<bool>() : fallback;
}

inline AddedToken read_added_token(const Json& entry, std::int64_t id, const std::string& file) {
  constexpr std::int64_t max_id = 1 << 24;
  const auto content = token_content(entry);
  if (!content || content->empty() || content->size() > 4096 || id < 0 || id > max_id)
    refuse_tokenizer(file, "added_tokens", "an added token needs content and an id in range");
  if (flag_or(entry, "normalized", false) || flag_or(entry, "single_word", false))
    refuse_tokenizer(
        file, "added_tokens",
        "the token \"" + *content + "\" has normalized or single_word set, which is not supported");
  return {.id = static_cast<std::int32_t>(id),
          .content = *content,
          .lstrip = flag_or(entry, "lstrip", false),
          .rstrip = flag_or(entry, "rstrip", false),
          .special = flag_or(entry, "special", true)};
}

/// Reads the steps around the model: an optional "▁" prefix, spaces to "▁", and back. LLaMA
/// tokenizers have only these; anything else is refused.
inline void read_pipeline(const Json& json, const std::string& file, TokenizerDescription& out) {
  static const Json prepend = Json::parse(R"({"type": "Prepend", "prepend": "▁"})");
  static const Json replace =
      Json::parse(R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})");
  static const Json decoders = Json::parse(R"([
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}])");
  const Json& normalizers = value_or_null(value_or_null(json, "normalizer"), "normalizers");
  out.model.add_dummy_prefix = normalizers.is_array() && normalizers.size() == 2;
  if (normalizers != (out.model.add_dummy_prefix ? Json{prepend, replace} : Json::array({replace})))
    refuse_tokenizer(file, "normalizer", "only LLaMA's normalizer (Prepend, Replace) is supported");
  if (!value_or_null(json, "pre_tokenizer").is_null())
    refuse_tokenizer(file, "pre_tokenizer", "a pre-tokenizer is not supported");
  Json found = value_or_null(value_or_null(json, "decoder"), "decoders");
  out.strip_leading_space = found.is_array() && found.size() == 4;
  if (found.is_array() && !out.strip_leading_space) found.push_back(decoders.back());
  if (found != decoders) refuse_tokenizer(file, "decoder", "only LLaMA's decoder is supported");
}

/// Both sides of a merge concatenated; a merge is a pair, or a string "left right".
inline std::string merged_piece(const Json& merge, const std::string& file) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return merge[0].get<std::string>() + merge[1].get<std::string>();
  if (merge.is_string()) {
    auto text = merge.get<std::string>();
    if (const auto space = text.find(' '); space != std::string::npos) return text.erase(space, 1);
  }
  refuse_tokenizer(file, "model.merges", "a merge is not a pair of pieces");
}

/// Builds the pieces from the vocabulary. The score of a piece is minus the rank of the first merge
/// that makes it, so that the lowest rank in the file is the best score in the library.
inline SentencePieceModel model_from_json(const Json& model, const std::string& file) {
  const Json &type = value_or_null(model, "type"), &vocab = value_or_null(model, "vocab"),
             &merges = value_or_null(model, "merges");
  if (!type.is_string() || type.get<std::string>() != "BPE" || !vocab.is_object() ||
      !merges.is_array() || vocab.empty())
    refuse_tokenizer(file, "model", "expected a BPE model with vocab and merges");
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    if (!value_or_null(model, key).is_null())
      refuse_tokenizer(file, std::string("model.") + key, "not supported");
  SentencePieceModel result{.pieces = std::vector<Piece>(vocab.size()),
                            .byte_fallback = flag_or(model, "byte_fallback", false)};
  const Json& unknown = value_or_null(model, "unk_token");
  std::map<std::string, float, std::less<>> rank;
  for (const Json& merge : merges)
    rank.emplace(merged_piece(merge, file), -static_cast<float>(rank.size()));
  for (const auto& [text, id] : vocab.items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocab.size())
      refuse_tokenizer(file, "model.vocab",
                       "the ids of the pieces are not 0 to " + std::to_string(vocab.size() - 1));
    Piece& piece = result.pieces[id.get<std::size_t>()];
    piece.text = text;
    const auto found = rank.find(text);
    piece.score = found == rank.end() ? 0.0f : found->second;
    if (unknown.is_string() && text == unknown.get<std::string>())
      piece.type = PieceType::unknown;
    else if (result.byte_fallback && byte_of_piece(text) >= 0)
      piece.type = PieceType::byte;
  }
  validate(result, file);
  return result;
}

inline void read_tokenizer_json(const std::filesystem::path& path, TokenizerDescription& out) {
  const Json json = read_json_file(path, tokenizer_json_options);
  const std::string file = path.string();
  out.model = model_from_json(value_or_null(json, "model"), file);
  read_pipeline(json, file, out);
  const Json& added = value_or_null(json, "added_tokens");
  if (!added.is_array()) return;
  if (added.size() > max_added_tokens) refuse_count(file, added.size());
  for (const Json& entry : added) {
    const Json& id = value_or_null(entry, "id");
    out.added.push_back(
        read_added_token(entry, id.is_number_unsigned() ? id.get<std::int64_t>() : -1, file));
  }
}

inline void read_special_tokens(const Json& json, const std::string& file,
                                TokenizerDescription& out) {
  auto take = [&json](const char* key, std::string& target) {
    if (const auto content = token_content(value_or_null(json, key))) target = *content;
  };
  take("bos_token", out.bos), take("eos_token", out.eos), take("unk_token", out.unk),
      take("pad_token", out.pad);
  const Json& additional = value_or_null(json, "additional_special_tokens");
  if (!additional.is_array()) return;
  if (additional.size() > max_added_tokens) refuse_count(file, additional.size());
  for (const Json& token : additional)
    if (const auto content = token_content(token))
      if (std::ranges::find(out.additional_special_tokens, *content) ==
          out.additional_special_tokens.end())
        out.additional_special_tokens.push_back(*content);
}

inline void read_tokenizer_config(const Json& json, const std::string& file,
                                  TokenizerDescription& out, bool with_added) {
  read_special_tokens(json, file, out);
  out.add_bos_token = flag_or(json, "add_bos_token", out.add_bos_token);
  out.add_eos_token = flag_or(json, "add_eos_token", out.add_eos_token);
  if (const Json& side = value_or_null(json, "padding_side"); side.is_string())
    out.padding_side = side.get<std::string>() == "right" ? PaddingSide::right : PaddingSide::left;
  if (const Json& text = value_or_null(json, "chat_template"); text.is_string())
    out.chat_template = text.get<std::string>();
  const Json& added = value_or_null(json, "added_tokens_decoder");
  if (!with_added || !added.is_object()) return;
  if (added.size() > max_added_tokens) refuse_count(file, added.size());
  for (const auto& [key, entry] : added.items()) {
    std::int64_t id = key.empty() || key.size() > 8 ? -1 : 0;
    for (const char c : key) id = id < 0 || c < '0' || c > '9' ? -1 : id * 10 + (c - '0');
    out.added.push_back(read_added_token(entry, id, file));
  }
}

/// Older checkpoints list added tokens only in added_tokens.json, or only as additional special
/// tokens, which then follow the vocabulary in order.
inline void complete_added_tokens(const std::filesystem::path& directory,
                                  TokenizerDescription& out) {
  auto known = [&out](const std::string& content) {
    return std::ranges::find(out.added, content, &AddedToken::content) != out.added.end();
  };
  if (const auto path = directory / "added_tokens.json"; std::filesystem::exists(path)) {
    const Json tokens = read_json_file(path);
    if (tokens.size() > max_added_tokens) refuse_count(path.string(), tokens.size());
    for (const auto& [content, id] : tokens.items())
      if (!known(content))
        out.added.push_back(read_added_token(Json{{"content", content}},
                                             id.is_number_unsigned() ? id.get<std::int64_t>() : -1,
                                             path.string()));
  }
  auto next = static_cast<std::int32_t>(out.model.pieces.size());
  for (const AddedToken& token : out.added) next = std::max(next, token.id + 1);
  for (const std::string& content : out.additional_special_tokens)
    if (!known(content)) out.added.push_back({.id = next++, .content = content});
  for (const std::string& content : {out.unk, out.bos, out.eos, out.pad}) {
    const auto piece = std::ranges::find(out.model.pieces, content, &Piece::text);
    if (!known(content) && piece != out.model.pieces.end())
      out.added.push_back(
          {.id = static_cast<std::int32_t>(piece - out.model.pieces.begin()), .content = content});
  }
}

/// Reads the tokenizer in a directory. Throws `not_a_checkpoint` if there is none, or
/// `invalid_tokenizer`.
inline TokenizerDescription read_tokenizer_files(const std::filesystem::path& directory,
                                                 TokenizerFormat format = TokenizerFormat::any) {
  TokenizerDescription out;
  const auto json = directory / "tokenizer.json", model = directory / "tokenizer.model";
  const bool from_json = format != TokenizerFormat::sentencepiece && std::filesystem::exists(json);
  if (from_json) {
    detail::read_tokenizer_json(json, out);
  } else if (format != TokenizerFormat::json && std::filesystem::exists(model)) {
    out.model = parse_sentencepiece_model(read_text_file(model, 256u << 20), model.string());
  } else {
    fail(ErrorCode::not_a_checkpoint, "the directory has no tokenizer.json and no tokenizer.model",
         {.file = directory.string()});
  }
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const auto path = directory / name;
    if (!std::filesystem::exists(path)) continue;
    const Json config = read_json_file(path, {.bytes = 16u << 20, .depth = 32});
    if (std::string_view(name) == "tokenizer_config.json")
      detail::read_tokenizer_config(config, path.string(), out, !from_json);
    else
      detail::read_special_tokens(config, path.string(), out);
  }
  detail::complete_added_tokens(directory, out);
  return out;
}

}}}  // namespace idefics::v0::detail
