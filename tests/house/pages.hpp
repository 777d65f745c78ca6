// What pages and comments promise: that files are where they say, and that each error is explained.
#pragma once

#include "house/cpp_text.hpp"

namespace house {

/// The folder of a page, with its slash.
inline std::string folder_of(const std::string& path) {
  return path.substr(0, path.rfind('/') + 1);
}

/// "docs/layers/" and "../notation.md" give "docs/notation.md".
inline std::string joined(const std::string& folder, std::string_view link) {
  return (std::filesystem::path(folder) / link).lexically_normal().generic_string();
}

/// Targets of markdown links on a line, without the part behind #.
inline std::vector<std::string> links_of(std::string_view line) {
  std::vector<std::string> links;
  for (std::size_t i = line.find("]("); i != line.npos; i = line.find("](", i + 1)) {
    const std::string_view target = between(line, "](", ")", i);
    links.emplace_back(target.substr(0, target.find('#')));
  }
  return links;
}

/// Paths from the root that a line names: "see tests/run.sh." gives "tests/run.sh".
inline std::vector<std::string> paths_of(std::string_view line) {
  static const std::set<std::string, std::less<>> folders{"include", "docs",  "tests", "samples",
                                                          "bench",   "cmake", "cuda",  ".ci"};
  const auto in_path = [](char c) { return is_word(c) || c == '.' || c == '-' || c == '/'; };
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (!in_path(line[i])) continue;
    const std::size_t begin = i;
    while (i < line.size() && in_path(line[i])) ++i;
    std::string_view path = line.substr(begin, i - begin);
    while (path.ends_with('.') || path.ends_with('-')) path.remove_suffix(1);
    const bool pattern = i < line.size() && (line[i] == '*' || line[i] == '<' || line[i] == '{');
    if (pattern) path = path.substr(0, path.rfind('/') + 1);
    if (path.find('/') != path.npos && folders.contains(path.substr(0, path.find('/'))))
      paths.emplace_back(path);
  }
  return paths;
}

/// What line `number` of `path` names that is not there. Links are not looked for in blocks of code.
inline Faults dead_on_line(const Tree& tree, const std::string& path, std::size_t number,
                           std::string_view line, bool code) {
  Faults faults;
  if (path.ends_with(".md") && !code)
    for (const std::string& link : links_of(line))
      if (!link.empty() && link.find(':') == link.npos &&
          !tree.exists(joined(folder_of(path), link)))
        faults.push_back(at(path, number) + "the link to " + link + " leads nowhere");
  for (const std::string& named : paths_of(line))
    if (!tree.exists(named)) faults.push_back(at(path, number) + named + " does not exist");
  return faults;
}

inline Faults dead_paths(const Tree& tree) {
  Faults faults;
  for (const auto& [path, text] : tree.texts()) {
    if (path.starts_with("tests/house/")) continue;  // names what it plants
    const auto lines = lines_of(text);
    bool code = false;
    for (std::size_t i = 0; i < lines.size(); ++i) {
      code = code != trimmed(lines[i]).starts_with("```");
      std::ranges::move(dead_on_line(tree, path, i + 1, lines[i], code),
                        std::back_inserter(faults));
    }
  }
  return faults;
}

/// Every ErrorCode has its paragraph in docs/errors.md, and no paragraph is about another word.
inline Faults error_pages(const Tree& tree) {
  std::set<std::string> codes, explained;
  const std::string header = code_only(tree.text("include/idefics/core/error.hpp"));
  for (const auto word : words_of(between(header, "enum class ErrorCode {", "}")))
    codes.insert(std::string(word));
  for (const std::string_view line : lines_of(tree.text("docs/errors.md")))
    if (line.starts_with("**`")) explained.insert(std::string(between(line, "**`", "`**")));
  Faults faults;
  for (const auto& code : codes)
    if (!explained.contains(code)) faults.push_back("docs/errors.md: nothing about " + code);
  for (const auto& code : explained)
    if (!codes.contains(code)) faults.push_back("docs/errors.md: " + code + " is no ErrorCode");
  return faults;
}

