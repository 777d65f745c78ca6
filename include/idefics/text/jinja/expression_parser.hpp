// Expressions, by recursive descent: each function of ExpressionParser is a level of precedence,
// from "a if b else c" down to names and literals.
#pragma once

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/jinja/filter_table.hpp>
#include <idefics/text/jinja/lexer.hpp>
#include <idefics/text/jinja/syntax.hpp>
#include <idefics/text/jinja/tests.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// The names of a template, each once.
using Names = std::set<std::string, std::less<>>;

class ExpressionParser {
 protected:
  ExpressionParser(Rendering& r, Names& names, std::vector<Token> tokens)
      : rendering_(r), names_(names), tokens_(std::move(tokens)) {}

  // ---- tokens ----

  const Token& current() const { return tokens_[at_]; }
  const Token& following() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool take_symbol(std::string_view symbol) {
    return current().is_symbol(symbol) && (take(), true);
  }
  bool take_name(std::string_view word) { return current().is_name(word) && (take(), true); }
  bool is(TokenKind kind) const { return current().kind == kind; }

  [[noreturn]] void refuse(const std::string& what) const { refuse(current().line, what); }
  [[noreturn]] void refuse(int line, const std::string& what) const {
    rendering_.line = line;
    rendering_.syntax(what);
  }
  static std::string described(const Token& token) {
    switch (token.kind) {
      case TokenKind::data: return "text";
      case TokenKind::variable_begin: return "{{";
      case TokenKind::variable_end: return "}}";
      case TokenKind::block_begin: return "{%";
      case TokenKind::block_end: return "%}";
      case TokenKind::end: return "the end of the template";
      case TokenKind::string: return "a string";
      case TokenKind::integer:
      case TokenKind::real: return "a number";
      default: return "'" + token.text.substr(0, 40) + "'";
    }
  }
  void expect_symbol(std::string_view symbol) {
    if (!take_symbol(symbol))
      refuse("expected '" + std::string(symbol) + "', got " + described(current()));
  }
  void expect(TokenKind kind, const char* what) {
    if (!is(kind)) refuse("expected " + std::string(what) + ", got " + described(current()));
    take();
  }
  NameRef expect_name() {
    if (!is(TokenKind::name)) refuse("expected a name, got " + described(current()));
    return intern(take().text);
  }
  NameRef intern(std::string_view name) {
    const auto found = names_.find(name);
    return &*(found != names_.end() ? found : names_.emplace(name).first);
  }

  // ---- building ----

  ExpressionPtr node(ExpressionKind kind) const {
    return std::make_unique<Expression>(kind, current().line);
  }
  /// Adds a part, which may be null, to a node.
  void append(Expression& parent, ExpressionPtr part) {
    if (part != nullptr) parent.depth = std::max(parent.depth, part->depth + 1);
    rendering_.line = parent.line;
    rendering_.require_depth(parent.depth);
    parent.parts.push_back(std::move(part));
  }
  ExpressionPtr with_parts(ExpressionKind kind, ExpressionPtr a, ExpressionPtr b = nullptr) {
    ExpressionPtr made = node(kind);
    append(*made, std::move(a));
    if (b != nullptr) append(*made, std::move(b));
    return made;
  }
  static ExpressionPtr literal(int line, Value value) {
    auto made = std::make_unique<Expression>(ExpressionKind::literal, line);
    made->value = std::move(value);
    return made;
  }

  // ---- expressions ----

  ExpressionPtr expression(bool conditional_allowed = true) {
    rendering_.line = current().line;
    const Nested nested(rendering_);
    ExpressionPtr value = disjunction();
    while (conditional_allowed && take_name("if")) {
      ExpressionPtr chosen = with_parts(ExpressionKind::conditional, disjunction());
      append(*chosen, std::move(value));
      append(*chosen, take_name("else") ? expression() : nullptr);
      value = std::move(chosen);
    }
    return value;
  }

  ExpressionPtr disjunction() {
    ExpressionPtr left = conjunction();
    while (take_name("or"))
      left = with_parts(ExpressionKind::disjunction, std::move(left), conjunction());
    return left;
  }
  ExpressionPtr conjunction() {
    ExpressionPtr left = negation();
    while (take_name("and"))
      left = with_parts(ExpressionKind::conjunction, std::move(left), negation());
    return left;
  }
  ExpressionPtr negation() {
    if (!take_name("not")) return comparison();
    const Nested nested(rendering_);
    return with_parts(ExpressionKind::negation, negation());
  }

