// What the library never does, and what tests never do.
#pragma once

#include <cstdlib>

#include "house/cpp_text.hpp"

namespace house {

/// Whether `word`, a part of `line`, is followed by a parenthesis.
inline bool is_call(std::string_view line, std::string_view word) {
  const auto end = static_cast<std::size_t>(word.data() + word.size() - line.data());
  return trimmed(line.substr(end)).starts_with('(');
}

/// Below include/ nothing prints, aborts or exits, and no number is read by a function that throws
/// what is no Error, or takes "12abc" for 12.
inline Faults library_manners(const Tree& tree) {
  using Words = std::set<std::string_view>;
  static const Words names{"cout", "cerr", "clog", "iostream", "cassert"};
  static const Words calls{"printf",    "fprintf", "vprintf", "vfprintf", "puts",   "fputs",
                           "perror",    "abort",   "exit",    "_Exit",    "_exit",  "quick_exit",
                           "terminate", "assert",  "stoi",    "stol",     "stoll",  "stoul",
                           "stoull",    "stof",    "stod",    "stold",    "atoi",   "atol",
                           "atoll",     "atof",    "strtol",  "strtoul",  "strtof", "strtod"};
  Faults faults;
  for (const auto& [path, text] : tree.texts()) {
    if (!path.starts_with("include/") && !path.starts_with("cuda/")) continue;
    const std::string code = code_only(text);
    const auto lines = lines_of(code);
    for (std::size_t i = 0; i < lines.size(); ++i)
      for (const std::string_view word : words_of(lines[i]))
        if (names.contains(word) || (calls.contains(word) && is_call(lines[i], word)))
          faults.push_back(at(path, i + 1) + std::string(word));
  }
  return faults;
}

/// A comparison with a number between 0 and 1: "error < 1e-5f".
inline bool compares_with_epsilon(std::string_view line) {
  if (line.find("epsilon()") != line.npos) return true;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '<' && line[i] != '>') continue;
    const std::string rest(line.substr(std::min(line.find_first_not_of("= ", i + 1), line.size())));
    const double number = std::strtod(rest.c_str(), nullptr);
    if (number > 0 && number < 1) return true;
  }
  return false;
}

/// Tolerances of parity tests come from tests/support/tolerance.hpp, never from a number in a test.
inline Faults literal_tolerances(const Tree& tree) {
  static const std::set<std::string, std::less<>> refused{"Approx", "WithinAbs", "WithinRel",
                                                          "WithinULP", "margin"};
  Faults faults;
  for (const auto& [path, text] : tree.texts()) {
    if (!path.starts_with("tests/parity/")) continue;
    const std::string code = code_only(text);
    const auto lines = lines_of(code);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto words = words_of(lines[i]);
      const bool named =
          std::ranges::any_of(words, [](auto word) { return refused.contains(word); });
      if (named || compares_with_epsilon(lines[i]))
        faults.push_back(at(path, i + 1) + std::string(trimmed(lines[i])));
    }
  }
  return faults;
}

}  // namespace house
