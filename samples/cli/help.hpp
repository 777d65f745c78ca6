// The help text and the pages that are generated from the definition of the commands and options.
#pragma once

#include <memory>
#include <string>

#include <CLI/CLI.hpp>

namespace cli {

/// Prints --help: options in groups with their defaults, wrapped at the width of the terminal.
std::shared_ptr<CLI::FormatterBase> help_formatter();

/// The values that an option accepts, as `f32|bf16|f16`, or a word for them, as `N`; empty for a flag.
std::string value_name(const CLI::Option& option);

/// "--dtype"; "-o, --output" if it has a short name; "IMAGE..." for an argument.
std::string spelling(const CLI::Option& option);

/// "idefics caption IMAGE... [OPTIONS]"
std::string usage_line(const CLI::App& command);

/// Adds `idefics completion bash|zsh|fish` and `idefics manual man|markdown`, which print pages made
/// from the definition of `app`.
void add_pages(CLI::App& app);

}  // namespace cli
