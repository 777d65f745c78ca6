// Expressions of chat templates: the part of Jinja that published templates use.
//
//   literals 'a' "a" 1 true none [a, b] · names · x.y x['y'] x[0] x[1:] · (…) · f(…) x.f(…) · x | f
//   - · % * · + - ~ · == != < > <= >= in, not in, is · not · and · or · a if b else c
#pragma once

#include <cctype>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/io/json.hpp>
#include <idefics/text/template_value.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Parses and evaluates one expression.
class TemplateExpression {
 public:
  TemplateExpression(std::string_view text, const Json& names) : text_(text), names_(names) {}

  /// The value of the whole text.
  Json value() {
    Json result = ternary();
    if (!at_end())
      refuse_template("\"" + std::string(text_.substr(at_, 20)) + "\" after an expression");
    return result;
  }
  /// Consumes and returns a name.
  std::string name() {
    skip_spaces();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    if (begin == at_) refuse_template("expected a name");
    return std::string(text_.substr(begin, at_ - begin));
  }
  bool take(std::string_view symbol) {
    skip_spaces();
    if (!text_.substr(at_).starts_with(symbol)) return false;
    const std::size_t end = at_ + symbol.size();
    if (is_word(symbol.back()) && end < text_.size() && is_word(text_[end])) return false;
    at_ = end;
    return true;
  }
  bool at_end() {
    skip_spaces();
    return at_ == text_.size();
  }

 private:
  static bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  }
  void skip_spaces() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  void expect(std::string_view symbol) {
    if (!take(symbol)) refuse_template("expected \"" + std::string(symbol) + "\"");
  }

  /// Parses a part of the text without evaluating it, where Jinja would not.
  template <class Part>
  void skip(const Part& part) {
    ++skipping_;
    part();
    --skipping_;
  }
  /// The result of an operation; undefined in a skipped part.
  template <class Operation>
  Json result(const Operation& operation) const {
    return skipping_ > 0 ? undefined() : Json(operation());
  }

  /// a if b else c: b decides, so a is skipped first, and parsed again unless b is false.
  Json ternary() {
    if (++depth_ > 32) refuse_template("expressions are nested too deeply");
    const std::size_t begin = at_;
    skip([this] { disjunction(); });
    const bool conditional = take("if");
    const bool first = !conditional || is_true(disjunction());
    Json value = undefined();
    if (first && skipping_ == 0) {
      const std::size_t end = std::exchange(at_, begin);
      value = disjunction();
      at_ = end;
    }
    if (conditional && take("else")) {
      if (first)
        skip([this] { ternary(); });
      else
        value = ternary();
    }
    --depth_;
    return value;
  }
  Json disjunction() {
    Json value = conjunction();
    while (take("or")) {
      if (is_true(value))
        skip([this] { conjunction(); });
      else
        value = conjunction();
    }
    return value;
  }
  Json conjunction() {
    Json value = negation();
    while (take("and")) {
      if (is_true(value))
        value = negation();
      else
        skip([this] { negation(); });
    }
    return value;
  }
  Json negation() {
    bool any = false, negated = false;
    while (take("not")) any = true, negated = !negated;
    Json value = comparison();
    return any ? Json(is_true(value) != negated) : value;
  }

  Json comparison() {
    Json left = sum();
    for (;;) {
      if (take("==")) {
        left = is_equal(left, sum());
      } else if (take("!=")) {
        left = !is_equal(left, sum());
      } else if (take("<=")) {
        left = left <= sum();
      } else if (take(">=")) {
        left = left >= sum();
      } else if (take("<")) {
        left = left < sum();
      } else if (take(">")) {
        left = left > sum();
      } else if (take("in")) {
        left = contains(sum(), left);
      } else if (take("not")) {
        expect("in");
        left = !contains(sum(), left);
      } else if (take("is")) {
        const bool wanted = !take("not");
        left = passes_test(left, name()) == wanted;
      } else {
        return left;
      }
    }
  }
  Json sum() {
    Json left = product();
    for (;;) {
      const char sign = take("~") ? '~' : take("+") ? '+' : take("-") ? '-' : ' ';
      if (sign == ' ') return left;
      const Json right = product();
      left = result([&]() -> Json {
        if (sign == '~') return joined(to_text(left), to_text(right));
        return sign == '+' ? sum_of(left, right) : Json(to_integer(left) - to_integer(right));
      });
    }
  }
  Json product() {
    Json left = signed_value();
    for (;;) {
      const bool modulo = take("%");
      if (!modulo && !take("*")) return left;
      const Json right = signed_value();
      left = result([&]() -> Json {
        return modulo ? modulo_of(left, right) : Json(to_integer(left) * to_integer(right));
      });
    }
  }
  Json signed_value() {
    bool any = false, negative = false;
    while (take("-")) any = true, negative = !negative;
    Json value = postfix(primary());
    if (!any) return value;
    return result([&] { return negative ? -to_integer(value) : to_integer(value); });
  }

  /// Members, subscripts, method calls and filters.
  Json postfix(Json value) {
    for (;;) {
      if (take(".")) {
        const std::string member = name();
        if (take("("))
          value = called(member, value, arguments(")"));
        else
          value = member_of(value, member);
      } else if (take("[")) {
        value = subscript(value);
      } else if (take("|")) {
        const std::string filter = name();
        value = called(filter, value, take("(") ? arguments(")") : Json::array());
      } else {
        return value;
      }
    }
  }
  Json called(const std::string& function, const Json& value, const Json& given) const {
    return result([&] { return call(function, value, given); });
  }
  Json subscript(const Json& value) {
    Json first = undefined();
    if (!take(":")) {
      first = ternary();
      if (!take(":")) {
        expect("]");
        return member_of(value, first);
      }
    }
    Json last = undefined();
    if (!take("]")) {
      last = ternary();
      expect("]");
    }
    return result([&] { return slice_of(value, first, last); });
  }
  Json arguments(std::string_view close) {
    Json list = Json::array();
    while (!take(close)) {
      list.push_back(ternary());
      if (take(",")) continue;
      expect(close);
      break;
    }
    return list;
  }

  Json primary() {
    skip_spaces();
    if (at_ == text_.size()) refuse_template("an expression is incomplete");
    const char c = text_[at_];
    if (c == '\'' || c == '"') return quoted(c);
    if (c >= '0' && c <= '9') return number();
    if (take("(")) {
      Json value = ternary();
      expect(")");
      return value;
    }
    if (take("[")) return arguments("]");
    const std::string word = name();
    if (word == "true" || word == "True") return true;
    if (word == "false" || word == "False") return false;
    if (word == "none" || word == "None") return nullptr;
    if (take("(")) return called(word, undefined(), arguments(")"));
    return names_.contains(word) ? names_.at(word) : undefined();
  }
  Json number() {
    std::int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_)
      value = to_integer(value * 10 + (text_[at_] - '0'));
    return value;
  }
  Json quoted(char quote) {
    std::string text;
    for (++at_; at_ < text_.size() && text_[at_] != quote; ++at_) {
      char c = text_[at_];
      if (c == '\\' && at_ + 1 < text_.size()) {
        c = text_[++at_];
        c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
      }
      text.push_back(c);
    }
    if (at_ == text_.size()) refuse_template("a string is not closed");
    ++at_;
    return text;
  }

  std::string_view text_;
  const Json& names_;
  std::size_t at_ = 0;
  int depth_ = 0, skipping_ = 0;
};

}}}  // namespace idefics::v0::detail
