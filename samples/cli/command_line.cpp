// Unknown words of a command line: the message names them as typed, and what was probably meant.
#include "cli/command_line.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <numeric>

#include "cli/args.hpp"

namespace cli {
namespace {

using Words = std::vector<std::string>;

/// The most similar candidate, if it differs in at most a third of its letters; else empty.
std::string nearest(const std::string& word, const Words& candidates) {
  std::string best;
  std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const bool begins = word.size() > 3 && candidate.starts_with(word);
    const std::size_t distance = begins ? 1 : edit_distance(word, candidate);
    if (distance < least) best = candidate, least = distance;
  }
  return best;
}

Words command_names(const CLI::App& app) {
  Words names;
  for (const CLI::App* command :
       app.get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); }))
    names.push_back(command->get_name());
  return names;
}

std::string joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

const CLI::App* find_command(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    if (command->get_name() == name) return command;
  return nullptr;
}

[[noreturn]] void refuse_command(const CLI::App& app, const Words& words) {
  const std::string& word = words.front();
  const Words names = command_names(app);
  if (word.starts_with('-')) {
    const auto command = std::ranges::find_if(
        words, [&](const std::string& w) { return find_command(app, w) != nullptr; });
    throw UsageError(word + " must follow the command: idefics " +
                     (command == words.end() ? "COMMAND" : *command) + " " + word);
  }
  const std::string guess = nearest(word, names);
  std::error_code ignored;
  if (guess.empty() && std::filesystem::exists(word, ignored))
    throw UsageError("\"" + word + "\" is not a command; did you mean: idefics caption " + word);
  throw UsageError(
      "unknown command \"" + word + "\"; " +
      (guess.empty() ? "the commands are " + joined(names) : "did you mean \"" + guess + "\"?"));
}

Words option_names(const CLI::App& command) {
  Words names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

[[noreturn]] void refuse_option(const CLI::App& app, const CLI::App& command,
                                const std::string& name) {
  const std::string guess = nearest(name, option_names(command));
  if (!guess.empty()) throw UsageError("unknown option " + name + "; did you mean " + guess + "?");
  std::string users;
  for (const CLI::App* other : app.get_subcommands([](const CLI::App*) { return true; }))
    if (other->get_option_no_throw(name) != nullptr)
      users += (users.empty() ? "" : ", ") + other->get_name();
  if (!users.empty())
    throw UsageError(command.get_name() + " does not use " + name + ", an option of " + users);
  throw UsageError("unknown option " + name + "; idefics " + command.get_name() +
                   " --help lists the options");
}

bool looks_like_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-' &&
         (word[1] == '-' || std::isalpha(static_cast<unsigned char>(word[1])) != 0);
}

/// Checks the options among the words after the command. The value of an option may look like one.
void check_options(const CLI::App& app, const CLI::App& command, const Words& words) {
  for (std::size_t i = 1; i < words.size() && words[i] != "--"; ++i) {
    if (!looks_like_option(words[i])) continue;
    const std::size_t equals = words[i].find('=');
    const std::string name = words[i].substr(0, equals);
    const CLI::Option* option = command.get_option_no_throw(name);
    if (option == nullptr || option->get_positional()) refuse_option(app, command, name);
    if (equals == std::string::npos)
      i += static_cast<std::size_t>(option->get_items_expected_min());
  }
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last), std::swap(last, row);
  }
  return last.back();
}

std::vector<std::string> check_words(const CLI::App& app, std::vector<std::string> words) {
  if (words.empty())
    throw UsageError("a command is missing: " + joined(command_names(app)) +
                     "; idefics help describes them");
  if (words[0] == "help") {
    words.erase(words.begin());
    words.resize(std::min<std::size_t>(words.size(), 1));
    words.emplace_back("--help");
  }
  if (words[0] == "--help" || words[0] == "-h" || words[0] == "--version") return {words[0]};
  const CLI::App* command = find_command(app, words[0]);
  if (command == nullptr) refuse_command(app, words);
  check_options(app, *command, words);
  return words;
}

std::string typed_flag(const std::string& field, const std::vector<std::string>& words) {
  std::string flag = "--" + field.substr(0, field.find_first_of(".["));
  std::ranges::replace(flag, '_', '-');
  const bool typed = std::ranges::any_of(
      words, [&](const std::string& word) { return word.substr(0, word.find('=')) == flag; });
  return typed ? flag : "";
}

}  // namespace cli
