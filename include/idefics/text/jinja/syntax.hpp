// The syntax tree of a template: one kind of node for expressions, one for statements.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <idefics/text/jinja/call.hpp>
#include <idefics/text/jinja/operators.hpp>
#include <idefics/text/jinja/value.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// A name, of which a template has one copy: names are equal if these addresses are.
using NameRef = const std::string*;

enum class ExpressionKind : std::uint8_t {
  literal,           // value
  name,              // name: a variable, or the target of an assignment
  namespace_target,  // name.attribute, as the target of {% set %}
  tuple,             // parts
  list,              // parts
  concatenation,     // parts joined by ~
  dict,              // key, value, key, value, …
  negation,          // not part
  minus,             // -part
  plus,              // +part
  binary,            // part op part
  conjunction,       // part and part
  disjunction,       // part or part
  comparison,        // part comparator part comparator part …
  conditional,       // condition, value, otherwise; the last may be null
  attribute,         // part.attribute
  item,              // part[part]
  slice,             // begin, end, step of an item; each may be null
  call,              // callee, then arguments, of which the last have keywords
  filter,            // operand (null in a filter block), then arguments
  test,              // the same
};

struct Expression {
  Expression(ExpressionKind k, int l) : kind(k), line(l) {}
  Expression(const Expression&) = delete;
  Expression& operator=(const Expression&) = delete;

  const ExpressionKind kind;
  Operator op = Operator::add;
  const int line;
  int depth = 1;  // of the tree below; the parser bounds it, since evaluation recurses
  NameRef name = nullptr, attribute = nullptr;
  const Builtin* builtin = nullptr;  // of a filter or test; null fails if it is reached
  Value value;
  std::vector<std::unique_ptr<Expression>> parts;
  std::vector<Comparator> comparators;
  std::vector<NameRef> keywords;
};
using ExpressionPtr = std::unique_ptr<Expression>;

enum class StatementKind : std::uint8_t {
  output,            // values: text, and what {{ }} prints
  condition,         // values, each with a body; one more body for else
  loop,              // target, value to walk through, condition or null; bodies: loop, else
  assignment,        // target, value
  block_assignment,  // target, value: a chain of filters or null; body
  macro,             // name, parameters with values as defaults or null; body
  filter_block,      // value: a chain of filters; body
  with,              // targets, values; body
  generation,        // body: what the assistant says, which changes nothing in the text
  break_loop,
  continue_loop,
};

struct Statement;

/// Statements, perhaps with variables of their own.
struct Body {
  std::vector<std::unique_ptr<Statement>> statements;
  /// Names that are assigned here before they are used, and nowhere around it: undefined when the
  /// scope is entered, even if a global variable has the name (scopes.hpp).
  std::vector<NameRef> hidden;
};

struct Statement {
  Statement(StatementKind k, int l) : kind(k), line(l) {}
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  const StatementKind kind;
  const int line;
  NameRef name = nullptr;
  ExpressionPtr target, value, condition;
  std::vector<ExpressionPtr> targets, values;
  std::vector<NameRef> parameters;
  std::vector<Body> bodies;
};
using StatementPtr = std::unique_ptr<Statement>;

}}}}  // namespace idefics::v0::detail::jinja
