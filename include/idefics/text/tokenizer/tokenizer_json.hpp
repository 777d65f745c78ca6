// tokenizer.json: a BPE model, the steps around it, and added tokens. What the reference's fast
// tokenizers know beyond LLaMA's (other models, other steps) is refused by name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer/bpe.hpp>
#include <idefics/text/tokenizer/decoder.hpp>
#include <idefics/text/tokenizer/steps.hpp>
#include <idefics/text/tokenizer_types.hpp>

namespace idefics { inline namespace v0 { namespace detail {

// the reference reads it with a strict parser
inline constexpr JsonOptions tokenizer_json_options{
    .bytes = 256u << 20, .depth = 64, .strict = true};
/// Ids of tokens, and the bytes of one of them.
inline constexpr std::int64_t max_token_id = 1 << 24;
inline constexpr std::size_t max_token_bytes = 4096;

[[noreturn]] inline void refuse_tokenizer(const std::string& file, const std::string& field,
                                          const std::string& why) {
  fail(ErrorCode::invalid_tokenizer, why, {.file = file, .field = field});
}

/// A text in quotes, cut after `most` bytes.
inline std::string in_quotes(std::string_view text, std::size_t most = 64) {
  std::string result(1, '"');
  return result.append(text.substr(0, most)).append(1, '"');
}

inline const Json& null_json() {
  static const Json null;
  return null;
}

/// The value under `key`, or null where the object or the key is missing.
inline const Json& value_or_null(const Json& object, std::string_view key) {
  if (!object.is_object()) return null_json();
  const auto it = object.find(key);
  return it == object.end() ? null_json() : *it;
}

/// Reads the members of one object with their types; errors name the key path.
class JsonFields {
 public:
  JsonFields(const Json& object, std::string file, std::string path)
      : object_(object), file_(std::move(file)), path_(std::move(path)) {
    if (!object.is_object()) refuse("", "must be an object");
  }

  const std::string& file() const { return file_; }
  std::string path(std::string_view key) const {
    return key.empty() ? path_ : path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  }
  const Json& value(std::string_view key) const { return value_or_null(object_, key); }

  std::string text(std::string_view key) const {
    if (!value(key).is_string()) refuse(key, "must be a string");
    return value(key).get<std::string>();
  }
  /// `fallback` for an absent key or, if that is given, null.
  bool flag(std::string_view key, std::optional<bool> fallback = std::nullopt) const {
    if (fallback && value(key).is_null()) return *fallback;
    if (!value(key).is_boolean()) refuse(key, "must be true or false");
    return value(key).get<bool>();
  }
  std::int64_t integer(std::string_view key, std::int64_t most) const {
    const Json& number = value(key);
    if (!number.is_number_unsigned() ||
        number.get<std::uint64_t>() > static_cast<std::uint64_t>(most))
      refuse(key, "must be an integer from 0 to " + std::to_string(most));
    return number.get<std::int64_t>();
  }
  /// A text of exactly one character.
  std::string character(std::string_view key) const {
    std::string text = this->text(key);
    if (text.empty() || first_character(text).bytes != text.size())
      refuse(key, "must be one character");
    return text;
  }
  [[noreturn]] void refuse(std::string_view key, const std::string& why) const {
    refuse_tokenizer(file_, path(key), why);
  }