  std::optional<Comparator> take_comparator() {
    static constexpr std::pair<std::string_view, Comparator> symbols[] = {
        {"==", Comparator::eq}, {"!=", Comparator::ne}, {"<", Comparator::lt},
        {"<=", Comparator::le}, {">", Comparator::gt},  {">=", Comparator::ge}};
    for (const auto& [symbol, comparator] : symbols)
      if (take_symbol(symbol)) return comparator;
    if (take_name("in")) return Comparator::in;
    if (!current().is_name("not") || !following().is_name("in")) return std::nullopt;
    take(), take();
    return Comparator::not_in;
  }
  ExpressionPtr comparison() {
    ExpressionPtr first = arithmetic(0);
    auto comparator = take_comparator();
    if (!comparator) return first;
    ExpressionPtr compared = with_parts(ExpressionKind::comparison, std::move(first));
    for (; comparator; comparator = take_comparator()) {
      compared->comparators.push_back(*comparator);
      append(*compared, arithmetic(0));
    }
    return compared;
  }

  /// Levels of arithmetic, the loosest first: + and -, then ~, then * / // %, then **. All group to
  /// the left, ** as well.
  static constexpr int concatenation_level = 1, unary_level = 4;

  std::optional<Operator> take_operator(int level) {
    static constexpr struct {
      int level;
      std::string_view symbol;
      Operator op;
    } operators[] = {{0, "+", Operator::add},           {0, "-", Operator::subtract},
                     {2, "*", Operator::multiply},      {2, "/", Operator::divide},
                     {2, "//", Operator::floor_divide}, {2, "%", Operator::modulo},
                     {3, "**", Operator::power}};
    for (const auto& one : operators)
      if (one.level == level && take_symbol(one.symbol)) return one.op;
    return std::nullopt;
  }
  ExpressionPtr arithmetic(int level) {
    if (level == unary_level) return unary(true);
    ExpressionPtr left = arithmetic(level + 1);
    if (level == concatenation_level) return concatenation(std::move(left));
    while (const auto op = take_operator(level)) {
      left = with_parts(ExpressionKind::binary, std::move(left), arithmetic(level + 1));
      left->op = *op;
    }
    return left;
  }
  ExpressionPtr concatenation(ExpressionPtr first) {
    if (!current().is_symbol("~")) return first;
    ExpressionPtr joined = with_parts(ExpressionKind::concatenation, std::move(first));
    while (take_symbol("~")) append(*joined, arithmetic(concatenation_level + 1));
    return joined;
  }

