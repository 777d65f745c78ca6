// Runs a template: statements write text, expressions have values.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/jinja/objects.hpp>
#include <idefics/text/jinja/parser.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

class Interpreter {
 public:
  /// `globals`: the variables that the caller passes.
  Interpreter(Rendering& r, Template& whole, const Dict& globals)
      : rendering_(r),
        template_(whole),
        globals_(globals),
        loop_(&*whole.names.insert("loop").first) {}

  std::string render() {
    Buffer out(rendering_);
    out_ = &out;
    const auto frame = make<Frame>(rendering_, Ref<Frame>(), &template_.body);
    run(template_.body, frame);
    return out.take();
  }

  /// What a macro writes. `values`: one for each parameter, nothing for one that is to have its
  /// default.
  Value call_macro(const Statement& macro, const Ref<Frame>& outer,
                   const std::vector<std::optional<Value>>& values);
  Value evaluate(const Expression& expression, const Ref<Frame>& frame);
  bool holds(const Expression& condition, const Ref<Frame>& frame) {
    return is_true(evaluate(condition, frame));
  }
  /// Assigns to a name, or to the names of a tuple from the items of a value.
  void assign(const Expression& target, const Value& value, const Ref<Frame>& frame);

 private:
  enum class Flow : std::uint8_t { next, break_loop, continue_loop };

  Flow run(const Body& body, const Ref<Frame>& frame);
  Flow run(const Statement& statement, const Ref<Frame>& frame);
  Flow run_condition(const Statement& condition, const Ref<Frame>& frame);
  Flow run_loop(const Statement& loop, const Ref<Frame>& outer);
  Flow run_block(const Statement& block, const Ref<Frame>& frame);
  Flow run_with(const Statement& with, const Ref<Frame>& frame);
  void assign_items(const std::vector<ExpressionPtr>& targets, const Value& value,
                    const Ref<Frame>& frame);

  void write(const Value& value) {
    print_str(*out_, value);
    if (out_->size() > rendering_.limits().output_bytes)
      rendering_.exceeded("bytes of output", rendering_.limits().output_bytes);
  }
  /// The text that `action` writes.
  template <class Action>
  Value captured(const Action& action) {
    struct Restore {
      Buffer*& place;
      Buffer* old;
      ~Restore() { place = old; }
    };
    Buffer buffer(rendering_);
    const Restore restore{out_, std::exchange(out_, &buffer)};
    action();
    return Value::text(rendering_, buffer.take());
  }

  // ---- expressions: expressions.hpp ----

  Value lookup(NameRef name, const Ref<Frame>& frame);
  std::vector<Value> values_of(const Expression& display, const Ref<Frame>& frame);
  Value dict_of(const Expression& display, const Ref<Frame>& frame);
  Value compared(const Expression& comparison, const Ref<Frame>& frame);
  Value item(const Expression& item, const Ref<Frame>& frame);
  /// Appends the values of all parts but the first, which are a call's arguments.
  void arguments(const Expression& call, const Ref<Frame>& frame, Arguments& out);
  Value call(const Expression& call, const Ref<Frame>& frame);
  Value apply(const Expression& applied, const Ref<Frame>& frame);

  Rendering& rendering_;
  const Template& template_;
  const Dict& globals_;
  NameRef loop_;
  Buffer* out_ = nullptr;
  Value block_;  // the text that a filter without an operand is applied to
};

/// The items of a loop that satisfy its condition.
class SelectedItems final : public Iterator {
 public:
  SelectedItems(Rendering& r, Interpreter& interpreter, const Statement& loop,
                const Ref<Frame>& outer, Ref<Iterator> items)
      : Iterator(r, sizeof(SelectedItems), items->depth() + 1),
        interpreter_(interpreter),
        loop_(loop),
        frame_(make<Frame>(r, outer, nullptr)),
        items_(std::move(items)) {
    outer->capture();
  }
  std::optional<Value> next() override {
    while (const auto item = jinja::next(*items_)) {
      interpreter_.assign(*loop_.target, *item, frame_);
      if (interpreter_.holds(*loop_.condition, frame_)) return item;
    }
    return std::nullopt;
  }

 private:
  Interpreter& interpreter_;
  const Statement& loop_;
  Ref<Frame> frame_;
  Ref<Iterator> items_;
};

/// Positional arguments first, then those with names; all have to be parameters.
inline Value MacroValue::call(Arguments& given) {
  const auto& parameters = definition_.parameters;
  const auto refuse = [&](const std::string& what) {
    rendering().fail("macro " + in_quotes(*definition_.name) + " takes " + what);
  };
  if (given.positional.size() > parameters.size())
    refuse("not more than " + std::to_string(parameters.size()) + " argument(s)");
  std::vector<std::optional<Value>> values(given.positional.begin(), given.positional.end());
  values.resize(parameters.size());
  for (const auto& [name, value] : given.named) {
    const auto found = std::ranges::find(parameters, name, [](NameRef one) { return *one; });
    const auto i = static_cast<std::size_t>(found - parameters.begin());
    if (found == parameters.end() || i < given.positional.size())
      refuse("no keyword argument " + in_quotes(name));
    values[i] = value;
  }
  return interpreter_.call_macro(definition_, frame_, values);
}

// ---- statements ----

inline Interpreter::Flow Interpreter::run(const Body& body, const Ref<Frame>& frame) {
  for (const StatementPtr& statement : body.statements)
    if (const Flow flow = run(*statement, frame); flow != Flow::next) return flow;
  return Flow::next;
}

