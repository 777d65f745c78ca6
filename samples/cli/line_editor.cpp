// Line editing by libedit, or plain lines where it is missing.
#include "cli/line_editor.hpp"

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#ifndef IDEFICS_NO_LIBEDIT
#include <editline/readline.h>
#endif

#include "cli/interrupt.hpp"

namespace cli {
namespace {

namespace fs = std::filesystem;

std::string home() {
  const char* directory = std::getenv("HOME");
  return directory != nullptr ? directory : "";
}

}  // namespace

#ifndef IDEFICS_NO_LIBEDIT

namespace {

/// Where the history is kept, or empty without a home; creates the directory.
std::string history_path() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state == nullptr && home().empty()) return "";
  const fs::path folder =
      (state != nullptr ? fs::path(state) : fs::path(home()) / ".local/state") / "idefics";
  std::error_code error;
  fs::create_directories(folder, error);
  return error ? "" : (folder / "chat_history").string();
}

}  // namespace

LineEditor::LineEditor() : history_file_(history_path()) {
  std::setlocale(LC_CTYPE, "");  // libedit moves by characters, not bytes
  rl_outstream = stderr;
  rl_readline_name = "idefics";
  using_history();
  stifle_history(1000);
  if (!history_file_.empty()) read_history(history_file_.c_str());
}

LineEditor::~LineEditor() {
  if (!history_file_.empty()) write_history(history_file_.c_str());
}

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  const AwaitLine waiting;
  char* typed = readline(prompt.c_str());
  if (typed == nullptr) return std::nullopt;
  std::string line = typed;
  std::free(typed);
  if (line.find_first_not_of(" \t\r") != std::string::npos) add_history(line.c_str());
  return line;
}

#else

LineEditor::LineEditor() = default;
LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  const AwaitLine waiting;
  std::cerr << prompt << std::flush;
  std::string line;
  if (std::getline(std::cin, line)) return line;
  if (interrupted()) std::cin.clear(), std::clearerr(stdin);
  return std::nullopt;
}

#endif

std::string unquoted_path(const std::string& text) {
  std::string path;
  char quote = 0;
  const std::size_t end = text.find_last_not_of(" \t\r\n") + 1;
  for (std::size_t i = std::min(text.find_first_not_of(" \t"), end); i < end; ++i) {
    const char c = text[i];
    if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    } else if (c == '\\' && quote != '\'' && i + 1 < end) {
      path += text[++i];
    } else if (c == '~' && path.empty() && quote == 0 && (i + 1 == end || text[i + 1] == '/')) {
      path += home();
    } else {
      path += c;
    }
  }
  return path;
}

}  // namespace cli