  ExpressionPtr unary(bool with_filters) {
    ExpressionPtr value;
    if (current().is_symbol("-") || current().is_symbol("+")) {
      const Nested nested(rendering_);
      const auto kind = take().text == "-" ? ExpressionKind::minus : ExpressionKind::plus;
      value = with_parts(kind, unary(false));
    } else {
      value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
  }

  ExpressionPtr primary() {
    const Token& token = current();
    switch (token.kind) {
      case TokenKind::name: return name_or_constant();
      case TokenKind::string: {
        std::string text = take().text;
        while (is(TokenKind::string)) text += take().text;
        return literal(token.line, Value::text(rendering_, std::move(text)));
      }
      case TokenKind::integer: return literal(token.line, Value::integer(take().integer));
      case TokenKind::real: return literal(token.line, Value::real(take().real));
      default: break;
    }
    if (take_symbol("(")) {
      ExpressionPtr value = tuple({.in_parentheses = true});
      expect_symbol(")");
      return value;
    }
    if (take_symbol("[")) return display(ExpressionKind::list, "]");
    if (take_symbol("{")) return display(ExpressionKind::dict, "}");
    refuse("unexpected " + described(token));
  }
  ExpressionPtr name_or_constant() {
    const int line = current().line;
    ExpressionPtr name = node(ExpressionKind::name);
    name->name = intern(take().text);
    const std::string& word = *name->name;
    if (word == "true" || word == "True") return literal(line, Value::boolean(true));
    if (word == "false" || word == "False") return literal(line, Value::boolean(false));
    if (word == "none" || word == "None") return literal(line, Value::none());
    return name;
  }
  /// A list or dict, after its bracket.
  ExpressionPtr display(ExpressionKind kind, std::string_view close) {
    ExpressionPtr made = node(kind);
    while (!current().is_symbol(close)) {
      append(*made, expression());
      if (kind == ExpressionKind::dict) expect_symbol(":"), append(*made, expression());
      if (!current().is_symbol(close)) expect_symbol(",");
    }
    take();
    return made;
  }

  struct TupleRules {
    bool in_parentheses = false;  // which may be empty
    bool conditional = true;
  };
  /// An expression, or a tuple if commas follow. After a comma even `in` is a name, as in jinja2.
  ExpressionPtr tuple(const TupleRules& rules) {
    return tuple_of(rules, [&] { return expression(rules.conditional); });
  }
  template <class ParseItem>
  ExpressionPtr tuple_of(const TupleRules& rules, const ParseItem& parse_item) {
    ExpressionPtr items = node(ExpressionKind::tuple);
    bool comma = false;
    while (!is(TokenKind::variable_end) && !is(TokenKind::block_end) && !current().is_symbol(")")) {
      append(*items, parse_item());
      if (!take_symbol(",")) break;
      comma = true;
    }
    if (comma) return items;
    if (!items->parts.empty()) return std::move(items->parts[0]);
    if (!rules.in_parentheses) refuse("expected an expression, got " + described(current()));
    return items;
  }

  // ---- what follows a value ----

  ExpressionPtr postfix(ExpressionPtr value) {
    for (;;) {
      if (take_symbol("."))
        value = member(std::move(value));
      else if (take_symbol("["))
        value = with_parts(ExpressionKind::item, std::move(value), key());
      else if (current().is_symbol("("))
        value = call(std::move(value));
      else
        return value;
    }
  }
  ExpressionPtr filters_and_tests(ExpressionPtr value) {
    for (;;) {
      if (take_symbol("|"))
        value = filter(std::move(value));
      else if (take_name("is"))
        value = test(std::move(value));
      else if (current().is_symbol("("))
        value = call(std::move(value));
      else
        return value;
    }
  }

  ExpressionPtr member(ExpressionPtr object) {
    if (is(TokenKind::integer)) {
      const int line = current().line;
      return with_parts(ExpressionKind::item, std::move(object),
                        literal(line, Value::integer(take().integer)));
    }
    if (!is(TokenKind::name)) refuse("expected a name or number, got " + described(current()));
    ExpressionPtr made = with_parts(ExpressionKind::attribute, std::move(object));
    made->attribute = intern(take().text);
    return made;
  }
  /// An expression, or a slice begin:end:step, and the bracket after it.
  ExpressionPtr key() {
    ExpressionPtr slice = node(ExpressionKind::slice);
    const auto ends = [this] { return current().is_symbol("]") || current().is_symbol(":"); };
    ExpressionPtr first = current().is_symbol(":") ? nullptr : expression();
    if (take_symbol(":")) {
      append(*slice, std::move(first));
      append(*slice, ends() ? nullptr : expression());
      append(*slice, take_symbol(":") && !ends() ? expression() : nullptr);
      first = std::move(slice);
    }
    if (current().is_symbol(",")) rendering_.unsupported("a subscript with commas");
    expect_symbol("]");
    return first;
  }

  ExpressionPtr call(ExpressionPtr callee) {
    ExpressionPtr called = with_parts(ExpressionKind::call, std::move(callee));
    arguments(*called);
    return called;
  }
  /// The arguments of a call, if "(" follows.
  void arguments(Expression& parent) {
    if (!take_symbol("(")) return;
    while (!current().is_symbol(")")) {
      if (current().is_symbol("*") || current().is_symbol("**"))
        rendering_.unsupported("an argument with " + current().text);
      if (is(TokenKind::name) && following().is_symbol("=")) {
        const NameRef name = intern(take().text);
        if (std::ranges::find(parent.keywords, name) != parent.keywords.end())
          refuse("keyword argument repeated: " + *name);
        parent.keywords.push_back(name);
        take();
      } else if (!parent.keywords.empty()) {
        refuse("a positional argument follows a keyword argument");
      }
      append(parent, expression());
      if (!current().is_symbol(")")) expect_symbol(",");
    }
    take();
  }

  NameRef dotted_name() {
    std::string name = *expect_name();
    while (take_symbol(".")) name += "." + *expect_name();
    return intern(name);
  }
  /// A filter, after its "|". Without an operand, that of a block.
  ExpressionPtr filter(ExpressionPtr operand) {
    ExpressionPtr applied = node(ExpressionKind::filter);
    append(*applied, std::move(operand));
    applied->name = dotted_name();
    applied->builtin = find_filter(*applied->name);
    arguments(*applied);
    return applied;
  }
  /// A test, after its "is".
  ExpressionPtr test(ExpressionPtr operand) {
    const bool negated = take_name("not");
    ExpressionPtr applied = with_parts(ExpressionKind::test, std::move(operand));
    applied->name = dotted_name();
    applied->builtin = find_test(*applied->name);
    if (begins_test_argument())
      append(*applied, postfix(primary()));
    else
      arguments(*applied);
    return negated ? with_parts(ExpressionKind::negation, std::move(applied)) : std::move(applied);
  }
  bool begins_test_argument() const {
    const Token& token = current();
    if (token.is_name("is")) refuse("tests cannot be chained with is");
    if (token.kind == TokenKind::name)
      return token.text != "else" && token.text != "or" && token.text != "and";
    return token.kind == TokenKind::string || token.kind == TokenKind::integer ||
           token.kind == TokenKind::real || token.is_symbol("[") || token.is_symbol("{");
  }

  Rendering& rendering_;

 private:
  Names& names_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

}}}}  // namespace idefics::v0::detail::jinja
