// The `idefics` executable. The answer goes to stdout and everything else to stderr; exit 0 is
// success, 1 a runtime error, 2 a usage error, 130 an interrupt.
#include <csignal>

#include <algorithm>

#include <idefics/io/json.hpp>

#include "cli/args.hpp"

namespace {

/// The message on one line: control characters become spaces.
std::string one_line(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text;
}

/// The parser splits arguments in brackets into lists. To prevent it, this character, which no
/// argument can contain, is appended to them until they reach their option.
constexpr char no_list = '\0';

/// The arguments in reverse, as the parser expects them. --load-in-4bit without a type means fp4.
std::vector<std::string> arguments(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  for (std::size_t i = 0; i < args.size(); ++i) {
    const bool named = i + 1 < args.size() && (args[i + 1] == "nf4" || args[i + 1] == "fp4");
    if (args[i] == "--load-in-4bit" && !named) args[i] += "=fp4";
    if (args[i].starts_with('[') && args[i].ends_with(']')) args[i] += no_list;
  }
  std::ranges::reverse(args);
  return args;
}

/// Makes every option of every command remove `no_list` from its arguments.
void keep_brackets(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands({}))
    for (CLI::Option* option : command->get_options())
      if (option->get_items_expected_max() > 0)
        option->transform([](std::string word) {
          if (word.ends_with(no_list)) word.pop_back();
          return word;
        });
}

int report(const std::string& code, const std::string& message, bool json,
           const idefics::ErrorContext& where, int exit) {
  cli::clear_bar();
  std::cerr << "idefics: error: " << code << ": " << one_line(message) << '\n';
  if (json) {
    idefics::Json error{{"code", code}, {"message", one_line(message)}};
    if (!where.file.empty()) error["file"] = where.file;
    if (!where.tensor.empty()) error["tensor"] = where.tensor;
    if (!where.field.empty()) error["field"] = where.field;
    if (where.offset) error["offset"] = *where.offset;
    if (where.actual) error["actual"] = *where.actual;
    if (where.limit) error["limit"] = *where.limit;
    using Handler = idefics::Json::error_handler_t;
    std::cerr << idefics::Json{{"error", error}}.dump(-1, ' ', false, Handler::replace) << '\n';
  }
  return exit;
}

}  // namespace

int main(int argc, char** argv) {
  cli::handle_interrupts();
  std::signal(SIGPIPE, SIG_IGN);
  const bool json = std::any_of(argv + 1, argv + argc,
                                [](const char* arg) { return std::string(arg) == "--json"; });
  CLI::App app("IDEFICS-1: pictures and text in, text out.", "idefics");
  app.set_version_flag("--version", "idefics " IDEFICS_VERSION);
  app.require_subcommand(1);
  cli::add_generate(app);
  cli::add_tensors(app);
  cli::add_tokens(app);
  cli::add_info(app);
  cli::add_classify(app);
  cli::add_chat(app);
  cli::add_quantize(app);
  cli::add_pull(app);
  cli::add_bench(app);
  cli::add_selftest(app);
  keep_brackets(app);
  try {
    app.parse(arguments(argc, argv));
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return report("usage", error.what(), json, {}, 2);
  } catch (const cli::Interrupted&) {
    return 130;
  } catch (const cli::UsageError& error) {
    return report("usage", error.what(), json, {}, 2);
  } catch (const idefics::Error& error) {
    if (error.code() == idefics::ErrorCode::cancelled && cli::interrupted()) {
      cli::clear_bar();
      return 130;
    }
    return report(std::string(error.code_name()), error.what(), json, error.context(), 1);
  } catch (const std::bad_alloc&) {
    return report("out_of_memory", "memory is exhausted", json, {}, 1);
  } catch (const std::exception& error) {
    return report("internal", error.what(), json, {}, 1);
  }
}
