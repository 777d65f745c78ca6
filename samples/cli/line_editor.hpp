// Lines typed at a terminal: editing and history by libedit where it is installed.
#pragma once

#include <optional>
#include <string>

namespace cli {

/// Reads the lines of an interactive chat, with a prompt on stderr. History is kept in
/// $XDG_STATE_HOME/idefics/chat_history, by default under ~/.local/state.
class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// The next line; nullopt at the end of input, or after Ctrl-C, which sets interrupted().
  std::optional<std::string> read(const std::string& prompt);

 private:
  std::string history_file_;
};

/// The words of a line, separated by spaces: quotes and backslashes as in a shell, and ~ at the
/// beginning of a word as the home directory.
std::string unquoted_path(const std::string& text);

}  // namespace cli
