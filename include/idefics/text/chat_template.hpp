// chat_template of a tokenizer: a Jinja template that renders messages as a prompt, as
// transformers' apply_chat_template does (docs/chat.md).
#pragma once

#include <string>
#include <string_view>

#include <idefics/core/config.hpp>
#include <idefics/io/json_fwd.hpp>
#include <idefics/text/jinja/options.hpp>

namespace idefics { inline namespace v0 {

/// Renders a template with `variables`: "messages", "add_generation_prompt", special tokens and
/// others. As in transformers, "tools" and "documents" have the value none, and "add_generation_prompt" is
/// false, unless they are given. Throws `invalid_tokenizer` for a template that is not Jinja or
/// uses what is not supported, `invalid_prompt` if the template itself refuses the messages,
/// `template_failed` where jinja2 raises another error, and `template_limit`; all but the second
/// name the line.
IDEFICS_ENGINE_INLINE std::string render_chat_template(std::string_view source,
                                                       const OrderedJson& variables,
                                                       const TemplateOptions& options = {});

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/io/json.hpp>
#include <idefics/text/jinja/expressions.hpp>
#include <idefics/text/jinja/json.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// Renders a template with the variables that `define(rendering, globals)` sets.
template <class Define>
std::string render_template(std::string_view source, const TemplateOptions& options,
                            const Define& define) {
  using namespace jinja;
  Rendering r(options);
  Template whole;
  parse_template(r, source, whole);
  const auto globals = make<Dict>(r);
  for (const Builtin& function : functions)
    globals->set(Value::text(r, std::string(function.name)), Value(make<Function>(r, function)));
  for (const char* name : {"tools", "documents"}) globals->set(Value::text(r, name), Value::none());
  globals->set(Value::text(r, "add_generation_prompt"), Value::boolean(false));
  r.line = 1;
  define(r, *globals);
  return Interpreter(r, whole, *globals).render();
}

}  // namespace detail

IDEFICS_ENGINE_INLINE std::string render_chat_template(std::string_view source,
                                                       const OrderedJson& variables,
                                                       const TemplateOptions& options) {
  using namespace detail::jinja;
  return detail::render_template(source, options, [&](Rendering& r, Dict& globals) {
    for (const auto& [name, value] : variables.items())
      globals.set(Value::text(r, name), value_of_json(r, value));
  });
}

}}  // namespace idefics::v0

#endif
