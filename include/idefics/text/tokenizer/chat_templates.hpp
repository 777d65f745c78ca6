// Where chat templates are: files of their own, which have precedence, or tokenizer_config.json.
// Source: PreTrainedTokenizerBase.from_pretrained and ProcessorMixin.get_processor_dict.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include <idefics/io/directory.hpp>
#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer/steps.hpp>
#include <idefics/text/tokenizer/tokenizer_json.hpp>

namespace idefics { inline namespace v0 { namespace detail {

using ChatTemplates = std::map<std::string, std::string>;  // by name; "default" is used if none is

inline constexpr std::uint64_t max_template_bytes = 1 << 20;
inline constexpr std::size_t max_templates = 64;

/// A file of text, read as Python does: every line end is "\n".
inline std::string read_template_file(const std::filesystem::path& path) {
  std::string text = read_text_file(path, max_template_bytes);
  if (valid_utf8_prefix(text) != text.size())
    fail(ErrorCode::invalid_utf8, "a chat template is not UTF-8",
         {.file = path.string(), .offset = valid_utf8_prefix(text)});
  replace_all(text, "\r\n", "\n");
  replace_all(text, "\r", "\n");
  return text;
}

/// The *.jinja files of a folder, by name.
inline ChatTemplates template_folder(const std::filesystem::path& folder) {
  ChatTemplates templates;
  if (!std::filesystem::is_directory(folder)) return templates;
  for (const std::string& name : names_in(folder)) {
    const std::filesystem::path path = folder / name;
    if (path.extension() != ".jinja") continue;
    if (templates.size() == max_templates)
      fail(ErrorCode::invalid_tokenizer, "the folder has more than 64 chat templates",
           {.file = folder.string(), .limit = max_templates});
    templates.emplace(path.stem().string(), read_template_file(path));
  }
  return templates;
}

/// The value of a `chat_template` key: a text, texts by name, or a list of {"name", "template"}.
inline ChatTemplates templates_of_value(const Json& value, const std::string& file) {
  ChatTemplates templates;
  const std::string key = "chat_template";
  auto text = [&](const Json& json) {
    if (!json.is_string()) refuse_tokenizer(file, key, "a chat template must be a string");
    return json.get<std::string>();
  };
  if (value.is_null()) return templates;
  if (value.is_object())
    for (const auto& [name, source] : value.items()) templates.emplace(name, text(source));
  else if (value.is_array())
    for (const Json& entry : value)
      templates.insert_or_assign(text(value_or_null(entry, "name")),
                                 text(value_or_null(entry, "template")));
  else
    templates.emplace("default", text(value));
  return templates;
}

/// `value`: the chat_template of tokenizer_config.json, or null. Where that and the files that the
/// reference's tokenizer reads have none, also looks where its processors of other models do.
inline ChatTemplates read_chat_templates(const std::filesystem::path& directory, const Json& value,
                                         const std::string& file) {
  ChatTemplates templates = template_folder(directory / "additional_chat_templates");
  if (const auto path = directory / "chat_template.jinja"; std::filesystem::exists(path))
    templates.emplace("default", read_template_file(path));
  if (templates.empty()) templates = templates_of_value(value, file);
  if (const auto path = directory / "chat_template.json";
      templates.empty() && std::filesystem::exists(path))
    templates =
        templates_of_value(value_or_null(*read_document(path), "chat_template"), path.string());
  if (const auto path = directory / "processor_config.json";
      templates.empty() && std::filesystem::exists(path))
    templates =
        templates_of_value(value_or_null(*read_document(path), "chat_template"), path.string());
  if (templates.empty()) templates = template_folder(directory / "chat_templates");
  return templates;
}

}}}  // namespace idefics::v0::detail
