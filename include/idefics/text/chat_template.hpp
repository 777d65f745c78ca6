// chat_template of tokenizer_config.json: a Jinja template that renders messages as a prompt. This
// is an interpreter of the part of Jinja that such templates use: text, {{ … }}, {# … #}, if, elif,
// else, for with `loop`, set, and the "-" that strips white space, with trim_blocks and
// lstrip_blocks enabled as in transformers. Any other construct is an error that names it.
#pragma once

#include <string>
#include <string_view>

#include <idefics/core/config.hpp>
#include <idefics/io/json_fwd.hpp>

namespace idefics { inline namespace v0 {

/// Renders a template with the variables `names` ("messages", "add_generation_prompt", …). Throws
/// `invalid_tokenizer` for an unsupported construct, `invalid_prompt` if the template itself
/// refuses the messages.
IDEFICS_ENGINE_INLINE std::string render_chat_template(std::string_view source, Json names);

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <utility>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/text/template_expression.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// A piece of a template: plain text, an output {{ … }}, or a statement {% … %}.
struct TemplatePart {
  enum class Kind { text, output, statement } kind;
  std::string text;
};

/// Splits a template into its parts and removes the white space that its tags strip.
inline std::vector<TemplatePart> split_template(std::string_view source) {
  std::vector<TemplatePart> parts;
  if (source.ends_with('\n')) source.remove_suffix(1);
  // what the last tag strips from the text after it
  bool strip_after = false, strip_newline = false;
  for (std::size_t at = 0; at <= source.size();) {
    std::size_t open = at;
    while ((open = source.find('{', open)) != std::string_view::npos &&
           (open + 1 == source.size() ||
            std::string_view("{%#").find(source[open + 1]) == std::string_view::npos))
      ++open;
    std::string text(source.substr(at, open == std::string_view::npos ? open : open - at));
    if (strip_after) text.erase(0, std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    bool begins_line = at == 0;
    if (strip_newline && text.starts_with('\n')) text.erase(0, 1), begins_line = true;
    if (open == std::string_view::npos) {
      parts.push_back({TemplatePart::Kind::text, std::move(text)});
      break;
    }
    const char kind = source[open + 1];
    const std::string_view close = kind == '{' ? "}}" : kind == '%' ? "%}" : "#}";
    const std::size_t end = source.find(close, open + 2);
    if (end == std::string_view::npos) refuse_template("a tag is not closed");
    std::string_view inner = source.substr(open + 2, end - open - 2);
    const bool strip_before = inner.starts_with('-');
    strip_after = inner.size() > 1 && inner.ends_with('-');
    strip_newline = kind != '{';
    if (strip_before) inner.remove_prefix(1);
    if (strip_after) inner.remove_suffix(1);
    if (strip_before) {
      text.erase(text.find_last_not_of(" \t\r\n") + 1);
    } else if (kind != '{') {  // lstrip_blocks: a tag that is the first of its line
      const std::size_t last = text.find_last_not_of(" \t");
      if (last == std::string::npos ? begins_line : text[last] == '\n') text.erase(last + 1);
    }
    parts.push_back({TemplatePart::Kind::text, std::move(text)});
    if (kind != '#')
      parts.push_back({kind == '{' ? TemplatePart::Kind::output : TemplatePart::Kind::statement,
                       std::string(inner)});
    at = end + 2;
  }
  return parts;
}

class ChatTemplate {
 public:
  ChatTemplate(std::string_view source, Json names)
      : parts_(split_template(source)), names_(std::move(names)) {}

  std::string render() {
    if (!run(true).empty()) refuse_template("a block ends that was not opened");
    return std::move(out_);
  }

 private:
  using Kind = TemplatePart::Kind;

  /// Runs parts up to an `elif`, `else` or end that belongs to an enclosing block, and returns that
  /// statement ("" at the end of the template). Unless `live`, nothing is evaluated.
  std::string run(bool live) {
    if (++depth_ > 32) refuse_template("blocks are nested too deeply");
    std::string stopped_by;
    while (next_ < parts_.size() && stopped_by.empty()) {
      const TemplatePart& part = parts_[next_++];
      if (part.kind == Kind::statement)
        stopped_by = statement(part.text, live);
      else if (live)
        out_ += part.kind == Kind::text ? part.text
                                        : to_text(TemplateExpression(part.text, names_).value());
      if (out_.size() > (16u << 20)) refuse_template("the prompt is larger than 16 MiB");
    }
    --depth_;
    return stopped_by;
  }

  std::string statement(const std::string& text, bool live) {
    TemplateExpression words(text, names_);
    if (words.take("if")) return branches(words, live), "";
    if (words.take("for")) return loop(words, live), "";
    if (words.take("set")) return live ? set(words) : void(), "";
    for (const char* word : {"elif", "else", "endif", "endfor"})
      if (TemplateExpression(text, names_).take(word)) return text;
    refuse_template("{% " + text.substr(0, 40) + " %}");
  }

  void set(TemplateExpression& words) {
    const std::string name = words.name();
    if (!words.take("=")) refuse_template("set needs a plain name and a value");
    names_[name] = words.value();
  }

  void branches(TemplateExpression& condition, bool live) {
    bool open = live && is_true(live ? condition.value() : undefined()), done = open;
    for (;;) {
      const std::string stopped_by = run(open);
      TemplateExpression words(stopped_by, names_);
      if (words.take("endif")) return;
      if (words.take("elif"))
        open = live && !done && is_true(words.value());
      else if (words.take("else"))
        open = live && !done;
      else
        refuse_template("if without endif");
      done = done || open;
    }
  }

  void loop(TemplateExpression& words, bool live) {
    const std::string name = words.name();
    if (!words.take("in")) refuse_template("for with several variables");
    const Json list = live ? to_list(words.value()) : Json::array();
    const std::size_t body = next_, count = list.size();
    const Json outer = names_;
    for (std::size_t i = 0; i < std::max<std::size_t>(count, 1); ++i) {
      next_ = body;
      if (count > 0) {
        names_[name] = list[i];
        names_["loop"] = {{"index", i + 1},
                          {"index0", i},
                          {"first", i == 0},
                          {"last", i + 1 == count},
                          {"length", count}};
      }
      const std::string stopped_by = run(count > 0);
      if (!TemplateExpression(stopped_by, names_).take("endfor"))
        refuse_template("for without endfor");
    }
    names_ = outer;  // variables set in a loop are local to it, as in Jinja
  }

  std::vector<TemplatePart> parts_;
  Json names_;
  std::string out_;
  std::size_t next_ = 0;
  int depth_ = 0;
};

}  // namespace detail

IDEFICS_ENGINE_INLINE std::string render_chat_template(std::string_view source, Json names) {
  return detail::ChatTemplate(source, std::move(names)).render();
}

}}  // namespace idefics::v0

#endif
