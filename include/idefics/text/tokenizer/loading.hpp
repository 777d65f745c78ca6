// A tokenizer as the reference's LlamaTokenizerFast has it after loading: from tokenizer.json, or
// converted from tokenizer.model, with the added tokens and settings of the other files. Source:
// PreTrainedTokenizerFast.__init__, LlamaTokenizerFast, LlamaTokenizer.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include <idefics/text/tokenizer/arguments.hpp>
#include <idefics/text/tokenizer/call_arguments.hpp>
#include <idefics/text/tokenizer/sentencepiece_merges.hpp>
#include <idefics/text/tokenizer/state.hpp>

namespace idefics { inline namespace v0 { namespace detail {

class TokenizerLoader {
 public:
  TokenizerLoader(std::filesystem::path directory, TokenizerFormat format)
      : directory_(std::move(directory)), state_(std::make_shared<TokenizerState>()) {
    state_->file = directory_.string();
    const auto json = directory_ / "tokenizer.json", model = directory_ / "tokenizer.model";
    has_json_ = format != TokenizerFormat::sentencepiece && std::filesystem::exists(json);
    has_model_ = format != TokenizerFormat::json && std::filesystem::exists(model);
    if (!has_json_ && !has_model_)
      fail(ErrorCode::not_a_checkpoint,
           "the directory has no tokenizer.json and no tokenizer.model", {.file = state_->file});
  }

  /// Throws `invalid_tokenizer` and the errors of reading files.
  std::shared_ptr<const TokenizerState> load() {
    if (has_json_) {
      const auto path = directory_ / "tokenizer.json";
      parts_ = read_tokenizer_json(read_document(path, tokenizer_json_options), path.string());
    }
    arguments_ = read_arguments(directory_, has_json_ ? &parts_ : nullptr);
    refuse_arguments();
    read_legacy();
    converted_ = !has_json_ || wants_conversion();
    if (converted_) convert();
    take_settings_of_json();
    collect_special_tokens();
    check_counts();
    build_vocabulary();
    read_settings();
    return state_;
  }

 private:
  const Json& value(const char* key) const { return value_or_null(arguments_, key); }
  [[noreturn]] void refuse(const std::string& key, const std::string& why) const {
    const auto it = arguments_.origin.find(key);
    refuse_tokenizer(it == arguments_.origin.end() ? arguments_.file : it->second, key, why);
  }
  void warn(const std::string& key, const std::string& message) {
    const auto it = arguments_.origin.find(key);
    state_->warnings.add(
        {message, it == arguments_.origin.end() ? arguments_.file : it->second, key});
  }

  /// Arguments that would make the reference read other files or other objects.
  void refuse_arguments() const {
    for (const char* key : {"gguf_file", "tokenizer_object"})
      if (arguments_.values.contains(key)) refuse(key, "is not supported: remove the key");
    for (const char* key : {"vocab_file", "tokenizer_file"})
      if (!value(key).is_null())
        refuse(key, "files are read from the checkpoint's own directory only: remove the key");
    if (arguments_.values.contains("vocab_file") && !has_json_)
      refuse("vocab_file", "null hides tokenizer.model: remove the key");
    if (const Json& inputs = value("init_inputs"); arguments_.values.contains("init_inputs") &&
                                                   !is_text(inputs, "") &&
                                                   !is_empty_container(inputs))
      refuse("init_inputs", "is not supported: remove the key");
    if (arguments_.values.contains("fast_tokenizer_files")) {
      const Json& names = value("fast_tokenizer_files");
      const bool plain =
          is_empty_container(names) || is_text(names, "") ||
          (names.is_array() && names.size() == 1 && is_text(names[0], "tokenizer.json"));
      if (!plain) refuse("fast_tokenizer_files", "only tokenizer.json is read: remove the key");
    }
    if (arguments_.values.contains("add_special_tokens"))
      refuse("add_special_tokens", "is the name of a method, and no setting: remove the key");
  }

  void read_legacy() { legacy_ = value("legacy").is_null() || counts_as_true(value("legacy")); }

  /// Whether the reference converts tokenizer.model although there is a tokenizer.json.
  bool wants_conversion() const {
    const bool hidden = arguments_.values.contains("tokenizer_file");  // null
    return hidden || !value("add_prefix_space").is_null() || counts_as_true(value("from_slow"));
  }

