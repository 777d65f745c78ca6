// Statements, and the template as a whole.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/text/jinja/expression_parser.hpp>
#include <idefics/text/jinja/scopes.hpp>
#include <idefics/text/jinja/syntax.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// A template: its statements, and the names that they use.
struct Template {
  Names names;
  Body body;
};

class Parser : ExpressionParser {
 public:
  Parser(Rendering& r, Names& names, std::vector<Token> tokens)
      : ExpressionParser(r, names, std::move(tokens)) {}

  Body parse() {
    Body statements = body({});
    if (!is(TokenKind::end)) refuse("unexpected " + described(current()));
    return statements;
  }

 private:
  using Words = std::initializer_list<std::string_view>;

  /// Statements up to a tag that begins with one of the words, or to the end of the template. The
  /// word is the current token then.
  Body body(Words ends) {
    Body made;
    const auto add_output = [&](ExpressionPtr part) {
      if (made.statements.empty() || made.statements.back()->kind != StatementKind::output)
        made.statements.push_back(node(StatementKind::output, part->line));
      made.statements.back()->values.push_back(std::move(part));
    };
    while (!is(TokenKind::end)) {
      const int line = current().line;
      if (is(TokenKind::data)) {
        add_output(literal(line, Value::text(rendering_, take().text)));
      } else if (is(TokenKind::variable_begin)) {
        take();
        add_output(tuple({}));
        expect(TokenKind::variable_end, "}}");
      } else {
        expect(TokenKind::block_begin, "{%");
        if (std::ranges::any_of(ends, [this](auto word) { return current().is_name(word); }))
          return made;
        made.statements.push_back(statement());
        expect(TokenKind::block_end, "%}");
      }
    }
    return made;
  }

  /// The body of a statement, after its tag's words (and perhaps a colon). The word that ended it
  /// is the current token.
  Body block(Words ends) {
    take_symbol(":");
    expect(TokenKind::block_end, "%}");
    Body statements = body(ends);
    if (is(TokenKind::end))
      refuse("unexpected end of template; {% " + std::string(*ends.begin()) + " %} is missing");
    return statements;
  }
  /// A body that only one word ends; moves after it.
  Body whole_block(std::string_view end) {
    Body statements = block({end});
    take();
    return statements;
  }
  static StatementPtr node(StatementKind kind, int line) {
    return std::make_unique<Statement>(kind, line);
  }

  StatementPtr statement() {
    rendering_.line = current().line;
    const Nested nested(rendering_);
    if (!is(TokenKind::name)) refuse("tag name expected, got " + described(current()));
    const int line = current().line;
    const std::string word = take().text;
    if (word == "for") return loop(line);
    if (word == "if") return condition(line);
    if (word == "set") return assignment(line);
    if (word == "macro") return macro(line);
    if (word == "filter") {
      auto made = node(StatementKind::filter_block, line);
      made->value = filters(filter(nullptr));
      made->bodies.push_back(whole_block("endfilter"));
      return made;
    }
    if (word == "with") return with(line);
    if (word == "generation") {
      auto made = node(StatementKind::generation, line);
      const Within no_loop(loops_, 0);
      made->bodies.push_back(whole_block("endgeneration"));
      return made;
    }
    if (word == "break" || word == "continue") {
      if (loops_ == 0) refuse(line, "'" + word + "' outside loop");
      return node(word == "break" ? StatementKind::break_loop : StatementKind::continue_loop, line);
    }
    for (const std::string_view other :
         {"call", "print", "block", "extends", "include", "import", "from", "autoescape"})
      if (word == other) rendering_.unsupported("{% " + word + " %}");
    refuse(line, "unknown tag '" + word.substr(0, 40) + "'");
  }

  /// What a loop or {% set %} assigns to: a name, names in a tuple, or, for the latter, attributes
  /// of namespaces.
  ExpressionPtr target(bool with_namespaces) {
    const int line = current().line;
    ExpressionPtr parsed = tuple_of({}, [&] {
      ExpressionPtr part = primary();
      if (!with_namespaces || part->kind != ExpressionKind::name || !take_symbol(".")) return part;
      auto made = std::make_unique<Expression>(ExpressionKind::namespace_target, part->line);
      made->name = part->name;
      made->attribute = expect_name();
      return made;
    });
    require_target(*parsed, line);
    return parsed;
  }
  void require_target(const Expression& target, int line) {
    if (target.kind == ExpressionKind::tuple)
      for (const auto& item : target.parts) require_target(*item, line);
    else if (target.kind != ExpressionKind::name && target.kind != ExpressionKind::namespace_target)
      refuse(line, "this cannot be assigned to");
  }

