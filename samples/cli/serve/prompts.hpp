// The prompts of requests: OpenAI's messages, and this project's prompts of texts and pictures. A
// picture is an http, https or data: URL and never a path: clients must not read the server's files.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <idefics/io/url.hpp>

#include "cli/serve/fields.hpp"

namespace cli::serve {

struct PictureSource {
  std::string url, where;  // where: its place in the request
};

struct Message {
  std::string role, text;
  std::vector<PictureSource> pictures;  // before the text, as the checkpoints learned it
};

/// A text, or a picture if it has a URL.
struct PromptPart {
  std::string text;
  PictureSource picture;
};
using PromptParts = std::vector<PromptPart>;

/// A URL, or an object like {"url": …, "detail": …}.
inline PictureSource picture_source(const idefics::Json& value, std::string where) {
  if (value.is_object()) {
    Fields fields(value, where);
    const idefics::Json url = fields.at("url");
    fields.skip("detail");
    fields.finish();
    return picture_source(url, fields.place("url"));
  }
  if (!value.is_string()) refuse(where, "must be a URL");
  const auto text = value.get<std::string>();
  const auto first = text.find_first_not_of(" \t\r\n");
  std::string url = first == std::string::npos ? "" : text.substr(first);
  if (!idefics::is_url(url) && !idefics::is_data_url(url))
    refuse(where, "must be an http, https or data: URL");
  return {std::move(url), std::move(where)};
}

/// One picture, or an array of them.
inline std::vector<PictureSource> picture_sources(const idefics::Json& value,
                                                  const std::string& where) {
  if (!value.is_array()) return {picture_source(value, where)};
  if (value.empty()) refuse(where, "is empty");
  std::vector<PictureSource> list;
  for (std::size_t i = 0; i < value.size(); ++i)
    list.push_back(picture_source(value[i], indexed(where, i)));
  return list;
}

/// {"type": "text", "text": …} or {"type": "image_url", "image_url": …}; also {"text": …} and
/// {"image": …}, as in prompt files.
inline PromptPart read_part(const idefics::Json& part, const std::string& where) {
  Fields fields(part, where);
  std::string type = fields.text("type");
  const bool has_text = fields.find("text") != nullptr;
  if (type.empty()) type = has_text ? "text" : "image";
  PromptPart result;
  if (type == "text" || type == "input_text") {
    if (!has_text) refuse(fields.place("text"), "is missing");
    result.text = fields.text("text");
  } else if (type == "image_url" || type == "input_image" || type == "image") {
    const idefics::Json* source = nullptr;
    std::string name;
    for (const char* key : {"image_url", "image", "url"})
      if (const idefics::Json* found = fields.find(key); found != nullptr && source == nullptr)
        source = found, name = key;
    if (source == nullptr) refuse(fields.place("image_url"), "is missing");
    fields.skip("detail");
    result.picture = picture_source(*source, fields.place(name));
  } else {
    refuse(fields.place("type"), "must be text or image_url");
  }
  fields.finish();
  return result;
}

inline Message read_message(const idefics::Json& json, const std::string& where) {
  Fields fields(json, where);
  Message message{.role = fields.text("role"), .text = {}, .pictures = {}};
  if (message.role == "developer") message.role = "system";
  if (message.role != "system" && message.role != "user" && message.role != "assistant")
    refuse(fields.place("role"), "must be system, developer, user or assistant");
  const idefics::Json& content = fields.at("content");
  const std::string place = fields.place("content");
  if (content.is_string()) {
    message.text = content.get<std::string>();
  } else {
    if (!content.is_array()) refuse(place, "must be a string or an array of parts");
    for (std::size_t i = 0; i < content.size(); ++i) {
      PromptPart part = read_part(content[i], indexed(place, i));
      message.text += part.text;
      if (!part.picture.url.empty()) message.pictures.push_back(std::move(part.picture));
    }
  }
  for (const char* without_effect : {"name", "refusal", "annotations"}) fields.skip(without_effect);
  for (const char* unsupported : {"tool_calls", "function_call", "audio"})
    if (const idefics::Json* value = fields.find(unsupported); value != nullptr && !value->empty())
      refuse(fields.place(unsupported), "is not supported");
  fields.finish();
  return message;
}

inline std::vector<Message> read_messages(const idefics::Json& json) {
  if (!json.is_array() || json.empty()) refuse("messages", "must be an array of messages");
  std::vector<Message> messages;
  for (std::size_t i = 0; i < json.size(); ++i)
    messages.push_back(read_message(json[i], indexed("messages", i)));
  return messages;
}

/// An array of texts and pictures. A string is a text or, if it is a URL, the picture there.
inline PromptParts read_prompt_parts(const idefics::Json& json, const std::string& where) {
  PromptParts parts;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string place = indexed(where, i);
    if (json[i].is_number()) refuse(place, "token ids are not supported: send the text");
    if (!json[i].is_string()) {
      parts.push_back(read_part(json[i], place));
      continue;
    }
    const auto text = json[i].get<std::string>();
    const auto begin = text.find_first_not_of(' '), end = text.find_last_not_of(' ');
    const std::string stripped =
        begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
    if (idefics::is_url(stripped))
      parts.push_back({.text = {}, .picture = {stripped, place}});
    else
      parts.push_back({.text = text, .picture = {}});
  }
  return parts;
}

/// A text; several texts, each a prompt, as OpenAI defines it; a prompt of texts and pictures, of
/// which at least one is an object; or several such prompts.
inline std::vector<PromptParts> read_prompts(const idefics::Json& json) {
  const std::string where = "prompt";
  if (json.is_string()) return {{{.text = json.get<std::string>(), .picture = {}}}};
  if (!json.is_array() || json.empty()) refuse(where, "must be a string or an array");
  std::size_t lists = 0, strings = 0;
  for (const idefics::Json& entry : json) {
    lists += entry.is_array() ? 1u : 0u;
    strings += entry.is_string() ? 1u : 0u;
  }
  if (lists == 0 && strings < json.size()) return {read_prompt_parts(json, where)};
  std::vector<PromptParts> prompts;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string place = indexed(where, i);
    if (lists == 0)
      prompts.push_back({{.text = json[i].get<std::string>(), .picture = {}}});
    else if (json[i].is_array())
      prompts.push_back(read_prompt_parts(json[i], place));
    else
      refuse(place, "either all prompts are arrays, or none is");
  }
  return prompts;
}

}  // namespace cli::serve
