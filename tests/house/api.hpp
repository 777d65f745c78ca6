// The public API: docs/api.md names everything that a header defines in namespace idefics, outside
// detail, with its header, and nothing else.
#pragma once

#include "house/cpp_text.hpp"

namespace house {

using Names = std::set<std::string, std::less<>>;

/// A declaration up to its parameters or value, without what is in <> and [], and the character that
/// ends it: "template inline T f" and '(' for "template <class T> inline T f(int)".
struct DeclarationHead {
  std::string text;
  char end = ' ';
};

inline DeclarationHead head_of(std::string_view declaration) {
  DeclarationHead head;
  int nested = 0;
  for (const char c : declaration) {
    if (c == '<' || c == '[')
      ++nested;
    else if (c == '>' || c == ']')
      --nested;
    else if (nested == 0 && (c == '(' || c == '='))
      return head.end = c, head;
    else if (nested == 0)
      head.text += c;
  }
  return head;
}

/// The type, function or constant that a declaration at namespace scope introduces; `next` is the {
/// or ; that follows it. Empty for types without a body, operators, members defined outside their
/// class, and the rest of a declaration.
inline std::string declared_name(std::string_view declaration, char next) {
  const DeclarationHead head = head_of(declaration);
  const std::string_view text = trimmed(head.text);
  const auto words = words_of(text);
  const bool continues = text.starts_with(',') || text.starts_with(')');  // after a {} within it
  if (words.empty() || continues) return "";
  static const Names of_types{"class", "struct", "union", "enum", "using", "concept"};
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] == "operator" || words[i] == "namespace") return "";
    if (!of_types.contains(words[i]) || of_types.contains(words[i + 1])) continue;
    const bool defined =
        words[i] == "using" || words[i] == "concept" ? head.end == '=' : next == '{';
    return defined ? std::string(words[i + 1]) : "";
  }
  const std::string_view name = words.back();
  const std::string_view before = text.substr(0, text.size() - name.size());
  const bool constant = std::ranges::count(words, "constexpr") > 0;
  if (name == "operator" || !text.ends_with(name) || before.ends_with(':')) return "";
  return head.end == '(' || constant ? std::string(name) : "";
}

/// What a header introduces in idefics::v0 itself.
inline Names public_names(std::string_view text) {
  Names names;
  std::vector<std::string> spaces;  // the namespaces around the current position
  int hidden = 0;                   // braces within a function, a type, a value or detail
  std::string head;
  for (const char c : without_directives(code_only(text))) {
    if (hidden > 0) {
      hidden += c == '{' ? 1 : c == '}' ? -1 : 0;
      continue;
    }
    if (c != '{' && c != ';' && c != '}') {
      head += c;
      continue;
    }
    const auto words = words_of(head);
    const bool space = c == '{' && std::ranges::count(words, "namespace") > 0;
    if (space && std::ranges::count(words, "detail") == 0)
      spaces.emplace_back(words.back());
    else if (c == '{')
      ++hidden;
    if (c == '}' && !spaces.empty()) spaces.pop_back();
    if (!space && c != '}' && spaces == std::vector<std::string>{"idefics", "v0"})
      if (std::string name = declared_name(head, c); !name.empty()) names.insert(std::move(name));
    head.clear();
  }
  return names;
}

/// Names on the page, by header: "| `Error` | `core/error.hpp` | … |".
inline std::map<std::string, Names> listed_names(std::string_view page) {
  std::map<std::string, Names> listed;
  for (const std::string_view line : lines_of(page)) {
    if (!line.starts_with("| `")) continue;
    const std::string header = "include/idefics/" + std::string(between(line, "` | `", "`"));
    listed[header].emplace(between(line, "| `", "`"));
  }
  return listed;
}

inline Faults unlisted_api(const Tree& tree) {
  const std::string page = "docs/api.md";
  auto listed = listed_names(tree.text(page));
  Faults faults;
  for (const auto& [path, text] : tree.texts()) {
    if (!path.starts_with("include/idefics/") || !path.ends_with(".hpp")) continue;
    const Names declared = public_names(text), &named = listed[path];
    for (const auto& name : declared)
      if (!named.contains(name)) faults.push_back(path + ": " + page + " lacks " + name);
    for (const auto& name : named)
      if (!declared.contains(name)) faults.push_back(page + ": " + path + " has no " + name);
    listed.erase(path);
  }
  for (const auto& [path, names] : listed) faults.push_back(page + ": " + path + " does not exist");
  return faults;
}

}  // namespace house