  /// LlamaConverter.
  void convert() {
    if (const Json& options = value("sp_model_kwargs"); !options.is_null() && !options.is_object())
      refuse("sp_model_kwargs", "must be an object");
    if (!has_model_)
      refuse(value("add_prefix_space").is_null() ? "from_slow" : "add_prefix_space",
             "needs a tokenizer.model, from which the reference then makes the tokenizer: add that "
             "file or remove the key");
    const auto path = directory_ / "tokenizer.model";
    const std::string file = path.string();
    const SentencePieceModel pieces =
        parse_sentencepiece_model(read_text_file(path, 64u << 20), file);
    for (const std::string& setting : pieces.ignored)
      state_->warnings.add({"as in the reference, this setting is ignored", file, setting});
    if (pieces.pieces.size() < 3)
      refuse_tokenizer(file, "", "the model has fewer than three pieces");
    std::array<std::string, 3> names;
    for (std::size_t id = 0; id < names.size(); ++id) {
      const auto it = arguments_.added.find(static_cast<std::int64_t>(id));
      const bool renamed = !has_json_ && it != arguments_.added.end();
      names[id] = renamed ? it->second.content : pieces.pieces[id].text;
    }
    // a key that is absent counts as null if the conversion was asked for beside a tokenizer.json
    const bool prefix = arguments_.values.contains("add_prefix_space")
                            ? counts_as_true(value("add_prefix_space"))
                            : !has_json_;
    if (!prefix && value("add_prefix_space").is_null())
      warn("add_prefix_space", "as in the reference, texts get no \"▁\" in front");
    parts_ = {.model = bpe_from_sentencepiece(pieces, names, file)};
    set_converted_steps(prefix);
    for (const Piece& piece : pieces.pieces)
      if (piece.type == PieceType::control || piece.type == PieceType::user_defined)
        parts_.added.push_back(
            {.content = piece.text, .special = piece.type == PieceType::control});
  }

  void set_converted_steps(bool prefix) {
    if (legacy_) {
      if (prefix) parts_.normalizer.emplace_back(PrependStep{"▁"});
      parts_.normalizer.emplace_back(ReplaceStep{" ", "▁"});
    } else {
      parts_.pre_tokenizer.push_back(
          {.scheme = prefix ? PrependScheme::first : PrependScheme::never, .split = false});
    }
    parts_.decoder = {ReplaceStep{"▁", " "}, ByteFallbackStep{}, FuseStep{}};
    if (prefix) parts_.decoder.emplace_back(StripTokenStep{.content = " ", .start = 1});
  }

  /// tokenizer.json's settings for each call count where tokenizer_config.json has none.
  void take_settings_of_json() {
    auto set = [this](const char* key, const Json& value) {
      if (value.is_null() || arguments_.values.contains(key)) return;
      if (is_special_token_key(key))
        arguments_.special.try_emplace(key, &value);
      else
        arguments_.values[key] = &value;
    };
    auto side = [this](const Json& direction) -> const Json& {
      const bool left = is_text(direction, "Left");
      if (!left && !is_text(direction, "Right")) return null_json();
      return arguments_.keep(JsonDocument(left ? "left" : "right"));
    };
    set("truncation_side", side(value_or_null(*parts_.truncation, "direction")));
    set("pad_token", value_or_null(*parts_.padding, "pad_token"));
    set("padding_side", side(value_or_null(*parts_.padding, "direction")));
    set("pad_to_multiple_of", value_or_null(*parts_.padding, "pad_to_multiple_of"));
  }

  /// The special tokens by name, and in the order in which the reference adds them.
  void collect_special_tokens() {
    for (const auto& [key, text] :
         {std::pair{"unk_token", "<unk>"}, {"bos_token", "<s>"}, {"eos_token", "</s>"}})
      if (!arguments_.special.contains(key))
        arguments_.special.emplace(key, &arguments_.keep(JsonDocument(text)));
    for (const std::string key : special_token_keys) {
      const auto it = arguments_.special.find(key);
      if (it != arguments_.special.end() && !is_none(it->second)) name_special(key, it->second);
    }
    if (const Json* list = arguments_.additional_json;
        list != nullptr && !list->is_null() && !arguments_.additional)
      refuse("additional_special_tokens", "must be a list");
    for (const SpecialValue& token : arguments_.additional.value_or(std::vector<SpecialValue>{})) {
      check_special("additional_special_tokens", token);
      state_->additional_special_tokens.push_back(*content_of(token));
      specials_.push_back({token, true});
      settle(specials_.back().value);
    }
    read_extra_special_tokens();
  }

  /// A copy of the reference's makes up its mind: `normalized` no longer follows `special`.
  void settle(SpecialValue& value) const {
    auto* token = std::get_if<TokenArgument>(&value);
    if (converted_ && token != nullptr) token->normalized = token->token().normalized;
  }