/// A ```c++ block of a page is an excerpt: it is, letter for letter, in the C++ file that the page
/// named last before it. (A ```cpp block is a program of its own, which house.snippets compiles.)
inline Faults wrong_excerpts(const Tree& tree) {
  Faults faults;
  for (const auto& [path, text] : tree.texts()) {
    if (!path.ends_with(".md")) continue;
    std::string source, excerpt;
    std::size_t begin = 0;  // line of the block's fence; 0 outside
    const auto lines = lines_of(text);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (begin > 0 && lines[i] == "```") {
        if (excerpt.empty() || tree.text(source).find(excerpt) == std::string_view::npos)
          faults.push_back(at(path, begin) + "this is not in " + source);
        begin = 0;
      } else if (begin > 0) {
        excerpt.append(lines[i]).append("\n");
      } else if (lines[i] == "```c++") {
        begin = i + 1;
        excerpt.clear();
      } else {
        for (const std::string& named : paths_of(lines[i]))
          if (is_cpp(named)) source = named;
      }
    }
  }
  return faults;
}

/// Every page of docs/ is linked from docs/index.md.
inline Faults orphan_pages(const Tree& tree) {
  std::set<std::string> linked{"docs/index.md"};
  for (const std::string_view line : lines_of(tree.text("docs/index.md")))
    for (const std::string& link : links_of(line)) linked.insert(joined("docs/", link));
  Faults faults;
  for (const auto& [path, text] : tree.texts())
    if (path.starts_with("docs/") && path.ends_with(".md") && !linked.contains(path))
      faults.push_back(path + ": docs/index.md has no link to it");
  return faults;
}

/// Macros that a user may define, which headers only ask for, are in the table of core/config.hpp.
inline Faults unlisted_macros(const Tree& tree) {
  const std::string table = "include/idefics/core/config.hpp";
  std::map<std::string, std::string> asked;  // macro to the line that asks for it
  std::set<std::string, std::less<>> defined;
  for (const auto& [path, text] : tree.texts()) {
    if (!path.starts_with("include/")) continue;
    const auto lines = lines_of(text);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string_view line = trimmed(lines[i]);
      if (!line.starts_with("#")) continue;
      for (const std::string_view word : words_of(line))
        if (word.starts_with("IDEFICS_"))
          line.starts_with("#define") ? void(defined.emplace(word))
                                      : void(asked.emplace(word, at(path, i + 1)));
    }
  }
  Faults faults;
  for (const auto& [macro, where] : asked)
    if (!defined.contains(macro) &&
        tree.text(table).find("//   " + macro) == std::string_view::npos &&
        tree.text(table).find(", " + macro) == std::string_view::npos)
      faults.push_back(where + macro + " is not in the table of " + table);
  return faults;
}

/// "[M,D]", "[N*P, 3*p*p]": a bracket with a letter of docs/notation.md behind it.
inline bool has_shape(std::string_view text) {
  for (std::size_t i = text.find('['); i != text.npos; i = text.find('[', i + 1))
    if (i + 2 < text.size() && text[i + 1] >= 'A' && text[i + 1] <= 'Z' &&
        !std::islower(text[i + 2]))
      return true;
  return false;
}

/// A page of docs/layers/ has a formula, shapes, a worked example, and names its code and source.
inline Faults layer_pages(const Tree& tree) {
  Faults faults;
  for (const auto& [path, text] : tree.texts()) {
    if (!path.starts_with("docs/layers/")) continue;
    for (const std::string_view part :
         {"## Formula", "## A tiny example", "Code: `include/", "Source:"})
      if (text.find(part) == text.npos) faults.push_back(path + ": lacks " + std::string(part));
    if (!has_shape(text)) faults.push_back(path + ": lacks shapes");
  }
  return faults;
}

}  // namespace house
