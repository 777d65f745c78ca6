// The arguments with which the reference constructs a tokenizer: tokenizer_config.json, merged with
// the older special_tokens_map.json and added_tokens.json where it still reads those. Source:
// PreTrainedTokenizerBase._from_pretrained.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer/tokenizer_json.hpp>
#include <idefics/text/tokenizer_types.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Names of special tokens, in the order in which the reference adds them to the vocabulary.
inline constexpr std::array special_token_keys{"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};

inline bool is_special_token_key(std::string_view key) {
  return std::ranges::find(special_token_keys, key) != special_token_keys.end();
}

/// The reference's AddedToken, as constructed from JSON: `normalized` may be left to `special`.
struct TokenArgument {
  std::string content{};
  bool single_word = false, lstrip = false, rstrip = false, special = false;
  std::optional<bool> normalized{};

  AddedToken token() const {
    return {.content = content,
            .single_word = single_word,
            .lstrip = lstrip,
            .rstrip = rstrip,
            .normalized = normalized.value_or(!special),
            .special = special};
  }
};

/// A special token: JSON as found, or an AddedToken.
using SpecialValue = std::variant<const Json*, TokenArgument>;

/// The text of a token; of JSON that is not a string none.
inline std::optional<std::string> content_of(const SpecialValue& value) {
  if (const auto* token = std::get_if<TokenArgument>(&value)) return token->content;
  const Json& json = *std::get<const Json*>(value);
  return json.is_string() ? std::optional(json.get<std::string>()) : std::nullopt;
}

inline bool is_none(const SpecialValue& value) {
  return std::holds_alternative<const Json*>(value) && std::get<const Json*>(value)->is_null();
}

struct TokenizerArguments {
  std::map<std::string, const Json*, std::less<>> values;  // all other keys
  std::map<std::string, SpecialValue> special;             // absent: not given
  std::optional<std::vector<SpecialValue>> additional;
  const Json* additional_json = nullptr;        // if it is not a list
  std::map<std::int64_t, TokenArgument> added;  // by the id that the files give
  std::map<std::string, std::string> origin;    // the file that has the last word on a key
  std::string file;                             // tokenizer_config.json
  std::list<JsonDocument> documents;            // which the pointers lead into

  const Json& keep(JsonDocument document) { return *documents.emplace_back(std::move(document)); }
};

inline const Json& value_or_null(const TokenizerArguments& arguments, std::string_view key) {
  const auto found = arguments.values.find(key);
  return found == arguments.values.end() ? null_json() : *found->second;
}

/// AddedToken(**object).
inline TokenArgument read_token_argument(const Json& object, const std::string& file,
                                         const std::string& path) {
  const JsonFields fields(object, file, path);
  TokenArgument token;
  if (!fields.value("content").is_null()) token.content = fields.text("content");
  if (token.content.size() > max_token_bytes)
    fields.refuse("content", "a token is longer than 4096 bytes");
  auto flag = [&](const char* key, bool& target) {
    if (object.contains(key)) target = fields.flag(key);
  };
  flag("single_word", token.single_word), flag("lstrip", token.lstrip);
  flag("rstrip", token.rstrip), flag("special", token.special);
  if (object.contains("normalized")) token.normalized = fields.flag("normalized");
  return token;
}

/// The keys of a JSON object that contains tokens by id, as Python's int() would read them.
inline std::int64_t token_id(const std::string& text, const std::string& file,
                             const std::string& field) {
  std::int64_t id = text.empty() || text.size() > 10 ? -1 : 0;
  for (const char c : text) id = id < 0 || c < '0' || c > '9' ? -1 : id * 10 + (c - '0');
  if (id < 0) refuse_tokenizer(file, field, in_quotes(text) + " is not an id");
  return id;
}

inline JsonDocument read_object_file(const std::filesystem::path& path) {
  JsonDocument json = read_document(path, {.bytes = 16u << 20, .depth = 32});
  if (!json->is_object()) refuse_tokenizer(path.string(), "", "must be an object");
  return json;
}

/// Sets one key as the reference's dict of arguments would. `value` is one that `arguments` keeps.
inline void set_argument(TokenizerArguments& arguments, const std::string& key, const Json& value,
                         const std::string& file) {
  arguments.origin[key] = file;
  if (is_special_token_key(key)) {
    arguments.special.insert_or_assign(key, &value);
  } else if (key == "additional_special_tokens") {
    arguments.additional.reset();
    arguments.additional_json = &value;
    if (value.is_array()) {
      arguments.additional.emplace();
      for (const Json& token : value) arguments.additional->emplace_back(&token);
    }
  } else {
    arguments.values[key] = &value;
  }
}

/// added_tokens_decoder of tokenizer_config.json.
inline void read_added_tokens_decoder(TokenizerArguments& arguments) {
  constexpr const char* key = "added_tokens_decoder";
  const Json& decoder = value_or_null(arguments, key);
  if (!decoder.is_object()) refuse_tokenizer(arguments.file, key, "must be an object");
  for (const auto& [id, token] : decoder.items()) {
    const std::string field = key + ("." + id.substr(0, 64));
    const auto [it, fresh] = arguments.added.emplace(
        token_id(id, arguments.file, field), read_token_argument(token, arguments.file, field));
    if (!fresh) refuse_tokenizer(arguments.file, field, "the id is given twice");
  }
}

/// special_tokens_map.json, which older checkpoints need. Any key of it overrides
/// tokenizer_config.json, except that lists of additional tokens are joined.
inline void merge_special_tokens_map(const std::filesystem::path& path,
                                     TokenizerArguments& arguments,
                                     std::optional<std::string>& last_token) {
  const std::string file = path.string();
  const Json& map = arguments.keep(read_object_file(path));
  for (const auto& [key, value] : map.items()) {
    auto token = [&](const Json& json, const std::string& field) -> SpecialValue {
      if (!json.is_object()) return &json;
      TokenArgument argument = read_token_argument(json, file, field);
      argument.special = true;
      return argument;
    };
    if (key != "additional_special_tokens" || !value.is_array()) {
      set_argument(arguments, key, value, file);
      if (is_special_token_key(key)) arguments.special.insert_or_assign(key, token(value, key));
      continue;
    }
    auto list = arguments.additional.value_or(std::vector<SpecialValue>{});
    std::unordered_set<std::string> known;  // strings only: an AddedToken equals none of them
    for (const SpecialValue& entry : list)
      if (std::holds_alternative<const Json*>(entry)) known.insert(content_of(entry).value_or(""));
    for (std::size_t i = 0; i < value.size(); ++i) {
      SpecialValue entry = token(value[i], key + "[" + std::to_string(i) + "]");
      last_token = content_of(entry);
      const bool is_text = value[i].is_string();
      if (!is_text || known.insert(value[i].get<std::string>()).second)
        list.push_back(std::move(entry));
    }
    arguments.origin[key] = file;
    arguments.additional = std::move(list);
  }
}

/// added_tokens.json: ids by content, special if they are special tokens by then. Returns the last.
inline std::optional<TokenArgument> merge_added_tokens_file(const std::filesystem::path& path,
                                                            TokenizerArguments& arguments) {
  std::optional<TokenArgument> last;
  std::unordered_set<std::string> special;
  for (const auto& [key, value] : arguments.special)
    if (const auto content = content_of(value)) special.insert(*content);
  for (const SpecialValue& value : arguments.additional.value_or(std::vector<SpecialValue>{}))
    if (const auto content = content_of(value)) special.insert(*content);
  const JsonDocument tokens = read_object_file(path);
  for (const auto& [content, id] : tokens->items()) {
    const std::string field = content.substr(0, 64);
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > INT32_MAX)
      refuse_tokenizer(path.string(), field, "must be an id");
    if (content.size() > max_token_bytes)
      refuse_tokenizer(path.string(), field, "a token is longer than 4096 bytes");
    const bool is_special = special.contains(content);
    last = {.content = content, .special = is_special, .normalized = !is_special};
    if (!arguments.added.emplace(id.get<std::int64_t>(), *last).second)
      refuse_tokenizer(path.string(), field, "the id is given twice");
  }
  return last;
}