  /// The entry of added_tokens_decoder that is the same object as a special token.
  void settle_added(const std::string& content) {
    TokenArgument* last = nullptr;
    for (auto& [id, token] : arguments_.added)
      if (token.content == content) last = &token;
    if (last == nullptr) return;
    last->normalized = last->token().normalized;
    last->special = true;
  }

  void name_special(const std::string& key, SpecialValue value) {
    check_special(key, value);
    settle(value);
    const std::string content = *content_of(value);
    if (has_json_ && converted_ && std::holds_alternative<TokenArgument>(value))
      settle_added(content);
    constexpr std::array typed{"bos_token", "eos_token", "unk_token", "pad_token"};
    if (converted_ && std::holds_alternative<const Json*>(value) &&
        std::ranges::find(typed, key) != typed.end())
      value = TokenArgument{.content = content, .special = true, .normalized = false};
    state_->special[key] = content;
    specials_.push_back({std::move(value)});
  }

  void check_special(const std::string& key, const SpecialValue& value) const {
    const auto content = content_of(value);
    if (!content)
      refuse(key, "a token must be a string, or an object with \"__type\": \"AddedToken\"");
    if (content->size() > max_token_bytes) refuse(key, "a token is longer than 4096 bytes");
  }

  /// Further names for tokens. Those that are new get ids in the order of the names, which is the
  /// order of the file if the reference wrote it.
  void read_extra_special_tokens() {
    const std::string key = "extra_special_tokens";
    const Json& extra = value(key.c_str());
    if (!arguments_.values.contains(key)) return;
    if (!extra.is_object()) refuse(key, "must be an object");
    for (const auto& [name, json] : extra.items()) {
      if (is_special_token_key(name) || name == "additional_special_tokens")
        refuse(key, in_quotes(name) + " has a key of its own");
      SpecialValue value = &json;
      convert_typed(value, arguments_.file, key);
      check_special(key, value);
      state_->special[name] = *content_of(value);
      specials_.push_back({std::move(value)});
    }
  }

  void check_counts() const {
    constexpr std::size_t most_tokens = 1 << 17, most_bytes = 8u << 20;
    std::size_t tokens = parts_.added.size() + arguments_.added.size() + specials_.size(),
                bytes = 0;
    for (const AddedToken& token : parts_.added) bytes += token.content.size();
    for (const auto& [id, token] : arguments_.added) bytes += token.content.size();
    for (const auto& [value, in_list] : specials_) bytes += content_of(value)->size();
    if (tokens > most_tokens)
      fail(ErrorCode::invalid_tokenizer, "too many added tokens",
           {.file = state_->file, .actual = tokens, .limit = most_tokens});
    if (bytes > most_bytes)
      fail(ErrorCode::invalid_tokenizer, "the added tokens are too long in total",
           {.file = state_->file, .actual = bytes, .limit = most_bytes});
  }

  /// The model with its own added tokens, then those of the other files, then special tokens.
  void build_vocabulary() {
    state_->model.emplace(std::move(parts_.model));
    state_->normalizer = std::move(parts_.normalizer);
    state_->pre_tokenizer = std::move(parts_.pre_tokenizer);
    state_->decoder = std::move(parts_.decoder);
    const Bpe& model = *state_->model;
    state_->added.add(parts_.added, model);
    state_->added.add(tokens_to_add(), model);
    warn_of_moved_tokens();
    state_->added.prepare(model, state_->normalizer);
  }

  /// Special tokens without those of an earlier name. Within the list of additional ones, all count.
  std::vector<SpecialValue> distinct_specials() const {
    std::vector<SpecialValue> distinct;
    std::unordered_set<std::string> seen, of_list;
    for (const auto& [value, in_list] : specials_) {
      const std::string content = *content_of(value);
      if (content.empty() && !in_list) continue;
      if (!in_list) seen.merge(std::exchange(of_list, {}));
      if (seen.contains(content)) continue;
      (in_list ? of_list : seen).insert(content);
      distinct.push_back(value);
    }
    return distinct;
  }