inline Interpreter::Flow Interpreter::run(const Statement& s, const Ref<Frame>& frame) {
  const Nested nested(rendering_);
  rendering_.step();
  rendering_.line = s.line;
  switch (s.kind) {
    case StatementKind::output:
      for (const ExpressionPtr& part : s.values) write(evaluate(*part, frame));
      break;
    case StatementKind::condition: return run_condition(s, frame);
    case StatementKind::loop: return run_loop(s, frame);
    case StatementKind::assignment: assign(*s.target, evaluate(*s.value, frame), frame); break;
    case StatementKind::block_assignment:
    case StatementKind::filter_block: return run_block(s, frame);
    case StatementKind::macro:
      frame->set(s.name, Value(make<MacroValue>(rendering_, *this, s, frame)));
      break;
    case StatementKind::with: return run_with(s, frame);
    case StatementKind::generation:
      run(s.bodies[0], make<Frame>(rendering_, frame, &s.bodies[0]));
      break;
    case StatementKind::break_loop: return Flow::break_loop;
    case StatementKind::continue_loop: return Flow::continue_loop;
  }
  return Flow::next;
}

inline Interpreter::Flow Interpreter::run_condition(const Statement& s, const Ref<Frame>& frame) {
  for (std::size_t i = 0; i < s.bodies.size(); ++i)
    if (i == s.values.size() || holds(*s.values[i], frame)) return run(s.bodies[i], frame);
  return Flow::next;
}

/// The loop's own scope begins anew with each item. What follows "else" runs if no iteration
/// reached its end: after break or continue as well, as in jinja2.
inline Interpreter::Flow Interpreter::run_loop(const Statement& loop, const Ref<Frame>& outer) {
  const Value items = evaluate(*loop.value, outer);
  Ref<Iterator> walk = iterate(rendering_, items);
  auto length = try_length(items);
  if (loop.condition) {
    walk = make<SelectedItems>(rendering_, *this, loop, outer, walk);
    length.reset();
  }
  const auto context = make<LoopContext>(rendering_, std::move(walk), length);
  const auto frame = make<Frame>(rendering_, outer, nullptr);
  bool completed = false;
  while (const auto item = context->advance()) {
    frame->restart(loop.bodies[0]);
    frame->set(loop_, Value(context));
    assign(*loop.target, *item, frame);
    const Flow flow = run(loop.bodies[0], frame);
    if (flow == Flow::break_loop) break;
    completed = completed || flow == Flow::next;
  }
  frame->empty();
  if (completed) return Flow::next;
  return run(loop.bodies[1], make<Frame>(rendering_, outer, &loop.bodies[1]));
}

/// {% filter %} and {% set %} with a body: the text of the body, filtered, is written or assigned.
inline Interpreter::Flow Interpreter::run_block(const Statement& s, const Ref<Frame>& frame) {
  const auto inner = make<Frame>(rendering_, frame, &s.bodies[0]);
  Flow flow = Flow::next;
  Value text = captured([&] { flow = run(s.bodies[0], inner); });
  if (s.kind == StatementKind::filter_block && flow != Flow::next) return flow;  // nothing is left
  if (s.value) {
    block_ = std::move(text);
    text = evaluate(*s.value, inner);
  }
  s.target ? assign(*s.target, text, frame) : write(text);
  return Flow::next;
}

inline Interpreter::Flow Interpreter::run_with(const Statement& with, const Ref<Frame>& frame) {
  const auto inner = make<Frame>(rendering_, frame, &with.bodies[0]);
  for (std::size_t i = 0; i < with.targets.size(); ++i)
    assign(*with.targets[i], evaluate(*with.values[i], frame), inner);
  return run(with.bodies[0], inner);
}

inline void Interpreter::assign(const Expression& target, const Value& value,
                                const Ref<Frame>& frame) {
  rendering_.step();
  if (target.kind == ExpressionKind::name) return frame->set(target.name, value);
  rendering_.line = target.line;
  if (target.kind == ExpressionKind::tuple) return assign_items(target.parts, value, frame);
  const Value object = lookup(target.name, frame);
  auto* space = object.is(Kind::thing) ? dynamic_cast<Namespace*>(&object.thing()) : nullptr;
  if (space == nullptr) rendering_.fail("cannot assign attribute on non-namespace object");
  space->set(*target.attribute, value);
}

inline void Interpreter::assign_items(const std::vector<ExpressionPtr>& targets, const Value& value,
                                      const Ref<Frame>& frame) {
  const auto walk = try_iterate(rendering_, value);
  if (!walk)
    rendering_.fail("cannot unpack non-iterable " + std::string(type_name(value)) + " object");
  std::vector<Value> values;
  const std::string wanted = " values to unpack (expected " + std::to_string(targets.size());
  while (const auto item = next(*walk)) {
    if (values.size() == targets.size()) rendering_.fail("too many" + wanted + ")");
    values.push_back(*item);
  }
  if (values.size() < targets.size())
    rendering_.fail("not enough" + wanted + ", got " + std::to_string(values.size()) + ")");
  for (std::size_t i = 0; i < targets.size(); ++i) assign(*targets[i], values[i], frame);
}

inline Value Interpreter::call_macro(const Statement& macro, const Ref<Frame>& outer,
                                     const std::vector<std::optional<Value>>& values) {
  const Nested nested(rendering_);
  const auto frame = make<Frame>(rendering_, outer, &macro.bodies[0]);
  const auto& parameters = macro.parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i) frame->set(parameters[i], values[i]);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (values[i]) continue;
    frame->set(parameters[i],
               macro.values[i]
                   ? evaluate(*macro.values[i], frame)
                   : Value::undefined(rendering_, "parameter " + in_quotes(*parameters[i]) +
                                                      " was not provided"));
  }
  return captured([&] { run(macro.bodies[0], frame); });
}

}}}}  // namespace idefics::v0::detail::jinja