 private:
  const Json& object_;
  std::string file_, path_;
};

/// What a tokenizer.json says, or what the reference makes of a tokenizer.model.
struct TokenizerParts {
  BpeModel model{};
  Normalizer normalizer{};
  std::vector<MetaspaceStep> pre_tokenizer{};
  Decoder decoder{};
  std::vector<AddedToken> added{};       // in the order of the file
  JsonDocument truncation{}, padding{};  // null, or settings for calls that transformers takes over
};

/// Calls read(fields, type) for a step, or in order for each step of a sequence of them.
template <class F>
void read_steps(const Json& step, const std::string& file, const std::string& path,
                const char* list, const F& read) {
  if (step.is_null()) return;
  const JsonFields fields(step, file, path);
  const std::string type = fields.text("type");
  if (type != "Sequence") return read(fields, type);
  const Json& steps = fields.value(list);
  if (!steps.is_array()) fields.refuse(list, "must be a list");
  for (std::size_t i = 0; i < steps.size(); ++i)
    read_steps(steps[i], file, path + "." + list + "[" + std::to_string(i) + "]", list, read);
}

[[noreturn]] inline void refuse_step(const JsonFields& fields, const std::string& type,
                                     const char* known) {
  fields.refuse("type", in_quotes(type, 100) +
                            " is not supported here; tokenizers of LLaMA's kind have " +
                            std::string(known));
}

inline ReplaceStep read_replace(const JsonFields& fields) {
  const Json& pattern = fields.value("pattern");
  if (!pattern.is_object() || !pattern.contains("String") || !pattern["String"].is_string() ||
      pattern["String"].get_ref<const std::string&>().empty())
    fields.refuse("pattern", "only a String that is not empty is supported as a pattern");
  return {pattern["String"].get<std::string>(), fields.text("content")};
}

inline MetaspaceStep read_metaspace(const JsonFields& fields) {
  MetaspaceStep step{.replacement = fields.character("replacement"),
                     .scheme = PrependScheme::always,
                     .split = fields.flag("split", true)};
  if (!fields.value("prepend_scheme").is_null()) {
    const std::string scheme = fields.text("prepend_scheme");
    if (scheme != "always" && scheme != "first" && scheme != "never")
      fields.refuse("prepend_scheme", "must be always, first or never");
    step.scheme = scheme == "first"   ? PrependScheme::first
                  : scheme == "never" ? PrependScheme::never
                                      : PrependScheme::always;
  }
  if (!fields.flag("add_prefix_space", true) && step.scheme != PrependScheme::never)
    fields.refuse("add_prefix_space", "contradicts prepend_scheme, which must be never");
  return step;
}

inline void read_normalizer_step(const JsonFields& fields, const std::string& type,
                                 Normalizer& normalizer) {
  if (type == "Prepend")
    normalizer.emplace_back(PrependStep{fields.text("prepend")});
  else if (type == "Replace")
    normalizer.emplace_back(read_replace(fields));
  else if (type == "Strip")
    normalizer.emplace_back(StripStep{fields.flag("strip_left"), fields.flag("strip_right")});
  else
    refuse_step(fields, type, "Prepend, Replace, Strip and sequences of them");
}

inline void read_decoder_step(const JsonFields& fields, const std::string& type, Decoder& decoder) {
  constexpr std::int64_t most = 1 << 20;
  if (type == "Replace")
    decoder.emplace_back(read_replace(fields));
  else if (type == "ByteFallback")
    decoder.emplace_back(ByteFallbackStep{});
  else if (type == "Fuse")
    decoder.emplace_back(FuseStep{});
  else if (type == "Metaspace")
    decoder.emplace_back(read_metaspace(fields));
  else if (type == "Strip")
    decoder.emplace_back(StripTokenStep{fields.character("content"),
                                        static_cast<std::size_t>(fields.integer("start", most)),
                                        static_cast<std::size_t>(fields.integer("stop", most))});
  else
    refuse_step(fields, type,
                "Replace, ByteFallback, Fuse, Strip, Metaspace and sequences of them");
}

/// Both sides of a merge: a pair, or a string "left right".
inline std::pair<std::string, std::string> sides_of_merge(const Json& merge,
                                                          const std::string& file) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const auto space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos)
      return {text.substr(0, space), text.substr(space + 1)};
  }
  refuse_tokenizer(file, "model.merges", "a merge is not a pair of tokens");
}

inline void read_vocabulary(const JsonFields& fields, BpeModel& model) {
  const Json& vocabulary = fields.value("vocab");
  if (!vocabulary.is_object() || vocabulary.empty())
    fields.refuse("vocab", "must be an object with at least one token");
  const auto most = static_cast<std::uint64_t>(vocabulary.size()) + (1 << 16);
  std::vector<bool> taken(static_cast<std::size_t>(most));
  model.ids.reserve(vocabulary.size());
  for (const auto& [text, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= most)
      fields.refuse("vocab", "the id of " + in_quotes(text) + " must be from 0 to " +
                                 std::to_string(most - 1));
    if (text.size() > max_token_bytes)
      fields.refuse("vocab", "the token " + in_quotes(text) + "... is longer than 4096 bytes");
    if (taken[id.get<std::size_t>()])
      fields.refuse("vocab", "the id of " + in_quotes(text) + " is that of another token");
    taken[id.get<std::size_t>()] = true;
    model.ids.emplace(text, id.get<std::int32_t>());
  }
}