  /// What PreTrainedTokenizerFast adds: the tokens of the other files, whether known or not, and
  /// special tokens that are new. One that is an AddedToken is new if no other file has it.
  std::vector<AddedToken> tokens_to_add() const {
    std::unordered_set<std::string> special, known;
    for (const auto& [value, in_list] : specials_) special.insert(*content_of(value));
    for (const auto& [id, token] : state_->added.tokens()) known.insert(token.content);
    std::set<AddedTokenKey> listed;
    std::vector<TokenArgument> list;
    for (const auto& [id, token] : arguments_.added) {
      list.push_back(token);
      listed.insert(key_of(token.token())), known.insert(token.content);
    }
    for (const SpecialValue& value : distinct_specials()) {
      const std::string content = *content_of(value);
      const auto* token = std::get_if<TokenArgument>(&value);
      if (token == nullptr ? !known.contains(content) : !listed.contains(key_of(token->token())))
        list.push_back(token == nullptr ? TokenArgument{.content = content} : *token);
    }
    std::vector<AddedToken> tokens;
    tokens.reserve(list.size());
    for (TokenArgument& token : list) {
      token.special = token.special || special.contains(token.content);
      tokens.push_back(token.token());
    }
    return tokens;
  }

  /// As in the reference, a file cannot choose the id of a token that the model lacks.
  void warn_of_moved_tokens() {
    for (const auto& [wanted, token] : arguments_.added)
      if (const auto id = state_->added.id(token.content, *state_->model); id && *id != wanted)
        state_->warnings.add({"as in the reference, the token " + in_quotes(token.content) +
                                  " has the id " + std::to_string(*id) + ", not " +
                                  std::to_string(wanted),
                              arguments_.file, "added_tokens_decoder"});
  }

  void read_settings() {
    TokenizerState& s = *state_;
    s.add_bos_token = argument_is_true(arguments_, "add_bos_token", true);
    s.add_eos_token = argument_is_true(arguments_, "add_eos_token", false);
    if (const Json& split = value("split_special_tokens"); split.is_boolean())
      s.split_special_tokens = split.get<bool>();
    else if (arguments_.values.contains("split_special_tokens"))
      refuse("split_special_tokens", "must be true or false");
    s.clean_up_tokenization_spaces =
        argument_is_true(arguments_, "clean_up_tokenization_spaces", false);
    if (s.add_bos_token) check_template_token("add_bos_token", "bos_token");
    if (s.add_eos_token) check_template_token("add_eos_token", "eos_token");
    s.padding_side = is_left("padding_side", true) ? PaddingSide::left : PaddingSide::right;
    s.truncation_side =
        is_left("truncation_side", false) ? TruncationSide::left : TruncationSide::right;
    read_model_max_length();
    s.chat_templates = read_chat_templates(directory_, value("chat_template"), arguments_.file);
    check_tokenizer_class();
    s.call = read_call_arguments(arguments_);
  }

  /// bos and eos are written into a template whose parts are separated by spaces and colons.
  void check_template_token(const char* option, const char* key) const {
    const auto it = state_->special.find(key);
    if (it == state_->special.end())
      refuse(key, std::string("must be set while ") + option + " is true");
    if (it->second.starts_with('$') || it->second.find_first_of(" :") != std::string::npos)
      refuse(key, std::string("while ") + option +
                      " is true, must not begin with \"$\", or have spaces or colons");
  }

  bool is_left(const char* key, bool fallback) const {
    if (!arguments_.values.contains(key)) return fallback;
    const bool left = is_text(value(key), "left");
    if (!left && !is_text(value(key), "right")) refuse(key, "must be left or right");
    return left;
  }

  void read_model_max_length() {
    const bool has = arguments_.values.contains("model_max_length");
    const char* key = has ? "model_max_length" : "max_len";
    const Json& length = value(key);
    constexpr double none_from = 1e18;  // the reference writes 1e30 for none
    if (length.is_null()) return;
    const auto number = python_number(length);
    if (!number || !(*number >= 0))
      return warn(key, "is not a number of at least 0, and counts as none");
    if (*number < none_from) state_->model_max_length = static_cast<std::int64_t>(*number);
  }

  void check_tokenizer_class() {
    const Json& name = value("tokenizer_class");
    if (name.is_null()) return;
    if (!name.is_string()) refuse("tokenizer_class", "must be a string");
    if (!is_text(name, "LlamaTokenizer") && !is_text(name, "LlamaTokenizerFast"))
      warn("tokenizer_class", "the tokenizer is loaded as a LlamaTokenizerFast");
  }

  std::filesystem::path directory_;
  std::shared_ptr<TokenizerState> state_;
  bool has_json_ = false, has_model_ = false;
  bool legacy_ = true, converted_ = false;
  TokenizerParts parts_;
  TokenizerArguments arguments_;
  struct Special {
    SpecialValue value;
    bool in_list = false;  // one of additional_special_tokens
  };
  std::vector<Special> specials_;  // in the order of the reference
};

}}}  // namespace idefics::v0::detail
