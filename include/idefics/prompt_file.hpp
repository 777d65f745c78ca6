// Prompts as JSON files: items, conversations as Hugging Face's processors and OpenAI's interface
// have them, and the images and texts of the reference's processor (docs/prompts.md).
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <idefics/processor.hpp>

namespace idefics { inline namespace v0 {

struct PromptFileOptions {
  ImageOptions image_options{};                                 // of pictures in files
  ImageOptions url_image_options = ImageOptions::load_image();  // of pictures in conversations
  /// Fetches pictures of conversations; those of other prompts are fetched by the processor.
  std::function<std::vector<std::byte>(const std::string&)> fetch{};
  const Tokenizer* tokenizer = nullptr;  // for conversations: its chat template
  /// Whether strings may have pictures in them: "What is ![](URL) this?".
  bool markdown_pictures = false;
};

/// The prompts of a JSON file. Paths in it are relative to the file. Throws `invalid_prompt` naming
/// the item, and the errors of reading pictures.
IDEFICS_ENGINE_INLINE std::vector<Prompt> read_prompt_file(const std::filesystem::path& file,
                                                           const PromptFileOptions& options = {});

/// The prompts of the text of such a file. `name` is named in errors; paths are relative to its folder.
IDEFICS_ENGINE_INLINE std::vector<Prompt> parse_prompts(std::string_view text,
                                                        const std::filesystem::path& name,
                                                        const PromptFileOptions& options = {});

/// The items of a text with pictures in it: "What is ![](URL) this?".
IDEFICS_ENGINE_INLINE Prompt markdown_prompt(std::string_view text);

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <algorithm>
#include <utility>

#include <idefics/chat.hpp>
#include <idefics/io/base64.hpp>
#include <idefics/io/json.hpp>
#include <idefics/text/markdown_pictures.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// Reads the value of a prompt file. Places in it are named like $[1].messages[0].content.
class PromptReader {
 public:
  PromptReader(const std::filesystem::path& file, const PromptFileOptions& options)
      : file_(file), options_(options) {}

  std::vector<Prompt> read(const Json& json) const {
    if (json.is_object() && json.contains("messages"))
      return {conversation(member(json, "messages", "$"), "$.messages")};
    if (json.is_object() && (json.contains("text") || json.contains("images"))) return pairs(json);
    if (!json.is_array())
      refuse("$",
             "a prompt is an array of items, {\"messages\": …} or {\"images\": …, \"text\": …}");
    const bool is_batch = !json.empty() && (json.front().is_array() || has_messages(json.front()));
    if (!is_batch) return {prompt(json, "$")};
    std::vector<Prompt> batch;
    for (std::size_t i = 0; i < json.size(); ++i) batch.push_back(row(json[i], indexed("$", i)));
    return batch;
  }

 private:
  [[noreturn]] void refuse(const std::string& where, const std::string& why) const {
    fail(ErrorCode::invalid_prompt, why, {.file = file_.string(), .field = where});
  }
  static std::string indexed(const std::string& where, std::size_t i) {
    return where + "[" + std::to_string(i) + "]";
  }
  static bool has_messages(const Json& json) {
    return json.is_object() && json.contains("messages");
  }
  /// The only member of an object.
  const Json& member(const Json& json, const char* name, const std::string& where) const {
    for (const auto& [key, value] : json.items())
      if (key != name)
        refuse(where + "." + key.substr(0, 200), std::string("nothing but ") + name + " is read");
    return json.at(name);
  }
  std::string string_at(const Json& json, const std::string& where) const {
    if (!json.is_string()) refuse(where, "this must be a string");
    return json.get<std::string>();
  }

  Prompt row(const Json& json, const std::string& where) const {
    if (has_messages(json))
      return conversation(member(json, "messages", where), where + ".messages");
    if (!json.is_array()) refuse(where, "a prompt must be an array of items");
    return prompt(json, where);
  }

  /// An array of items, or of messages.
  Prompt prompt(const Json& json, const std::string& where) const {
    if (!json.empty() && json.front().is_object() && json.front().contains("role"))
      return conversation(json, where);
    Prompt prompt;
    for (std::size_t i = 0; i < json.size(); ++i) add_item(json[i], indexed(where, i), prompt);
    return prompt;
  }