inline void read_merges(const JsonFields& fields, BpeModel& model) {
  const Json& merges = fields.value("merges");
  if (!merges.is_array()) fields.refuse("merges", "must be a list");
  auto id_of = [&](const std::string& text) {
    const auto it = model.ids.find(text);
    if (it == model.ids.end())
      fields.refuse("merges", in_quotes(text) + " is not in the vocabulary");
    return it->second;
  };
  model.merges.reserve(merges.size());
  for (const Json& merge : merges) {
    if (merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) continue;
    const auto [left, right] = sides_of_merge(merge, fields.file());
    model.merges.push_back({id_of(left), id_of(right), id_of(left + right)});
  }
}

inline BpeModel read_bpe_model(const Json& json, const std::string& file) {
  const JsonFields fields(json, file, "model");
  if (!fields.value("type").is_null() && fields.text("type") != "BPE")
    fields.refuse("type", in_quotes(fields.text("type"), 100) +
                              " is not supported: tokenizers of LLaMA's kind are BPE");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const Json& text = fields.value(key); !text.is_null() && !is_text(text, ""))
      fields.refuse(key, "is not supported");
  if (const Json& dropout = fields.value("dropout"); !dropout.is_null() && dropout != 0.0)
    fields.refuse("dropout", "makes ids random, which is not supported");
  BpeModel model{.fuse_unk = fields.flag("fuse_unk", false),
                 .byte_fallback = fields.flag("byte_fallback", false),
                 .ignore_merges = fields.flag("ignore_merges", false)};
  if (!fields.value("unk_token").is_null()) model.unk_token = fields.text("unk_token");
  read_vocabulary(fields, model);
  read_merges(fields, model);
  return model;
}

inline std::vector<AddedToken> read_added_tokens(const Json& list, const std::string& file) {
  std::vector<AddedToken> tokens;
  if (!list.is_array()) refuse_tokenizer(file, "added_tokens", "must be a list");
  tokens.reserve(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const JsonFields fields(list[i], file, "added_tokens[" + std::to_string(i) + "]");
    tokens.push_back({.id = static_cast<std::int32_t>(
                          fields.integer("id", std::numeric_limits<std::int32_t>::max())),
                      .content = fields.text("content"),
                      .single_word = fields.flag("single_word"),
                      .lstrip = fields.flag("lstrip"),
                      .rstrip = fields.flag("rstrip"),
                      .normalized = fields.flag("normalized"),
                      .special = fields.flag("special")});
  }
  return tokens;
}

/// Takes what it needs as it is out of the document.
inline TokenizerParts read_tokenizer_json(JsonDocument document, const std::string& file) {
  Json& json = *document;
  const JsonFields fields(json, file, "");
  if (!fields.value("version").is_null() && fields.text("version") != "1.0")
    fields.refuse("version", "must be 1.0");
  TokenizerParts parts;
  read_steps(fields.value("normalizer"), file, "normalizer", "normalizers",
             [&](const JsonFields& step, const std::string& type) {
               read_normalizer_step(step, type, parts.normalizer);
             });
  read_steps(fields.value("pre_tokenizer"), file, "pre_tokenizer", "pretokenizers",
             [&](const JsonFields& step, const std::string& type) {
               if (type != "Metaspace") refuse_step(step, type, "Metaspace or none");
               parts.pre_tokenizer.push_back(read_metaspace(step));
             });
  if (fields.value("decoder").is_null()) parts.decoder.emplace_back(JoinBySpacesStep{});
  read_steps(fields.value("decoder"), file, "decoder", "decoders",
             [&](const JsonFields& step, const std::string& type) {
               read_decoder_step(step, type, parts.decoder);
             });
  parts.model = read_bpe_model(fields.value("model"), file);
  if (json.contains("added_tokens")) parts.added = read_added_tokens(json["added_tokens"], file);
  for (const auto& [key, part] :
       {std::pair{"truncation", &parts.truncation}, {"padding", &parts.padding}})
    if (const auto found = json.find(key); found != json.end()) (*part)->swap(*found);
  return parts;
}

}}}  // namespace idefics::v0::detail
