// Functions that every template can call, and the objects that they make.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/text/jinja/access.hpp>
#include <idefics/text/jinja/call.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// An object whose attributes {% set %} changes.
class Namespace final : public Thing {
 public:
  Namespace(Rendering& r, Ref<Dict> attributes)
      : Thing(r, sizeof(Namespace), 1), attributes_(std::move(attributes)) {
    r.keep(*this);
  }
  std::string_view type_name() const override { return "Namespace"; }
  std::optional<Value> attribute(std::string_view name) override {
    const Value* found = attributes_->find(name);
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  void set(const std::string& name, Value value) {
    attributes_->set(Value::text(rendering(), name), std::move(value));
  }
  void print(Buffer& out) override {
    out.append("<Namespace ");
    if (std::exchange(printing_, true))
      out.append("{...}");
    else
      print_repr(out, Value(attributes_)), printing_ = false;
    out.append(">");
  }
  void empty() override { attributes_ = {}; }

 private:
  Ref<Dict> attributes_;
  bool printing_ = false;
};

/// dict(mapping or pairs, name=value, …)
inline Ref<Dict> dict_of(Call& c) {
  const auto dict = make<Dict>(c.r);
  if (c.has(0) && c[0].is(Kind::dict)) {
    for (const Dict::Entry& entry : c[0].dict().entries()) dict->set(entry.key, entry.value);
  } else if (c.has(0)) {
    if (c[0].is(Kind::undefined)) c.r.fail(c[0].why_undefined());
    for (const auto walk = iterate(c.r, c[0]); const auto pair = next(*walk);) {
      const auto parts = list_of(c.r, *pair);
      if (parts.size() != 2) c.r.fail("dict expects pairs of a key and a value");
      dict->set(parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : c.rest.named) dict->set(Value::text(c.r, name), value);
  if (!c.rest.positional.empty()) c.r.fail("dict expects at most 1 argument");
  return dict;
}
inline Value function_dict(Call& c) { return Value(dict_of(c)); }
inline Value function_namespace(Call& c) { return Value(make<Namespace>(c.r, dict_of(c))); }

inline Value function_range(Call& c) {
  const std::int64_t step = c.integer(2, 1);
  if (step == 0) c.r.fail("range() arg 3 must not be zero");
  const std::int64_t start = c.has(1) ? c.integer(0) : 0, stop = c.integer(c.has(1) ? 1 : 0);
  return Value(make<Range>(c.r, start, stop, step));
}

/// A method of an object here, by its name.
inline std::optional<Value> method_of(Thing& self, std::span<const Builtin> methods,
                                      std::string_view name) {
  const Builtin* method = find_builtin(methods, name);
  if (method == nullptr) return std::nullopt;
  return Value(make<Function>(self.rendering(), *method, Value(Ref<Thing>(&self))));
}

inline Value function_raise_exception(Call& c) { c.r.refuse(str_of(c.r, c[0]).bytes()); }

inline std::tm time_of(Rendering& r) {
  if (r.options().now) return *r.options().now;
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

/// datetime.now().strftime(format), of a time without a zone. A "-" before a letter drops zeros. Python
/// leaves it to a function of C, for which a NUL ends the format, and a % at the end is a text.
inline Value function_strftime_now(Call& c) {
  const std::string_view whole = c.text(0), format = whole.substr(0, whole.find('\0'));
  const std::tm now = time_of(c.r);
  constexpr std::string_view letters = "aAbBcCdDeFgGhHIjklmMnprRsStTuUVwWxXyY%";
  Buffer out(c.r);
  for (std::size_t at = 0; at < format.size();) {
    const std::size_t percent = std::min(format.find('%', at), format.size());
    out.append(format.substr(at, percent - at));
    if (percent + 1 >= format.size()) {
      out.append(format.substr(percent));
      break;
    }
    const bool drops = percent + 2 < format.size() && format[percent + 1] == '-';
    at = percent + (drops ? 3 : 2);
    const char letter = at <= format.size() ? format[at - 1] : ' ';
    c.r.step();
    if (letter == 'z' || letter == 'Z') continue;
    if (letters.find(letter) == std::string_view::npos)
      c.r.unsupported("the format " + in_quotes(format.substr(percent)) + " of strftime_now");
    char text[128];
    const char directive[] = {'%', letter, '\0'};
    std::string_view written(text, std::strftime(text, sizeof text, directive, &now));
    while (drops && written.size() > 1 && (written[0] == '0' || written[0] == ' '))
      written.remove_prefix(1);
    out.append(written);
  }
  return Value::text(c.r, out.take());
}

inline constexpr Builtin functions[] = {
    {"cycler", nullptr, "*", "jinja2.utils.Cycler"},
    {"dict", function_dict, "[mapping] / *", "dict"},
    {"joiner", nullptr, "*", "jinja2.utils.Joiner"},
    {"lipsum", nullptr, "*"},
    {"namespace", function_namespace, "[mapping] / *", "jinja2.utils.Namespace"},
    {"raise_exception", function_raise_exception, "message"},
    {"range", function_range, "start [stop step] /"},
    {"strftime_now", function_strftime_now, "format"},
};

}}}}  // namespace idefics::v0::detail::jinja