  void add_item(const Json& item, const std::string& where, Prompt& prompt) const {
    if (item.is_string()) return add_string(item.get<std::string>(), prompt);
    if (!item.is_object() || item.size() != 1 || !item.begin()->is_string())
      refuse(where, "an item must be a string, {\"image\": …} or {\"text\": …}");
    const auto value = item.begin()->get<std::string>();
    if (item.begin().key() == "text") return prompt.push_back(PromptItem::text(value));
    if (item.begin().key() != "image")
      refuse(where, "an item must be a string, {\"image\": …} or {\"text\": …}");
    prompt.push_back(picture(value, where));
  }
  void add_string(const std::string& text, Prompt& prompt) const {
    if (!options_.markdown_pictures) return prompt.emplace_back(text), void();
    for (PromptItem& item : markdown_prompt(text)) prompt.push_back(std::move(item));
  }

  /// What a string refers to that can only be a picture: a URL, a file, or base64.
  PromptItem picture(const std::string& value, const std::string& where) const {
    const auto first = value.find_first_not_of(" \t\r\n");
    const std::string stripped = first == std::string::npos ? "" : value.substr(first);
    if (is_url(stripped) || is_data_url(stripped)) return PromptItem::image_url(stripped);
    if (value.find('\0') != std::string::npos) refuse(where, "a path contains a zero byte");
    constexpr std::size_t longest_name = 255;
    const bool long_enough = value.size() > longest_name;
    const auto path = file_.parent_path() / value;
    std::error_code ignored;
    if (!long_enough && std::filesystem::exists(path, ignored)) return open(path);
    const bool digits = std::ranges::all_of(
        value, [](char c) { return base64_digit(c) >= 0 || c == '=' || is_base64_space(c); });
    if (!digits || (long_enough && std::filesystem::exists(path, ignored))) return open(path);
    try {
      return base64(value, where);
    } catch (const Error&) {
      if (long_enough) throw;
    }
    return open(path);  // which names what does not exist
  }
  PromptItem open(const std::filesystem::path& path) const {
    return Image::open(path, options_.image_options);
  }
  PromptItem base64(const std::string& value, const std::string& where) const {
    const std::string name = "base64 of " + file_.string();
    try {
      const auto bytes = decode_base64(
          value,
          {.name = name.c_str(), .max_bytes = options_.url_image_options.limits.max_file_bytes});
      return Image::decode(bytes, name, options_.url_image_options);
    } catch (const Error& error) {
      ErrorContext context = error.context();
      context.field = where;
      const std::string what = error.what();
      // a fault in base64 is not one of fetching
      const bool encoded = error.code() == ErrorCode::fetch_failed;
      fail(encoded ? ErrorCode::invalid_image : error.code(), what.substr(0, what.find(" [file: ")),
           std::move(context));
    }
  }

  /// {"images": …, "text": …}, as the reference pairs them: a picture precedes its text, and a list
  /// of pictures follows it.
  std::vector<Prompt> pairs(const Json& json) const {
    for (const auto& [key, value] : json.items())
      if (key != "images" && key != "text")
        refuse("$." + key.substr(0, 200), "nothing but images and text is read");
    if (!json.contains("text")) refuse("$", "images need a text for each");
    JsonDocument one_text, one_image;
    const Json& texts = as_list(json.at("text"), "$.text", one_text);
    if (!json.contains("images") || json.at("images").is_null()) return read(texts);
    const Json& images = as_list(json.at("images"), "$.images", one_image);
    if (texts.size() != images.size())
      refuse("$.images", std::to_string(images.size()) + " images for " +
                             std::to_string(texts.size()) +
                             " texts: for several images of one text, nest them as [[…], …]");
    std::vector<Prompt> batch;
    const bool nested = !images.empty() && images.front().is_array();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      Prompt& prompt = batch.emplace_back();
      const auto add_text = [&] { add_string(string_at(texts[i], indexed("$.text", i)), prompt); };
      const std::string where = indexed("$.images", i);
      if (nested != images[i].is_array()) refuse(where, "either all images are lists, or none is");
      if (nested) add_text();
      for (std::size_t j = 0; nested && j < images[i].size(); ++j)
        prompt.push_back(picture(string_at(images[i][j], indexed(where, j)), indexed(where, j)));
      if (!nested) prompt.push_back(picture(string_at(images[i], where), where)), add_text();
    }
    return batch;
  }

