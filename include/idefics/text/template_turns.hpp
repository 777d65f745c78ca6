// The turns of a conversation as chat templates see them. They become values of the template
// without JSON in between, whose destructor allocates.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/chat_template.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// {"role": …, "content": …}. The content is a text or, with `parts`, a list: pictures, then the text.
struct TemplateTurn {
  std::string role, text;
  std::size_t pictures = 0;
  bool parts = false;
};

/// Renders a template as render_chat_template does. `tokens`: special tokens by name.
IDEFICS_ENGINE_INLINE std::string render_turns(std::string_view source,
                                               const std::vector<TemplateTurn>& turns,
                                               bool add_generation_prompt,
                                               const std::map<std::string, std::string>& tokens);

#if IDEFICS_ENGINE_BODIES

namespace jinja {

inline Value dict_of(Rendering& r,
                     std::initializer_list<std::pair<std::string_view, Value>> entries) {
  const auto dict = make<Dict>(r);
  for (const auto& [key, value] : entries) dict->set(Value::text(r, std::string(key)), value);
  return Value(dict);
}

inline Value value_of_turn(Rendering& r, const TemplateTurn& turn) {
  const Value role = text_value(r, turn.role), text = text_value(r, turn.text);
  if (!turn.parts) return dict_of(r, {{"role", role}, {"content", text}});
  Items content(r);
  for (std::size_t i = 0; i < turn.pictures; ++i)
    content.push(dict_of(r, {{"type", Value::text(r, "image")}}));
  content.push(dict_of(r, {{"type", Value::text(r, "text")}, {"text", text}}));
  return dict_of(r, {{"role", role}, {"content", content.list()}});
}

}  // namespace jinja

IDEFICS_ENGINE_INLINE std::string render_turns(std::string_view source,
                                               const std::vector<TemplateTurn>& turns,
                                               bool add_generation_prompt,
                                               const std::map<std::string, std::string>& tokens) {
  using namespace jinja;
  return render_template(source, {}, [&](Rendering& r, Dict& globals) {
    Items messages(r);
    for (const TemplateTurn& turn : turns) messages.push(value_of_turn(r, turn));
    globals.set(Value::text(r, "messages"), messages.list());
    globals.set(Value::text(r, "add_generation_prompt"), Value::boolean(add_generation_prompt));
    for (const auto& [name, token] : tokens)
      globals.set(Value::text(r, name), text_value(r, token));
  });
}

#endif

}}}  // namespace idefics::v0::detail
