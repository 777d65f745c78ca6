// Errors and notes on stderr.
#include "cli/report.hpp"

#include <algorithm>
#include <iostream>
#include <utility>

#include <idefics/io/json.hpp>

#include "cli/command_line.hpp"
#include "cli/progress_bar.hpp"
#include "cli/ranks.hpp"

namespace cli {
namespace {

std::vector<std::string>& typed_words() {
  static std::vector<std::string> words;
  return words;
}

}  // namespace

void remember_words(std::vector<std::string> words) { typed_words() = std::move(words); }

std::string one_line(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text;
}

void report(const std::string& code, const std::string& message, bool json,
            const idefics::ErrorContext& where) {
  clear_bar();
  std::string line = one_line(message);
  const std::string flag = typed_flag(where.field, typed_words());
  if (!flag.empty() && !line.starts_with(flag)) line = flag + ": " + line;
  remember_error(code + ": " + line);
  std::cerr << "idefics: error: " << code << ": " << line << '\n';
  if (!json) return;
  idefics::Json error{{"code", code}, {"message", line}};
  if (!where.file.empty()) error["file"] = where.file;
  if (!where.tensor.empty()) error["tensor"] = where.tensor;
  if (!where.field.empty()) error["field"] = where.field;
  if (where.offset) error["offset"] = *where.offset;
  if (where.actual) error["actual"] = *where.actual;
  if (where.limit) error["limit"] = *where.limit;
  using Handler = idefics::Json::error_handler_t;
  std::cerr << idefics::Json{{"error", error}}.dump(-1, ' ', false, Handler::replace) << '\n';
}

void report(const idefics::Error& error, bool json, const std::string& location) {
  std::string message = error.what();
  idefics::ErrorContext where = error.context();
  if (where.file.empty() && !location.empty()) {
    where.file = location.substr(0, 200);
    message += " [file: " + where.file + "]";
  }
  report(std::string(error.code_name()), message, json, where);
}

void warn(const idefics::Warning& warning) {
  const std::string flag = typed_flag(warning.field, typed_words());
  note("warning: " + (flag.empty() ? warning.text() : flag + ' ' + warning.message));
}

void note(const std::string& text) {
  clear_bar();
  std::cerr << "idefics: " << one_line(text) << '\n';
}

}  // namespace cli