  /// A list, or `one`, which becomes a list of this string.
  const Json& as_list(const Json& value, const std::string& where, JsonDocument& one) const {
    if (value.is_array()) return value;
    *one = Json::array();
    one->push_back(string_at(value, where));
    return *one;
  }

  Prompt conversation(const Json& json, const std::string& where) const {
    if (!json.is_array() || json.empty()) refuse(where, "messages must be an array of them");
    std::vector<ChatMessage> messages;
    for (std::size_t i = 0; i < json.size(); ++i)
      messages.push_back(message(json[i], indexed(where, i)));
    if (options_.tokenizer == nullptr)
      refuse(where, "messages need a tokenizer, for its chat template");
    return chat_prompt(messages, *options_.tokenizer);
  }

  ChatMessage message(const Json& json, const std::string& where) const {
    if (!json.is_object()) refuse(where, "a message is {\"role\": …, \"content\": …}");
    for (const auto& [key, value] : json.items())
      if (key != "role" && key != "content")
        refuse(where + "." + key.substr(0, 200), "nothing but role and content is read");
    if (!json.contains("role") || !json.contains("content"))
      refuse(where, "a message is {\"role\": …, \"content\": …}");
    ChatMessage message{.role = string_at(json.at("role"), where + ".role")};
    const Json& content = json.at("content");
    const std::string place = where + ".content";
    if (content.is_string()) return message.text = content.get<std::string>(), message;
    if (!content.is_array()) refuse(place, "content is a string, or an array of parts");
    for (std::size_t i = 0; i < content.size(); ++i)
      add_part(content[i], indexed(place, i), message);
    return message;
  }

  /// {"type": "text", …}, {"type": "image", …} or {"type": "image_url", …}.
  void add_part(const Json& part, const std::string& where, ChatMessage& message) const {
    if (part.is_string()) return message.text += part.get<std::string>(), void();
    if (!part.is_object() || !part.contains("type")) refuse(where, "a part has a type");
    const std::string type = string_at(part.at("type"), where + ".type");
    if (type == "text" || type == "input_text") {
      if (!part.contains("text")) refuse(where, "a part of type text has a text");
      message.text += string_at(part.at("text"), where + ".text");
      return;
    }
    if (type != "image" && type != "image_url" && type != "input_image")
      refuse(where + ".type", "a part is of type text, image or image_url");
    for (const char* key : {"image_url", "url", "path", "image", "base64"}) {
      if (!part.contains(key)) continue;
      std::string place = where + "." + key;
      const Json* value = &part.at(key);
      if (value->is_object() && value->contains("url")) value = &value->at("url"), place += ".url";
      const std::string text = string_at(*value, place);
      message.pictures.push_back(
          loaded(std::string_view(key) == "base64" ? base64(text, place) : picture(text, place)));
      return;
    }
    refuse(where, "a picture has a url, path, image, base64 or image_url");
  }
  Image loaded(const PromptItem& item) const {
    if (item.image() != nullptr) return *item.image();
    const std::string& url = item.string();
    return Image::decode(options_.fetch ? options_.fetch(url) : fetch_url(url),
                         url_without_secrets(url), options_.url_image_options);
  }

  const std::filesystem::path& file_;
  const PromptFileOptions& options_;
};

}  // namespace detail

IDEFICS_ENGINE_INLINE std::vector<Prompt> read_prompt_file(const std::filesystem::path& file,
                                                           const PromptFileOptions& options) {
  const detail::JsonDocument document = detail::read_document(file);
  return detail::PromptReader(file, options).read(*document);
}

IDEFICS_ENGINE_INLINE std::vector<Prompt> parse_prompts(std::string_view text,
                                                        const std::filesystem::path& name,
                                                        const PromptFileOptions& options) {
  const detail::JsonDocument document = detail::parse_document(text, name.string());
  return detail::PromptReader(name, options).read(*document);
}

IDEFICS_ENGINE_INLINE Prompt markdown_prompt(std::string_view text) {
  Prompt prompt;
  for (MarkdownPart& part : split_markdown_pictures(text))
    prompt.push_back(part.is_url ? PromptItem::image_url(std::move(part.text))
                                 : PromptItem::text(std::move(part.text)));
  return prompt;
}

}}  // namespace idefics::v0

#endif
