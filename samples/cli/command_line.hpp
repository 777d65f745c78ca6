// What the parser does not do: suggestions for misspelled words, and the names of flags as typed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace cli {

/// The words of the command line, without the executable, prepared for the parser. Throws UsageError
/// for unknown commands and options, with the most similar one that exists.
std::vector<std::string> check_words(const CLI::App& app, std::vector<std::string> words);

/// The flag of an option with this transformers name, "--top-p" for "top_p", if it was typed; else
/// empty.
std::string typed_flag(const std::string& field, const std::vector<std::string>& words);

/// The number of insertions, deletions, replacements and swaps of neighbours between two words.
std::size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace cli