/// {"__type": "AddedToken", ...} in tokenizer_config.json.
inline void convert_typed(SpecialValue& value, const std::string& file, const std::string& field) {
  const auto* json = std::get_if<const Json*>(&value);
  if (json != nullptr && is_text(value_or_null(**json, "__type"), "AddedToken"))
    value = read_token_argument(**json, file, field);
}

inline void finish_arguments(TokenizerArguments& arguments,
                             const std::map<std::string, TokenArgument>& by_content) {
  for (auto& [key, value] : arguments.special) {
    convert_typed(value, arguments.origin[key], key);
    if (const auto content = content_of(value))
      if (const auto it = by_content.find(*content); it != by_content.end()) value = it->second;
  }
  if (arguments.additional)
    for (SpecialValue& value : *arguments.additional)
      convert_typed(value, arguments.origin["additional_special_tokens"],
                    "additional_special_tokens");
}

/// What the reference still reads where tokenizer_config.json has no added_tokens_decoder. Returns
/// the tokens by content, as it looks up special tokens in them.
inline std::map<std::string, TokenArgument> merge_older_files(
    const std::filesystem::path& directory, const TokenizerParts* parts,
    TokenizerArguments& arguments) {
  std::map<std::string, TokenArgument> by_content;
  std::optional<std::string> last_token = "None";
  const auto map = directory / "special_tokens_map.json", added = directory / "added_tokens.json";
  if (std::filesystem::exists(map)) merge_special_tokens_map(map, arguments, last_token);
  if (std::filesystem::exists(added)) {
    // a slip of the reference: it files these under a name that another loop has left
    const auto last = merge_added_tokens_file(added, arguments);
    if (last && last_token) by_content.insert_or_assign(*last_token, *last);
  }
  if (parts == nullptr) return by_content;
  for (const AddedToken& token : parts->added) {
    const TokenArgument argument{token.content, token.single_word, token.lstrip,
                                 token.rstrip,  token.special,     token.normalized};
    arguments.added.insert_or_assign(token.id, argument);
    by_content.insert_or_assign(token.content, argument);
  }
  return by_content;
}

/// `parts`: tokenizer.json, if there is one. Throws `invalid_tokenizer`.
inline TokenizerArguments read_arguments(const std::filesystem::path& directory,
                                         const TokenizerParts* parts) {
  TokenizerArguments arguments;
  const auto config = directory / "tokenizer_config.json";
  arguments.file = config.string();
  if (std::filesystem::exists(config))
    for (const auto& [key, value] : arguments.keep(read_object_file(config)).items())
      set_argument(arguments, key, value, arguments.file);
  std::map<std::string, TokenArgument> by_content;
  if (arguments.values.contains("added_tokens_decoder")) {
    read_added_tokens_decoder(arguments);
    for (const auto& [id, token] : arguments.added)
      by_content.insert_or_assign(token.content, token);
  } else {
    by_content = merge_older_files(directory, parts, arguments);
  }
  finish_arguments(arguments, by_content);
  return arguments;
}

}}}  // namespace idefics::v0::detail