  StatementPtr loop(int line) {
    auto loop = node(StatementKind::loop, line);
    loop->target = target(false);
    if (!take_name("in")) refuse("expected 'in', got " + described(current()));
    loop->value = tuple({.conditional = false});
    if (take_name("if")) loop->condition = expression();
    if (current().is_name("recursive")) rendering_.unsupported("a recursive loop");
    {
      const Within inside(loops_, loops_ + 1);
      loop->bodies.push_back(block({"endfor", "else"}));
    }
    const bool has_else = current().is_name("else");
    take();
    loop->bodies.push_back(has_else ? whole_block("endfor") : Body());
    return loop;
  }

  StatementPtr condition(int line) {
    auto condition = node(StatementKind::condition, line);
    for (;;) {
      condition->values.push_back(tuple({.conditional = false}));
      condition->bodies.push_back(block({"endif", "else", "elif"}));
      if (take_name("elif")) continue;
      const bool has_else = current().is_name("else");
      take();
      if (has_else) condition->bodies.push_back(whole_block("endif"));
      return condition;
    }
  }

  StatementPtr assignment(int line) {
    ExpressionPtr assigned = target(true);
    const bool plain = take_symbol("=");
    auto set = node(plain ? StatementKind::assignment : StatementKind::block_assignment, line);
    set->target = std::move(assigned);
    set->value = plain ? tuple({}) : filters(nullptr);
    if (!plain) set->bodies.push_back(whole_block("endset"));
    return set;
  }
  /// A chain of filters for a block; null without filters.
  ExpressionPtr filters(ExpressionPtr chain) {
    while (take_symbol("|")) chain = filter(std::move(chain));
    return chain;
  }

  StatementPtr macro(int line) {
    auto macro = node(StatementKind::macro, line);
    macro->name = expect_name();
    expect_symbol("(");
    bool optional = false;
    while (!current().is_symbol(")")) {
      if (!macro->parameters.empty()) expect_symbol(",");
      const NameRef name = expect_name();
      if (std::ranges::find(macro->parameters, name) != macro->parameters.end())
        refuse("duplicate parameter '" + *name + "'");
      const bool has_default = take_symbol("=");
      if (optional && !has_default) refuse("a parameter without a default follows one that has it");
      optional = has_default;
      macro->parameters.push_back(name);
      macro->values.push_back(has_default ? expression() : nullptr);
    }
    take();
    const Within no_loop(loops_, 0);
    macro->bodies.push_back(whole_block("endmacro"));
    return macro;
  }

  StatementPtr with(int line) {
    auto with = node(StatementKind::with, line);
    while (!is(TokenKind::block_end)) {
      if (!with->targets.empty()) expect_symbol(",");
      with->targets.push_back(target(false));
      expect_symbol("=");
      with->values.push_back(expression());
    }
    with->bodies.push_back(whole_block("endwith"));
    return with;
  }

  /// Another value of a variable, while it exists.
  class Within {
   public:
    Within(int& variable, int value)
        : variable_(variable), before_(std::exchange(variable, value)) {}
    ~Within() { variable_ = before_; }
    Within(const Within&) = delete;
    Within& operator=(const Within&) = delete;

   private:
    int& variable_;
    int before_;
  };

  int loops_ = 0;  // that a break here could end
};

inline void parse_template(Rendering& r, std::string_view source, Template& out) {
  if (source.size() > r.limits().source_bytes)
    r.exceeded("bytes of source", r.limits().source_bytes);
  if (const auto valid = valid_utf8_prefix(source); valid != source.size())
    r.syntax("it is not UTF-8");
  out.body = Parser(r, out.names, Lexer(r, source).tokens()).parse();
  Scope(r, out.body, nullptr, false).analyze();
}

}}}}  // namespace idefics::v0::detail::jinja
