// Errors and notes on stderr, each on one line.
#pragma once

#include <string>
#include <vector>

#include <idefics/core/error.hpp>
#include <idefics/core/warning.hpp>

namespace cli {

/// Thrown at the end of a list of pictures of which some failed: exit code 1.
struct PicturesFailed {
  std::size_t failed, total;
};

/// The words of the command line, so that messages name flags as they were typed.
void remember_words(std::vector<std::string> words);

/// The text on one line: control characters become spaces.
std::string one_line(std::string text);

/// Prints `idefics: error: CODE: message`, and with `json` the same as an object.
void report(const std::string& code, const std::string& message, bool json,
            const idefics::ErrorContext& where = {});

/// The same for an error. `location` is named if the error names no file.
void report(const idefics::Error& error, bool json, const std::string& location = "");

/// Prints `idefics: warning: TEXT` on stderr, with an option as it was typed.
void warn(const idefics::Warning& warning);

/// Prints `idefics: TEXT` on stderr.
void note(const std::string& text);

}  // namespace cli
