// What jinja2 decides about a template before it renders it: which names a scope hides, and whether
// filters and tests exist.
//
// A variable is looked up in its scope, in those around it, and then among the variables that the
// caller passed. But a name that a scope assigns, without having used it before at the same level,
// belongs to the scope from its beginning. Code in inner scopes that runs before the assignment
// (the body of a loop, a macro) finds it undefined, even if the caller passed a variable of that
// name. Source: jinja2's idtracking.
#pragma once

#include <set>
#include <string>
#include <vector>

#include <idefics/text/jinja/syntax.hpp>

namespace idefics { inline namespace v0 { namespace detail { namespace jinja {

/// Analyzes one scope: its own statements first, then those within it.
class Scope {
 public:
  Scope(Rendering& r, Body& body, const Scope* outer, bool loop)
      : rendering_(r), body_(body), outer_(outer), in_loop_(loop || (outer && outer->in_loop_)) {}

  void analyze() {
    visit(body_, false);
    for (const auto& [statement, index] : inner_) analyze_inner(*statement, index);
  }

 private:
  bool knows(NameRef name) const {
    return known_.contains(name) || (outer_ != nullptr && outer_->knows(name));
  }

  void declare(const Expression& target) {
    if (target.name != nullptr) known_.insert(target.name);
    for (const ExpressionPtr& part : target.parts) declare(*part);
  }

  /// An expression that is evaluated in this scope. `perhaps`: only under a condition; filters and
  /// tests in it need not exist.
  void read(const ExpressionPtr& expression, bool perhaps) {
    if (!expression) return;
    const Expression& e = *expression;
    rendering_.line = e.line;
    if (e.kind == ExpressionKind::name) known_.insert(e.name);
    const bool filter = e.kind == ExpressionKind::filter;
    if ((filter || e.kind == ExpressionKind::test) && e.builtin == nullptr && !perhaps)
      rendering_.syntax(std::string("there is no ") + (filter ? "filter" : "test") + " named '" +
                        *e.name + "'");
    for (const ExpressionPtr& part : e.parts)
      read(part, perhaps || e.kind == ExpressionKind::conditional);
  }
  void read(const std::vector<ExpressionPtr>& expressions, bool perhaps) {
    for (const ExpressionPtr& expression : expressions) read(expression, perhaps);
  }

  void assign(NameRef name, bool perhaps) {
    if (!perhaps && !knows(name)) body_.hidden.push_back(name);
    known_.insert(name);
  }
  void assign(const Expression& target, bool perhaps) {
    require_not_loop(target);
    if (target.kind == ExpressionKind::namespace_target)
      known_.insert(target.name);
    else if (target.kind == ExpressionKind::name)
      assign(target.name, perhaps);
    for (const ExpressionPtr& part : target.parts) assign(*part, perhaps);
  }
  void require_not_loop(const Expression& target) const {
    rendering_.line = target.line;
    if (in_loop_ && target.kind == ExpressionKind::name && *target.name == "loop")
      rendering_.syntax("loop cannot be assigned to in a loop");
    for (const ExpressionPtr& part : target.parts) require_not_loop(*part);
  }

  void visit(const Body& body, bool perhaps) {
    for (const StatementPtr& statement : body.statements) visit(*statement, perhaps);
  }
  void visit(Statement& s, bool perhaps) {
    if (s.kind == StatementKind::condition) {
      for (std::size_t i = 0; i < s.bodies.size(); ++i) {
        if (i < s.values.size()) read(s.values[i], true);
        visit(s.bodies[i], true);
      }
      return;
    }
    // defaults of a macro, and the filters of a block assignment, belong to the inner scope
    if (s.kind != StatementKind::macro) read(s.values, perhaps);
    if (s.kind != StatementKind::block_assignment) read(s.value, perhaps);
    if (s.kind == StatementKind::macro) assign(s.name, perhaps);
    if (s.target && s.kind != StatementKind::loop) assign(*s.target, perhaps);
    for (std::size_t i = 0; i < s.bodies.size(); ++i) inner_.emplace_back(&s, i);
  }

  /// A scope within this one, when all of this one is known.
  void analyze_inner(Statement& s, std::size_t index) const {
    const bool is_loop = s.kind == StatementKind::loop;
    Scope scope(rendering_, s.bodies[index], this, is_loop);
    if (is_loop) {
      scope.require_not_loop(*s.target);
      if (index == 0) {
        Body none;
        Scope(rendering_, none, this, true).read(s.condition, false);
        scope.declare(*s.target);
      }
    }
    for (const NameRef parameter : s.parameters) scope.known_.insert(parameter);
    if (s.kind == StatementKind::macro) scope.read(s.values, false);
    for (const ExpressionPtr& target : s.targets) scope.declare(*target);
    if (s.kind == StatementKind::block_assignment) scope.read(s.value, false);
    scope.analyze();
  }

  Rendering& rendering_;
  Body& body_;
  const Scope* outer_;
  bool in_loop_;
  std::set<NameRef> known_;
  std::vector<std::pair<Statement*, std::size_t>> inner_;
};

}}}}  // namespace idefics::v0::detail::jinja
