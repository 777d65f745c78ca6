// A key of an adapter's rank_pattern or alpha_pattern: the name of modules, or a regular expression,
// which matches a path that ends in it, from a dot on. Source: peft 0.18.0, get_pattern_key.
//
// The expression is Python's. It is translated to POSIX's extended form, which the C library matches
// in linear time; what POSIX lacks is refused.
#pragma once

#include <regex.h>

#include <algorithm>
#include <cstddef>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace idefics { inline namespace v0 { namespace detail {

/// The extended form of a Python expression; none for what it cannot say.
class PosixExpression {
 public:
  static std::optional<std::string> of(std::string_view python) {
    PosixExpression made(python);
    return made.translate() ? std::optional(std::move(made.posix_)) : std::nullopt;
  }

 private:
  explicit PosixExpression(std::string_view python) : python_(python) {}

  bool translate() {
    if (python_.empty() || python_.size() > 256) return false;
    while (at_ < python_.size())
      if (!(python_[at_] == '[' ? set() : element())) return false;
    return true;
  }
  char next() const { return at_ + 1 < python_.size() ? python_[at_ + 1] : '\0'; }

  bool element() {
    const char c = python_[at_];
    if (c == '\\') return escape("[0-9]", "[[:alnum:]_]", "[[:space:]]", true);
    if (c == '{') return count();
    if (c == '(' && ++depth_ > 8) return false;
    if (c == ')') --depth_;
    if (c == '(' && next() == '?') {
      if (!python_.substr(at_).starts_with("(?:")) return false;
      at_ += 3, posix_ += '(';
      return true;
    }
    if (static_cast<unsigned char>(c) >= 0x80) return false;
    posix_ += c, ++at_;
    if (c == '*' || c == '+' || c == '?') return after_quantifier();
    return true;
  }
  /// A lazy quantifier matches whole paths as well as a greedy one.
  bool after_quantifier() {
    if (at_ < python_.size() && python_[at_] == '?') ++at_;
    return at_ == python_.size() || std::string_view("+*{").find(python_[at_]) == std::string::npos;
  }
  bool count() {
    const auto end = python_.find('}', at_);
    if (counted_ || end == std::string_view::npos || end - at_ > 4) return false;
    if (posix_.empty() || posix_.ends_with(')')) return false;
    for (const char c : python_.substr(at_ + 1, end - at_ - 1))
      if (c != ',' && (c < '0' || c > '9')) return false;
    posix_.append(python_.substr(at_, end + 1 - at_));
    counted_ = true, at_ = end + 1;
    return after_quantifier();
  }
  bool escape(const char* digit, const char* word, const char* space, bool keep) {
    const char c = next();
    at_ += 2;
    if (c == 'd' || c == 'w' || c == 's') {
      posix_ += c == 'd' ? digit : c == 'w' ? word : space;
      return true;
    }
    const bool plain = c > ' ' && c < 0x7f && std::string_view("[]").find(c) == std::string::npos;
    const bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!plain || letter) return false;
    if (keep && c != '_') posix_ += '\\';
    posix_ += c;
    return true;
  }
  bool set() {
    posix_ += '[', ++at_;
    if (at_ < python_.size() && python_[at_] == '^') posix_ += '^', ++at_;
    for (bool first = true; at_ < python_.size(); first = false) {
      const char c = python_[at_];
      if (c == ']' && !first) {
        posix_ += ']', ++at_;
        return true;
      }
      if (c == '\\') {
        if (!escape("0-9", "[:alnum:]_", "[:space:]", false)) return false;
      } else if (c == '[' || c == ']' || static_cast<unsigned char>(c) >= 0x80) {
        return false;
      } else {
        posix_ += c, ++at_;
      }
    }
    return false;
  }

  std::string_view python_;
  std::string posix_;
  std::size_t at_ = 0;
  // so that compiling stays cheap: one count, of a single character, and groups that are not deep
  bool counted_ = false;
  int depth_ = 0;
};

/// Compiled for each use: a compiled expression takes thousands of times its length. A name, with dots
/// for any character, is not compiled: glibc 2.36 ends the program where regcomp has no memory.
class ModulePattern {
 public:
  /// None for an expression that is not supported.
  static std::optional<ModulePattern> of(std::string_view expression) {
    if (is_name(expression)) return ModulePattern(std::string(expression), true);
    const auto posix = PosixExpression::of(expression);
    if (!posix) return std::nullopt;
    ModulePattern pattern("^(.*\\.)?(" + *posix + ")$");
    const Compiled compiled(pattern.posix_);
    return compiled.valid() ? std::optional(std::move(pattern)) : std::nullopt;
  }
  bool matches(const std::string& path) const {
    return is_name_ ? ends_in_name(path) : Compiled(posix_).matches(path);
  }

 private:
  explicit ModulePattern(std::string posix, bool is_name = false)
      : posix_(std::move(posix)), is_name_(is_name) {}

  static bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= 256 && std::ranges::all_of(text, [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
             c == '_' || c == '.';
    });
  }
  bool ends_in_name(std::string_view path) const {
    if (path.size() < posix_.size()) return false;
    const std::size_t begin = path.size() - posix_.size();
    return (begin == 0 || path[begin - 1] == '.') &&
           std::equal(posix_.begin(), posix_.end(),
                      path.begin() + static_cast<std::ptrdiff_t>(begin),
                      [](char name, char c) { return name == c || name == '.'; });
  }

  class Compiled {
   public:
    explicit Compiled(const std::string& posix)
        : status_(::regcomp(&compiled_, posix.c_str(), REG_EXTENDED | REG_NOSUB)) {
      if (status_ == REG_ESPACE) throw std::bad_alloc();
    }
    Compiled(const Compiled&) = delete;
    Compiled& operator=(const Compiled&) = delete;
    ~Compiled() {
      if (valid()) ::regfree(&compiled_);
    }
    bool valid() const { return status_ == 0; }
    bool matches(const std::string& path) const {
      return ::regexec(&compiled_, path.c_str(), 0, nullptr, 0) == 0;
    }

   private:
    regex_t compiled_{};
    int status_;
  };

  std::string posix_;  // or the name
  bool is_name_;
};

}}}  // namespace idefics::v0::detail
