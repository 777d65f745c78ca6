// Plain English: phrases that readers of this project once stumbled over, and what is said instead.
// docs/glossary.md has the list for people; this is the one for the machine.
#pragma once

#include "house/cpp_text.hpp"

namespace house {

/// Refused words, unless `before` comes before them or one of `unless` follows.
struct Phrase {
  std::vector<std::string_view> words;
  std::vector<std::string_view> unless{};
  std::string_view before{};
};

inline const std::vector<Phrase>& refused_phrases() {
  static const std::vector<std::string_view> amount{"longer", "more",      "less", "better",
                                                    "worse",  "different", "one"};
  static const std::vector<std::string_view> idiom{"for", "alone", "out", "in"};
  static const std::vector<Phrase> phrases{
      {{"behind"}, {"a", "the"}},  // a proxy, a load balancer
      {{"lies"}},
      {{"lie"}},
      {{"stands"}, idiom},
      {{"stand"}, idiom},
      {{"whoever"}},
      {{"nobody"}},
      {{"somebody"}},
      {{"anybody"}},
      {{"is", "no"}, amount, "there"},
      {{"are", "no"}, amount, "there"},
      {{"is", "none"}},
      {{"are", "none"}},
      {{"called", "in"}},
      {{"calls", "in"}},
      {{"goes", "by"}},
      {{"go", "by"}},
      {{"hands", "out"}},
      {{"hands", "on"}},
      {{"handed", "out"}},
      {{"foresee"}},
      {{"foresees"}},
      {{"foreseen"}},
      {{"no", "weight's"}},
  };
  return phrases;
}

struct Word {
  std::string text;  // in lower case
  std::size_t line;
  bool joined;  // only blanks, line ends and comment marks since the previous word
};

inline std::vector<Word> prose_words(std::string_view text) {
  const auto part_of_word = [](char c) { return is_word(c) || c == '\''; };
  std::vector<Word> words;
  std::size_t line = 1;
  bool joined = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') ++line;
    if (!part_of_word(text[i])) {
      joined = joined && (std::isspace(static_cast<unsigned char>(text[i])) || text[i] == '/' ||
                          text[i] == '*' || text[i] == '#');
      continue;
    }
    Word& word = words.emplace_back(Word{"", line, joined});
    for (; i < text.size() && part_of_word(text[i]); ++i)
      word.text += static_cast<char>(std::tolower(static_cast<unsigned char>(text[i])));
    --i;
    joined = true;
  }
  return words;
}

inline bool begins(const std::vector<Word>& words, std::size_t i, const Phrase& phrase) {
  for (std::size_t k = 0; k < phrase.words.size(); ++k)
    if (i + k >= words.size() || words[i + k].text != phrase.words[k] ||
        (k > 0 && !words[i + k].joined))
      return false;
  if (i > 0 && words[i].joined && words[i - 1].text == phrase.before) return false;
  const std::size_t next = i + phrase.words.size();
  return next == words.size() || !words[next].joined ||
         std::ranges::find(phrase.unless, words[next].text) == phrase.unless.end();
}

/// Refused phrases in code, comments, messages and pages.
inline Faults dialect(const Tree& tree) {
  Faults faults;
  for (const auto& [path, text] : tree.texts()) {
    if (path.starts_with("tests/house/") || path == "docs/glossary.md") continue;  // name them
    const auto words = prose_words(text);
    for (std::size_t i = 0; i < words.size(); ++i)
      for (const Phrase& phrase : refused_phrases())
        if (begins(words, i, phrase)) {
          std::string said;
          for (const std::string_view word : phrase.words) said.append(word).append(" ");
          faults.push_back(at(path, words[i].line) + "\"" + std::string(trimmed(said)) +
                           "\": docs/glossary.md says it otherwise");
        }
  }
  return faults;
}

}  // namespace house
