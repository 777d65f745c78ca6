// What the interpreter makes while it runs: scopes with their variables, macros, loops.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/jinja/functions.hpp>
#include <idefics/text/jinja/syntax.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

class Interpreter;

/// The variables of a scope, and the scope around it.
class Frame final : public Object {
 public:
  Frame(Rendering& r, Ref<Frame> outer, const Body* body)
      : Object(r, sizeof(Frame), 1), outer_(std::move(outer)) {
    if (body != nullptr) hide(*body);
  }

  void set(NameRef name, std::optional<Value> value) {
    for (auto& [other, old] : variables_)
      if (other == name) {
        old = std::move(value);
        return;
      }
    if (variables_.size() == variables_.capacity()) {
      const std::size_t wanted = 2 * variables_.size() + 4;
      grow((wanted - variables_.size()) * sizeof(Variable));
      variables_.reserve(wanted);
    }
    variables_.emplace_back(name, std::move(value));
  }
  /// The value of a name here or in an outer scope. Null if no scope has the name; nothing in the
  /// place of the value if the one that has it did not yet assign it.
  const std::optional<Value>* find(NameRef name) const {
    for (const Frame* frame = this; frame != nullptr; frame = frame->outer_.get()) {
      rendering().step(frame->variables_.size() / 16);
      for (const auto& [other, value] : frame->variables_)
        if (other == name) return &value;
    }
    return nullptr;
  }
  /// Begins again, as at the beginning of each iteration of a loop.
  void restart(const Body& body) {
    variables_.clear();
    hide(body);
  }
  /// A value refers to this scope: it has to last, since a variable of it may be that value.
  void capture() {
    if (!std::exchange(captured_, true)) rendering().keep(*this);
  }
  void empty() override { variables_.clear(), outer_ = {}; }

 private:
  using Variable = std::pair<NameRef, std::optional<Value>>;

  void hide(const Body& body) {
    for (const NameRef name : body.hidden) set(name, std::nullopt);
  }

  Ref<Frame> outer_;
  std::vector<Variable> variables_;
  bool captured_ = false;
};

class MacroValue final : public Thing {
 public:
  MacroValue(Rendering& r, Interpreter& interpreter, const Statement& definition, Ref<Frame> frame)
      : Thing(r, sizeof(MacroValue), 1),
        interpreter_(interpreter),
        definition_(definition),
        frame_(std::move(frame)) {
    frame_->capture();
  }
  std::string_view type_name() const override { return "Macro"; }
  bool callable() const override { return true; }
  std::optional<Value> attribute(std::string_view name) override {
    if (name == "name") return Value::text(rendering(), *definition_.name);
    if (name == "arguments" || name == "caller" || name.starts_with("catch_"))
      rendering().unsupported("the attribute " + in_quotes(name) + " of a macro");
    return std::nullopt;
  }
  inline Value call(Arguments& arguments) override;
  void print(Buffer& out) override { out.append("<Macro '" + *definition_.name + "'>"); }

 private:
  Interpreter& interpreter_;
  const Statement& definition_;
  Ref<Frame> frame_;
};

/// `loop`: where a loop is among its items. Only what is asked for is looked up in advance. It is
/// an iterator itself, which takes from the loop the items that come next.
class LoopContext final : public Iterator {
 public:
  LoopContext(Rendering& r, Ref<Iterator> items, std::optional<std::int64_t> length)
      : Iterator(r, sizeof(LoopContext), items->depth() + 1),
        items_(std::move(items)),
        length_(length) {}

  /// Moves on to the next item, and returns it.
  std::optional<Value> advance() {
    std::optional<Value> item = peek();
    peeked_ = false;
    if (!item) return item;
    contain(item->depth());
    ++index0_;
    before_ = std::exchange(current_, item);
    return item;
  }

  std::string_view type_name() const override { return "LoopContext"; }
  Ref<Iterator> iterate() override { return Ref<Iterator>(this); }
  std::optional<Value> next() override {
    std::optional<Value> item = advance();
    if (item) item = Value::tuple(rendering(), {*item, Value(Ref<LoopContext>(this))});
    return item;
  }
  bool callable() const override { return true; }
  inline std::optional<Value> attribute(std::string_view name) override;
  Value call(Arguments&) override {
    rendering().fail("the loop must have the 'recursive' marker to be called recursively");
  }
  std::optional<std::int64_t> length() override {
    if (length_) return length_;
    const bool peeked = peeked_ && after_;
    std::vector<Value> rest;
    Items items(rendering());
    while (const auto item = jinja::next(*items_)) items.push(*item);
    length_ = static_cast<std::int64_t>(items.size()) + index0_ + 1 + (peeked ? 1 : 0);
    items_ = jinja::iterate(rendering(), items.list());
    return length_;
  }
  void print(Buffer& out) override {
    out.append("<LoopContext " + std::to_string(index0_ + 1) + "/" + std::to_string(*length()) +
               ">");
  }
  /// Whether the values differ from those of the last call.
  bool changed(const std::vector<Value>& values) {
    if (last_ && jinja::equals(rendering(), *last_, values)) return false;
    const auto contains = [](const Value& value) { return value.object() && !value.is_text(); };
    if (!kept_ && std::ranges::any_of(values, contains))  // perhaps this loop
      rendering().keep(*this), kept_ = true;
    last_ = values;
    return true;
  }
  std::int64_t index0() const { return index0_; }
  void empty() override { items_ = {}, before_ = current_ = after_ = {}, last_ = {}; }

 private:
  const std::optional<Value>& peek() {
    if (!peeked_) after_ = jinja::next(*items_), peeked_ = true;
    return after_;
  }

  Ref<Iterator> items_;
  std::optional<std::int64_t> length_;
  std::int64_t index0_ = -1;
  std::optional<Value> before_, current_, after_;
  bool peeked_ = false, kept_ = false;
  std::optional<std::vector<Value>> last_;
};

inline LoopContext& loop_of(Call& c) { return static_cast<LoopContext&>(c[0].thing()); }
inline Value loop_cycle(Call& c) {
  const auto& values = c.rest.positional;
  if (values.empty()) c.r.fail("no items for cycling given");
  if (!c.rest.named.empty()) c.r.fail("cycle() takes no keyword arguments");
  return values[static_cast<std::size_t>(loop_of(c).index0()) % values.size()];
}
inline Value loop_changed(Call& c) {
  if (!c.rest.named.empty()) c.r.fail("changed() takes no keyword arguments");
  return Value::boolean(loop_of(c).changed(c.rest.positional));
}
inline constexpr Builtin loop_methods[] = {{"changed", loop_changed, "self / *"},
                                           {"cycle", loop_cycle, "self / *"}};

inline std::optional<Value> LoopContext::attribute(std::string_view name) {
  if (name == "index") return Value::integer(index0_ + 1);
  if (name == "index0") return Value::integer(index0_);
  if (name == "first") return Value::boolean(index0_ == 0);
  if (name == "last") return Value::boolean(!peek());
  if (name == "length") return Value::integer(*length());
  if (name == "revindex") return Value::integer(*length() - index0_);
  if (name == "revindex0") return Value::integer(*length() - index0_ - 1);
  if (name == "depth") return Value::integer(1);  // of recursion
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem")
    return index0_ > 0 ? *before_ : Value::undefined(rendering(), "there is no previous item");
  if (name == "nextitem")
    return peek() ? *peek() : Value::undefined(rendering(), "there is no next item");
  return method_of(*this, loop_methods, name);
}

}}}}  // namespace idefics::v0::detail::jinja
