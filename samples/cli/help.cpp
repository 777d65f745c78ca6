// --help: arguments and options in groups, with defaults, wrapped at the width of the terminal.
#include "cli/help.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace cli {
namespace {

/// The width of the terminal, between 50 and 100 columns; 80 without a terminal.
std::size_t terminal_width() {
  winsize size{};
  std::size_t columns = 80;
  if (const char* given = std::getenv("COLUMNS"); given != nullptr && std::atoi(given) > 0)
    columns = static_cast<std::size_t>(std::atoi(given));
  else if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    columns = size.ws_col;
  return std::clamp<std::size_t>(columns, 50, 100);
}

/// The text wrapped at `width`; lines after the first begin with `indent` spaces.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
  std::string result, line;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (!line.empty() && indent + line.size() + 1 + word.size() > width) {
      result += line + '\n' + std::string(indent, ' ');
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
    begin = end + 1;
  }
  return result + line;
}

constexpr std::size_t column = 28;  // where descriptions begin

std::string entry(const std::string& name, const std::string& description, std::size_t width) {
  std::string line = "  " + name;
  if (line.size() + 2 > column)
    line += '\n' + std::string(column, ' ');
  else
    line.resize(column, ' ');
  return line + wrapped(description, column, width) + '\n';
}

class Help : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const override {
    return app->get_parent() == nullptr ? overview(*app) : command_help(*app);
  }

 private:
  static std::string overview(const CLI::App& app) {
    const std::size_t width = terminal_width();
    std::string text = app.get_description() + "\n\nusage: idefics COMMAND ARGUMENTS [OPTIONS]\n\n";
    text += "Commands:\n";
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
      if (!command->get_group().empty())
        text += entry(command->get_name(), command->get_description(), width);
    return text +
           "\nidefics COMMAND --help lists the options of a command. The answer is written to "
           "stdout,\neverything else to stderr.\n";
  }

  static std::string command_help(const CLI::App& command) {
    const std::size_t width = terminal_width();
    std::string text = "usage: " + wrapped(usage_line(command), 7, width) + "\n\n" +
                       wrapped(command.get_description(), 0, width) + "\n";
    std::string arguments;
    for (const CLI::Option* option : command.get_options())
      if (option->get_positional())
        arguments += entry(spelling(*option), option->get_description(), width);
    if (!arguments.empty()) text += "\nArguments:\n" + arguments;
    for (const std::string& group : command.get_groups()) {
      std::string options;
      for (const CLI::Option* option : command.get_options())
        if (option->get_group() == group && !option->get_positional())
          options +=
              entry(spelling(*option) + ' ' + value_name(*option), described(*option), width);
      if (!options.empty()) text += '\n' + group + ":\n" + options;
    }
    return text;
  }

  static std::string described(const CLI::Option& option) {
    std::string text = option.get_description();
    if (option.get_required()) text += " (required)";
    if (!option.get_default_str().empty()) text += " (default: " + option.get_default_str() + ")";
    return text;
  }
};

}  // namespace

std::shared_ptr<CLI::FormatterBase> help_formatter() { return std::make_shared<Help>(); }

std::string value_name(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return "";
  std::string type = option.get_type_name();
  const std::size_t open = type.find('{'), close = type.find('}');
  if (open < close && close != std::string::npos) {
    type = type.substr(open + 1, close - open - 1);
    std::ranges::replace(type, ',', '|');
    return type;
  }
  return type.substr(0, type.find(':'));
}

std::string spelling(const CLI::Option& option) {
  if (option.get_positional())
    return option.get_name(true) + (option.get_items_expected_max() > 1 ? "..." : "");
  std::string text;
  for (const std::string& name : option.get_snames()) text += "-" + name + ", ";
  return text + "--" + option.get_lnames().at(0);
}

std::string usage_line(const CLI::App& command) {
  std::string text = "idefics " + command.get_name();
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional() && !option->get_required()) continue;
    std::string word = spelling(*option);
    if (!option->get_positional()) word += ' ' + value_name(*option);
    text += option->get_required() ? ' ' + word : " [" + word + "]";
  }
  return text + " [OPTIONS]";
}

}  // namespace cli
