// Expressions: their values.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <idefics/text/jinja/interpreter.hpp>
#include <idefics/text/jinja/methods.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

inline Value Interpreter::evaluate(const Expression& e, const Ref<Frame>& frame) {
  if (e.kind == ExpressionKind::literal) return e.value;
  const Nested nested(rendering_);
  rendering_.step();
  rendering_.line = e.line;
  const auto part = [&](std::size_t i) { return evaluate(*e.parts[i], frame); };
  switch (e.kind) {
    case ExpressionKind::name: return lookup(e.name, frame);
    case ExpressionKind::tuple: return Value::tuple(rendering_, values_of(e, frame));
    case ExpressionKind::list: return Value::list(rendering_, values_of(e, frame));
    case ExpressionKind::concatenation: {
      Buffer out(rendering_);
      for (const ExpressionPtr& one : e.parts) print_str(out, evaluate(*one, frame));
      return Value::text(rendering_, out.take());
    }
    case ExpressionKind::dict: return dict_of(e, frame);
    case ExpressionKind::negation: return Value::boolean(!is_true(part(0)));
    case ExpressionKind::minus: return negated(rendering_, part(0));
    case ExpressionKind::plus: return unary_plus(rendering_, part(0));
    case ExpressionKind::binary: {
      const Value left = part(0), right = part(1);
      rendering_.line = e.line;
      return calculate(rendering_, e.op, left, right);
    }
    case ExpressionKind::conjunction:
    case ExpressionKind::disjunction: {
      Value left = part(0);
      return is_true(left) == (e.kind == ExpressionKind::conjunction) ? part(1) : left;
    }
    case ExpressionKind::comparison: return compared(e, frame);
    case ExpressionKind::conditional:
      if (holds(*e.parts[0], frame)) return part(1);
      if (e.parts[2]) return part(2);
      return Value::undefined(rendering_,
                              "an if-expression was false and no else section was defined");
    case ExpressionKind::attribute: {
      const Value object = part(0);
      rendering_.line = e.line;
      return attribute_of(rendering_, object, *e.attribute);
    }
    case ExpressionKind::item: return item(e, frame);
    case ExpressionKind::call: return call(e, frame);
    case ExpressionKind::filter:
    case ExpressionKind::test: return apply(e, frame);
    default: return {};  // slices and targets have no value of their own
  }
}

inline Value Interpreter::lookup(NameRef name, const Ref<Frame>& frame) {
  if (const std::optional<Value>* found = frame->find(name)) {
    if (*found) return **found;
  } else if (const Value* global = globals_.find(*name)) {
    return *global;
  } else if (*name == "caller" || *name == "kwargs" || *name == "varargs") {
    rendering_.unsupported("the variable " + *name + " of macros");
  }
  return Value::undefined(rendering_, in_quotes(*name) + " is undefined");
}

inline std::vector<Value> Interpreter::values_of(const Expression& display,
                                                 const Ref<Frame>& frame) {
  Items values(rendering_);
  for (const ExpressionPtr& one : display.parts) values.push(evaluate(*one, frame));
  return values.take();
}

inline Value Interpreter::dict_of(const Expression& display, const Ref<Frame>& frame) {
  const auto dict = make<Dict>(rendering_);
  for (std::size_t i = 0; i + 1 < display.parts.size(); i += 2) {
    const Value key = evaluate(*display.parts[i], frame);
    dict->set(key, evaluate(*display.parts[i + 1], frame));
  }
  return Value(dict);
}

/// Each operand with the next, until a comparison does not hold.
inline Value Interpreter::compared(const Expression& e, const Ref<Frame>& frame) {
  Value left = evaluate(*e.parts[0], frame);
  for (std::size_t i = 0; i < e.comparators.size(); ++i) {
    Value right = evaluate(*e.parts[i + 1], frame);
    rendering_.line = e.line;
    if (!holds_between(rendering_, e.comparators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

inline Value Interpreter::item(const Expression& e, const Ref<Frame>& frame) {
  const Value object = evaluate(*e.parts[0], frame);
  const Expression& key = *e.parts[1];
  if (key.kind != ExpressionKind::slice) {
    const Value value = evaluate(key, frame);
    rendering_.line = e.line;
    return item_of(rendering_, object, value);
  }
  const auto bound = [&](std::size_t i) {
    return key.parts[i] ? evaluate(*key.parts[i], frame) : Value::none();
  };
  const Value begin = bound(0), end = bound(1), step = bound(2);
  rendering_.line = e.line;
  return slice_of(rendering_, object, begin, end, step);
}

inline void Interpreter::arguments(const Expression& call, const Ref<Frame>& frame,
                                   Arguments& out) {
  const std::size_t positional = call.parts.size() - call.keywords.size();
  for (std::size_t i = 1; i < call.parts.size(); ++i) {
    Value value = evaluate(*call.parts[i], frame);
    if (i < positional)
      out.positional.push_back(std::move(value));
    else
      out.named.emplace_back(*call.keywords[i - positional], std::move(value));
  }
  rendering_.line = call.line;
}

inline Value Interpreter::call(const Expression& call, const Ref<Frame>& frame) {
  const Value callee = evaluate(*call.parts[0], frame);
  Arguments given;
  arguments(call, frame, given);
  if (callee.is(Kind::undefined)) rendering_.fail(callee.why_undefined());
  if (!callee.is(Kind::thing)) rendering_.fail(object_is(callee) + "not callable");
  return callee.thing().call(given);
}

inline Value Interpreter::apply(const Expression& applied, const Ref<Frame>& frame) {
  const char* kind = applied.kind == ExpressionKind::filter ? "filter" : "test";
  Arguments given;
  given.positional.push_back(applied.parts[0] ? evaluate(*applied.parts[0], frame)
                                              : std::exchange(block_, Value()));
  arguments(applied, frame, given);
  if (applied.builtin == nullptr)
    rendering_.fail("there is no " + std::string(kind) + " named " + in_quotes(*applied.name));
  return jinja::run(rendering_, *applied.builtin, given, kind);
}

}}}}  // namespace idefics::v0::detail::jinja
