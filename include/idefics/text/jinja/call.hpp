// Calls of what is built in: binding arguments to parameters as Python does, and tables of
// functions.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/text/jinja/iterate.hpp>
#include <idefics/text/jinja/value.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

class Call;

/// A filter, test, method or function. Its parameters are names in order: those in brackets are
/// optional, those before "/" cannot be passed by name, and "*" accepts whatever else is passed.
struct Builtin {
  std::string_view name;
  Value (*run)(Call& call) = nullptr;  // null: in jinja2 or Python, but not here
  std::string_view parameters{};
  std::string_view type{};  // the name of the Python class that it is, if it is one
};

inline const Builtin* find_builtin(std::span<const Builtin> table, std::string_view name) {
  for (const Builtin& builtin : table)
    if (builtin.name == name) return &builtin;
  return nullptr;
}

/// The same, also among `others`, which are known by name only.
inline const Builtin* find_builtin(std::span<const Builtin> table, std::span<const Builtin> others,
                                   std::string_view name) {
  const Builtin* found = find_builtin(table, name);
  return found != nullptr ? found : find_builtin(others, name);
}

/// Rows for what is known by name only.
template <std::size_t N>
constexpr std::array<Builtin, N> not_here(const std::string_view (&names)[N]) {
  std::array<Builtin, N> rows{};
  for (std::size_t i = 0; i < N; ++i) rows[i].name = names[i];
  return rows;
}

/// The arguments of one call, by parameter.
class Call {
 public:
  Call(Rendering& rendering, const Builtin& builtin, Arguments& arguments)
      : r(rendering), builtin_(builtin) {
    r.step();
    bind(arguments);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  bool has(std::size_t i) const { return bound_[i].has_value(); }
  const Value& operator[](std::size_t i) const { return *bound_[i]; }
  /// The argument, or none if it was not passed.
  Value or_none(std::size_t i) const { return has(i) ? *bound_[i] : Value::none(); }
  bool is_none(std::size_t i) const { return !has(i) || bound_[i]->is_none(); }
  bool flag(std::size_t i) const { return has(i) && is_true(*bound_[i]); }
  /// A flag that Python's own functions check: an integer.
  bool strict_flag(std::size_t i) const { return integer(i) != 0; }
  /// An argument that must be an integer.
  std::int64_t integer(std::size_t i, std::int64_t otherwise = 0) const {
    if (!has(i)) return otherwise;
    if (!(*this)[i].is_integer())
      r.fail(object_is((*this)[i]) + "not an integer, which " + std::string(builtin_.name) +
             "() needs");
    return (*this)[i].integer();
  }
  /// An argument that must be a text.
  const std::string& text(std::size_t i) const {
    if (!(*this)[i].is_text())
      r.fail(object_is((*this)[i]) + "not a str, which " + std::string(builtin_.name) + "() needs");
    return (*this)[i].bytes();
  }

  Rendering& r;
  Arguments rest;  // for "*"

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    r.fail(std::string(builtin_.name) + "() " + what);
  }
  void bind(Arguments& arguments);

  static constexpr std::size_t most = 6;

  const Builtin& builtin_;
  std::array<std::optional<Value>, most> bound_;
};

inline void Call::bind(Arguments& arguments) {
  std::string_view names = builtin_.parameters;
  std::size_t at = 0, positional = 0;
  bool optional = false, rest_allowed = false;
  const bool by_name = names.find('/') == std::string_view::npos;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(' '), names.size());
    std::string_view name = names.substr(0, end);
    names.remove_prefix(std::min(end + 1, names.size()));
    if (name == "/") continue;
    rest_allowed = rest_allowed || name == "*";
    if (name == "*") continue;
    optional = optional || name.starts_with('[');
    while (!name.empty() && name.front() == '[') name.remove_prefix(1);
    while (!name.empty() && name.back() == ']') name.remove_suffix(1);
    auto& slot = bound_[at++];
    if (positional < arguments.positional.size())
      slot = std::move(arguments.positional[positional++]);
    const auto given =
        std::ranges::find(arguments.named, name, &std::pair<std::string, Value>::first);
    if (by_name && given != arguments.named.end()) {
      if (slot) refuse("got multiple values for argument '" + std::string(name) + "'");
      slot = std::move(given->second);
      arguments.named.erase(given);
    }
    if (!slot && !optional) refuse("misses the argument '" + std::string(name) + "'");
  }
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(positional),
                         arguments.positional.end());
  rest.named = std::move(arguments.named);
  if (rest_allowed) return;
  if (!rest.positional.empty()) refuse("takes at most " + std::to_string(at) + " arguments");
  if (!rest.named.empty())
    refuse("got an unexpected keyword argument '" + rest.named[0].first + "'");
}

/// Calls a filter, test or function; `kind` is what it is, for the message if it is not supported.
inline Value run(Rendering& r, const Builtin& builtin, Arguments& arguments, const char* kind) {
  if (builtin.run == nullptr)
    r.unsupported("the " + std::string(kind) + " " + std::string(builtin.name));
  Call call(r, builtin, arguments);
  return builtin.run(call);
}

/// A function, or a method with the object that it belongs to.
class Function final : public Thing {
 public:
  Function(Rendering& r, const Builtin& builtin)
      : Thing(r, sizeof(Function), 1), builtin_(builtin) {}
  Function(Rendering& r, const Builtin& builtin, Value self)
      : Thing(r, sizeof(Function), self.depth() + 1), builtin_(builtin), self_(std::move(self)) {}
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Value call(Arguments& arguments) override {
    if (self_) arguments.positional.insert(arguments.positional.begin(), *self_);
    return run(rendering(), builtin_, arguments, self_ ? "method" : "function");
  }
  void print(Buffer& out) override {
    if (builtin_.type.empty()) return Thing::print(out);
    out.append("<class '" + std::string(builtin_.type) + "'>");
  }

 private:
  const Builtin& builtin_;
  std::optional<Value> self_;
};

}}}}  // namespace idefics::v0::detail::jinja
