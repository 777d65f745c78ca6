// One letter, one meaning: the shapes in comments use the letters of docs/notation.md, and those that
// the head of the file declares ("Letters: M rows, n beams.").
#pragma once

#include "house/cpp_text.hpp"

namespace house {

using Letters = std::map<std::string, std::string>;  // "D" to "width"

/// The table of docs/notation.md; "Y, X" and "height, pixels" are two letters and two names.
inline Letters notation_of(const Tree& tree) {
  const auto cells = [](std::string_view list) {
    std::vector<std::string> parts;
    while (!list.empty()) {
      const std::size_t comma = std::min(list.find(','), list.size());
      parts.emplace_back(trimmed(list.substr(0, comma)));
      list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return parts;
  };
  Letters letters;
  for (const std::string_view line : lines_of(tree.text("docs/notation.md"))) {
    const std::string_view letter = between(line, "| ", " |"), name = between(line, " | ", " |");
    if (letter.empty() || letter[0] < 'A' || letter[0] > 'Z') continue;
    const auto keys = cells(letter), names = cells(name);
    for (std::size_t i = 0; i < keys.size() && i < names.size(); ++i) letters[keys[i]] = names[i];
  }
  return letters;
}

/// A dimension: one capital, perhaps with a small letter after it.
inline bool is_letter(std::string_view word) {
  return !word.empty() && word[0] >= 'A' && word[0] <= 'Z' &&
         (word.size() == 1 || (word.size() == 2 && std::islower(word[1])));
}

/// The comments of a file as one text, without marks; other characters are blank, lines keep their place.
inline std::string comments_of(std::string_view text) {
  std::string comments(text.size(), ' ');
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t end = end_of_quoted(text, i);
    const bool comment = end != i && text[i] == '/';
    for (; i < end; ++i)
      if (comment && text[i] != '/') comments[i] = text[i];
    if (i < text.size() && end_of_quoted(text, i) != i) --i;
    if (i < text.size() && text[i] == '\n') comments[i] = '\n';
  }
  return comments;
}

/// What "Letters: M rows, n beams." declares, up to the end of the sentence.
inline Letters declared_letters(std::string_view comments) {
  Letters letters;
  std::string_view list = between(comments, "Letters:", ".");
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find_first_of(",;"), list.size());
    const auto words = words_of(list.substr(0, comma));
    if (!words.empty()) {
      std::string name;
      for (std::size_t i = 1; i < words.size(); ++i) name.append(i > 1 ? " " : "").append(words[i]);
      letters[std::string(words[0])] = name;
    }
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return letters;
}

/// Whether a bracket in a comment is a shape: dimensions, products and sums of them, words, numbers.
inline bool is_shape(std::string_view inside) {
  return !inside.empty() && std::ranges::all_of(inside, [](char c) {
    return is_word(c) || std::string_view("*+-/, ()").find(c) != std::string_view::npos;
  });
}

inline Faults undeclared_letters(const Tree& tree) {
  Faults faults;
  const Letters notation = notation_of(tree);
  for (const auto& [path, text] : tree.texts()) {
    if (!path.starts_with("include/") && !path.starts_with("cuda/")) continue;
    const std::string comments = comments_of(text);
    const Letters own = declared_letters(comments);
    for (const auto& [letter, name] : own)
      if (const auto known = notation.find(letter);
          known != notation.end() && !(name + " ").starts_with(known->second + " "))
        faults.push_back(path + ": " + letter + " is \"" + known->second +
                         "\" in docs/notation.md, here \"" + name + "\"");
    const auto lines = lines_of(comments);
    for (std::size_t i = 0; i < lines.size(); ++i)
      for (std::size_t open = lines[i].find('['); open != std::string_view::npos;
           open = lines[i].find('[', open + 1)) {
        const std::string_view inside = between(lines[i], "[", "]", open);
        if (!is_shape(inside)) continue;
        for (const std::string_view word : words_of(inside))
          if (is_letter(word) && !notation.contains(std::string(word)) &&
              !own.contains(std::string(word)))
            faults.push_back(at(path, i + 1) + std::string(word) + " in [" + std::string(inside) +
                             "] is declared nowhere");
      }
  }
  return faults;
}

}  // namespace house
