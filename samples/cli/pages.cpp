// Completions for shells, the manual page and the tables of docs/cli.md: all of them are made from the
// definition of the commands and options that also parses the command line.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "cli/args.hpp"
#include "cli/help.hpp"

namespace cli {
namespace {

using Words = std::vector<std::string>;

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::string joined(const Words& words, const std::string& between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

/// The text with each of `special` preceded by a backslash.
std::string escaped(const std::string& text, const std::string& special) {
  std::string result;
  for (const char c : text) {
    if (special.find(c) != std::string::npos) result += '\\';
    result += c;
  }
  return result;
}

/// The words that an option or argument accepts, if they are a fixed list.
Words choices(const CLI::Option& option) {
  const std::string name = value_name(option);
  Words words;
  if (name.find('|') == std::string::npos) return words;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('|', begin), name.size());
    words.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

/// Whether file names complete the value of an option: not for numbers, words and JSON.
bool takes_file(const CLI::Option& option) {
  static const Words kinds{"FILE", "MODEL", "ADAPTER", "TEXT"};
  return option.get_positional() || std::ranges::find(kinds, value_name(option)) != kinds.end();
}

/// The words of a command that complete its options: all spellings, for bash.
Words spellings(const CLI::App& command) {
  Words words;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_snames()) words.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  }
  return words;
}

std::string bash_completion(const CLI::App& app) {
  Words names;
  std::string cases, values;
  for (const CLI::App* command : commands_of(app)) {
    names.push_back(command->get_name());
    cases += "    " + command->get_name() + ") options=\"" + joined(spellings(*command), " ") +
             "\" ;;\n";
    for (const CLI::Option* option : command->get_options()) {
      const std::string at = "    " + command->get_name() +
                             (option->get_positional() ? "" : ":--" + option->get_lnames().at(0));
      const Words words = choices(*option);
      if (!words.empty())
        values += at + ") choices=\"" + joined(words, " ") + "\" ;;\n";
      else if (!option->get_positional() && option->get_items_expected_max() > 0 &&
               !takes_file(*option))
        values += at + ") return ;;\n";
    }
  }
  return "# Completion of idefics for bash, made by `idefics completion bash`.\n"
         "_idefics() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  local command=${COMP_WORDS[1]} options= choices=\n"
         "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
         "    COMPREPLY=($(compgen -W \"" +
         joined(names, " ") +
         " help --help --version\" -- \"$word\"))\n"
         "    return\n"
         "  fi\n"
         "  case $command in\n" +
         cases +
         "  esac\n"
         "  case $command:$before in\n" +
         values +
         "  esac\n"
         "  [ -n \"$choices\" ] || case $command in\n" +
         values +
         "  esac\n"
         "  case $word in\n"
         "    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n"
         "    *) if [ -n \"$choices\" ]; then COMPREPLY=($(compgen -W \"$choices\" -- \"$word\"))\n"
         "       else COMPREPLY=($(compgen -f -- \"$word\")); fi ;;\n"
         "  esac\n"
         "}\n"
         "complete -o filenames -F _idefics idefics\n";
}

/// One entry of zsh's _arguments: '--dtype[description]:value:(f32 bf16 f16)'.
std::string zsh_entry(const CLI::Option& option) {
  const Words words = choices(option);
  const std::string action = !words.empty()       ? "(" + joined(words, " ") + ")"
                             : takes_file(option) ? "_files"
                                                  : "";
  const std::string quoted = "'\\''";
  std::string description;
  for (const char c : escaped(option.get_description(), "[]:"))
    description += c == '\'' ? quoted : std::string(1, c);
  if (option.get_positional()) {
    const bool many = option.get_items_expected_max() > 1;
    return std::string("'") + (many ? "*" : "") + ":" + option.get_name(true) + ":" + action + "'";
  }
  const std::string value = option.get_items_expected_max() > 0 ? ":value:" + action : "";
  return "'--" + option.get_lnames().at(0) + "[" + description + "]" + value + "'";
}

std::string zsh_completion(const CLI::App& app) {
  std::string names, cases;
  for (const CLI::App* command : commands_of(app)) {
    names += "    '" + command->get_name() + ":" + escaped(command->get_description(), ":") + "'\n";
    cases += "    " + command->get_name() + ")\n      _arguments";
    for (const CLI::Option* option : command->get_options())
      cases += " \\\n        " + zsh_entry(*option);
    cases += " ;;\n";
  }
  return "#compdef idefics\n"
         "# Completion of idefics for zsh, made by `idefics completion zsh`.\n"
         "_idefics() {\n"
         "  local -a commands=(\n" +
         names +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n"
         "    _describe command commands\n"
         "    return\n"
         "  fi\n"
         "  local command=$words[2]\n"
         "  shift words; (( CURRENT-- ))\n"
         "  case $command in\n" +
         cases +
         "  esac\n"
         "}\n"
         "_idefics \"$@\"\n";
}

std::string fish_entry(const CLI::App& command, const CLI::Option& option) {
  const std::string condition =
      "complete -c idefics -n '__fish_seen_subcommand_from " + command.get_name() + "'";
  const Words words = choices(option);
  if (option.get_positional())
    return words.empty() ? "" : condition + " -f -a '" + joined(words, " ") + "'\n";
  std::string line = condition;
  for (const std::string& name : option.get_snames()) line += " -s " + name;
  line += " -l " + option.get_lnames().at(0);
  if (!words.empty())
    line += " -x -a '" + joined(words, " ") + "'";
  else if (option.get_items_expected_max() > 0)
    line += takes_file(option) ? " -r -F" : " -x";
  return line + " -d '" + escaped(option.get_description(), "'\\") + "'\n";
}

std::string fish_completion(const CLI::App& app) {
  std::string text = "# Completion of idefics for fish, made by `idefics completion fish`.\n";
  for (const CLI::App* command : commands_of(app)) {
    text += "complete -c idefics -f -n __fish_use_subcommand -a " + command->get_name() + " -d '" +
            escaped(command->get_description(), "'\\") + "'\n";
    for (const CLI::Option* option : command->get_options()) text += fish_entry(*command, *option);
  }
  return text;
}

/// An option of one or more commands.
struct Shared {
  const CLI::Option* option;
  Words commands;
};

/// The options by group, in the order of their definition; equal options of several commands are one.
std::vector<std::pair<std::string, std::vector<Shared>>> options_by_group(const CLI::App& app) {
  std::vector<std::pair<std::string, std::vector<Shared>>> groups;
  for (const CLI::App* command : commands_of(app))
    for (const CLI::Option* option : command->get_options()) {
      if (option->get_positional()) continue;
      auto group = std::ranges::find_if(
          groups, [&](const auto& entry) { return entry.first == option->get_group(); });
      if (group == groups.end()) group = groups.insert(groups.end(), {option->get_group(), {}});
      auto same = std::ranges::find_if(group->second, [&](const Shared& other) {
        return spelling(*other.option) == spelling(*option) &&
               other.option->get_description() == option->get_description();
      });
      if (same == group->second.end()) same = group->second.insert(same, {option, {}});
      same->commands.push_back(command->get_name());
    }
  return groups;
}

std::string default_of(const CLI::Option& option) {
  return option.get_required() ? "required" : option.get_default_str();
}

/// "all", "all but tokenize", or a list.
std::string users(const Words& commands, const CLI::App& app) {
  Words others;
  for (const CLI::App* command : commands_of(app))
    if (std::ranges::find(commands, command->get_name()) == commands.end())
      others.push_back(command->get_name());
  if (others.empty()) return "all";
  return others.size() > 3 ? joined(commands, ", ") : "all but " + joined(others, ", ");
}

std::string markdown_tables(const CLI::App& app) {
  std::string text;
  for (const auto& [group, options] : options_by_group(app)) {
    text += (text.empty() ? "" : "\n");
    text += "### " + group + "\n\n| option | default | commands | means |\n|---|---|---|---|\n";
    for (const Shared& shared : options) {
      std::string value = value_name(*shared.option);
      text += "| `" + spelling(*shared.option) + "`" +
              (value.empty() ? "" : " `" + escaped(value, "|") + "`") + " | " +
              default_of(*shared.option) + " | " + users(shared.commands, app) + " | " +
              escaped(shared.option->get_description(), "|<") + " |\n";
    }
  }
  return text;
}

std::string roff(const std::string& text) {
  const std::string escapes = escaped(text, "\\-");
  return escapes.starts_with('.') || escapes.starts_with('\'') ? "\\&" + escapes : escapes;
}

std::string manual_page(const CLI::App& app) {
  std::string text =
      ".TH IDEFICS 1 \"\" \"idefics " IDEFICS_VERSION
      "\" \"User Commands\"\n"
      ".SH NAME\nidefics \\- captions, answers and classes for pictures, by IDEFICS\\-1\n"
      ".SH SYNOPSIS\n.B idefics\n.I COMMAND ARGUMENTS\n[\\fIOPTIONS\\fR]\n"
      ".SH DESCRIPTION\nThe answer is written to standard output, and errors, notes "
      "and progress to standard error.\n.SH COMMANDS\n";
  for (const CLI::App* command : commands_of(app)) {
    text +=
        ".TP\n.B " + roff(usage_line(*command)) + "\n" + roff(command->get_description()) + ".\n";
    for (const CLI::Option* option : command->get_options())
      if (option->get_positional())
        text += ".RS\n.TP\n.I " + roff(spelling(*option)) + "\n" + roff(option->get_description()) +
                "\n.RE\n";
  }
  text += ".SH OPTIONS\n";
  for (const auto& [group, options] : options_by_group(app)) {
    text += ".SS " + group + "\n";
    for (const Shared& shared : options) {
      const std::string value = default_of(*shared.option);
      text += ".TP\n.BR " + roff(spelling(*shared.option)) + " \" \\fI" +
              roff(value_name(*shared.option)) + "\\fR\"\n" +
              roff(shared.option->get_description());
      if (!value.empty())
        text += " (" + std::string(value == "required" ? "" : "default: ") + roff(value) + ")";
      text += "; of " + users(shared.commands, app) + ".\n";
    }
  }
  return text +
         ".SH EXIT STATUS\n0 success; 1 an error, named on standard error; 2 a usage error; 130 "
         "Ctrl\\-C.\n"
         ".SH ENVIRONMENT\n.TP\n.B IDEFICS_MODEL\nthe checkpoint that is used without \\-\\-model\n"
         ".TP\n.B IDEFICS_API_KEY\nthe key that clients of serve must send\n"
         ".TP\n.B HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME\nwhere the cache of models is\n"
         ".TP\n.B HF_HUB_OFFLINE\n1: never use the network\n"
         ".TP\n.B HF_HUB_DISABLE_PROGRESS_BARS\n1: show no progress\n";
}

}  // namespace

void add_pages(CLI::App& app) {
  auto kind = std::make_shared<std::string>();
  auto* completion = app.add_subcommand("completion", "print the completions for a shell");
  completion->add_option("SHELL", *kind, "the shell: bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->callback([&app, kind] {
    write(*kind == "bash"  ? bash_completion(app)
          : *kind == "zsh" ? zsh_completion(app)
                           : fish_completion(app));
  });
  auto* manual = app.add_subcommand("manual", "print the manual page, or its tables in Markdown");
  manual->add_option("FORMAT", *kind, "man or markdown")
      ->required()
      ->check(CLI::IsMember({"man", "markdown"}));
  manual->callback(
      [&app, kind] { write(*kind == "man" ? manual_page(app) : markdown_tables(app)); });
}

}  // namespace cli
