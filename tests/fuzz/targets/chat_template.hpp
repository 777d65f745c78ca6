// Chat templates, rendered on a conversation.
#pragma once

#include <ctime>

#include <idefics/io/json.hpp>
#include <idefics/text/chat_template.hpp>
#include <idefics/text/utf8.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline const idefics::OrderedJson& conversation() {
  static const auto json = idefics::OrderedJson::parse(R"({
    "messages": [
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " What é\n漢? "}]},
      {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA <cat>.", "tool_calls": [
        {"id": "abc123def", "function": {"name": "f", "arguments": {"x": 1, "y": [2.5, null]}}}]},
      {"role": "tool", "content": "{\"r\": 1}"},
      {"role": "user", "content": "Thanks"}],
    "tools": [{"function": {"name": "f", "description": "d", "parameters": {
      "type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})");
  return json;
}

/// With smaller limits than usual, so that many templates are tried; the same text each time.
inline void chat_template(Bytes input) {
  idefics::TemplateOptions options;
  options.limits = {.steps = 100'000, .memory = 1 << 20, .output_bytes = 1 << 16, .depth = 100};
  options.now = std::tm{};
  const std::clock_t begin = std::clock();
  const auto render = [&] {
    return idefics::render_chat_template(text_of(input), conversation(), options);
  };
  struct Bound {
    std::clock_t begin;
    ~Bound() { expect(std::clock() - begin < 5 * CLOCKS_PER_SEC, "a template took 5 seconds"); }
  } const bound{begin};
  const std::string text = render();
  expect(text.size() <= options.limits.output_bytes, "a text longer than its limit");
  expect(idefics::detail::valid_utf8_prefix(text) == text.size(), "a text that is not UTF-8");
  expect(render() == text, "another text the second time");
}

}  // namespace fuzz
