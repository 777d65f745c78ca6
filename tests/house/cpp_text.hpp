// Just enough of C++'s grammar: where comments and literals are, and where functions begin and end.
#pragma once

#include <cctype>

#include "house/tree.hpp"

namespace house {

inline bool is_cpp(std::string_view path) {
  return path.ends_with(".hpp") || path.ends_with(".inl") || path.ends_with(".cpp") ||
         path.ends_with(".cuh") || path.ends_with(".cu");
}

/// Where the comment or literal that begins at `i` ends; `i` itself if none begins there.
inline std::size_t end_of_quoted(std::string_view text, std::size_t i) {
  const auto behind = [&](std::string_view close, std::size_t from) {
    const std::size_t at = text.find(close, from);
    return at == text.npos ? text.size() : at + close.size();
  };
  if (text.substr(i, 2) == "//") return std::min(text.find('\n', i), text.size());
  if (text.substr(i, 2) == "/*") return behind("*/", i + 2);
  if (text.substr(i, 2) == "R\"" && (i == 0 || !is_word(text[i - 1])))
    return behind(")" + std::string(between(text, "R\"", "(", i)) + "\"", i);
  const bool separator = text[i] == '\'' && i > 0 && is_word(text[i - 1]);  // 1'000'000
  if (text[i] != '"' && (text[i] != '\'' || separator)) return i;
  for (std::size_t j = i + 1; j < text.size(); ++j) {
    if (text[j] == '\\')
      ++j;
    else if (text[j] == text[i])
      return j + 1;
  }
  return text.size();
}

/// The text with blanks for comments and for what stands in quotes; every line keeps its place.
inline std::string code_only(std::string_view text) {
  std::string code(text);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t end = end_of_quoted(text, i);
    for (; i < end; ++i)
      if (code[i] != '\n') code[i] = ' ';
    if (i < text.size() && end_of_quoted(text, i) != i) --i;  // one right behind the other
  }
  return code;
}

/// # lines, with those that continue them, become blank.
inline std::string without_directives(std::string code) {
  bool blank = false, line_begins = true, continues = false;
  for (char& c : code) {
    if (c == '\n') {
      blank = blank && continues;
      line_begins = true, continues = false;
      continue;
    }
    blank = blank || (line_begins && c == '#');
    line_begins = line_begins && c == ' ';
    continues = c == '\\';
    if (blank) c = ' ';
  }
  return code;
}

struct Include {
  std::size_t line;
  std::string name;  // <...> or "..." with its brackets
};

inline std::vector<Include> includes_of(std::string_view text) {
  std::vector<Include> includes;
  const auto lines = lines_of(text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = trimmed(lines[i]);
    if (!line.starts_with("#include")) continue;
    const std::string_view name = trimmed(line.substr(8));
    includes.push_back({i + 1, std::string(name.substr(0, name.find_first_of(">\"", 1) + 1))});
  }
  return includes;
}

struct Function {
  std::string name;
  std::size_t line;   // where it begins
  std::size_t lines;  // up to the closing brace
};

/// Walks over the braces of a file. What lies inside a function, a lambda for instance, belongs to it.
class FunctionFinder {
 public:
  explicit FunctionFinder(std::string_view text) : code_(without_directives(code_only(text))) {}

  std::vector<Function> all() {
    for (std::size_t i = 0; i < code_.size(); ++i) {
      const char c = code_[i];
      if (c == '\n') ++line_;
      if (head_.empty()) head_line_ = line_;
      if (c == '{')
        open();
      else if (c == '}')
        close();
      else if (c == ';' && depth_ == 0)
        head_.clear();
      else if (c == ':' && is_access(trimmed(head_)))
        head_.clear();
      else if (!head_.empty() || !std::isspace(static_cast<unsigned char>(c)))
        head_ += c;
    }
    return functions_;
  }

 private:
  enum class Scope { holds_functions, function, other };  // namespaces and types hold functions

  static bool is_access(std::string_view head) {
    return head == "public" || head == "protected" || head == "private";
  }
  /// What a brace opens, judged by the text between the last ; { or } and it.
  Scope scope() const {
    const std::string_view head = trimmed(head_);
    const auto words = words_of(head);
    const auto has = [&](std::string_view word) { return std::ranges::count(words, word) > 0; };
    if (depth_ > 0 || has("enum")) return Scope::other;
    if (has("namespace") || has("extern")) return Scope::holds_functions;
    const bool type = has("class") || has("struct") || has("union");
    const bool called = head.find('(') != head.npos;
    const std::string_view last = words.empty() ? std::string_view() : words.back();
    const bool body = head.ends_with(')') || head.ends_with('}') || last == "const" ||
                      last == "noexcept" || last == "override" || last == "final" ||
                      head.find("->") != head.npos;
    if (called && body) return Scope::function;
    return type ? Scope::holds_functions : Scope::other;  // a list of initial values
  }

  void open() {
    scopes_.push_back(scope());
    if (scopes_.back() == Scope::function) functions_.push_back({name(), head_line_, 0});
    if (scopes_.back() == Scope::function || depth_ > 0) ++depth_;
    if (scopes_.back() == Scope::other)
      head_ += '{';
    else
      head_.clear();
  }
  void close() {
    if (scopes_.empty()) return;
    if (depth_ > 0 && --depth_ == 0) functions_.back().lines = line_ - functions_.back().line + 1;
    if (scopes_.back() == Scope::other)
      head_ += '}';
    else
      head_.clear();
    scopes_.pop_back();
  }
  std::string name() const {
    const auto words = words_of(std::string_view(head_).substr(0, head_.find('(')));
    return words.empty() ? "?" : std::string(words.back());
  }

  std::string code_;
  std::vector<Function> functions_;
  std::vector<Scope> scopes_;
  int depth_ = 0;  // braces within the current function
  std::string head_;
  std::size_t line_ = 1, head_line_ = 1;
};

inline std::vector<Function> functions_of(std::string_view text) {
  return FunctionFinder(text).all();
}

}  // namespace house
