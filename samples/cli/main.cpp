// The `idefics` executable. The answer goes to stdout and everything else to stderr; exit 0 is
// success, 1 a runtime error, 2 a usage error, 130 an interrupt.
#include <csignal>

#include <algorithm>
#include <filesystem>

#include "cli/args.hpp"
#include "cli/command_line.hpp"
#include "cli/help.hpp"
#include "cli/ranks.hpp"
#include "cli/report.hpp"

namespace {

/// The parser splits arguments in brackets into lists. To prevent it, this character, which no
/// argument can contain, is appended to them until they reach their option.
constexpr char no_list = '\0';

/// --load-in-4bit without a type means fp4. A word such as nf5 after it is a misspelled type.
void complete_4bit_type(std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] != "--load-in-4bit") continue;
    const std::string next = i + 1 < words.size() ? words[i + 1] : "";
    if (next == "nf4" || next == "fp4") continue;
    const std::size_t digits = next.find_first_of("0123456789");
    const bool type = next == "int4" || (next.size() == 3 && digits == 2);
    std::error_code unknown;
    if (type && !std::filesystem::exists(next, unknown))
      throw cli::UsageError("--load-in-4bit takes nf4 or fp4, not " + next);
    words[i] += "=fp4";
  }
}

/// The words in reverse, as the parser expects them.
std::vector<std::string> for_parser(std::vector<std::string> words) {
  complete_4bit_type(words);
  for (std::string& word : words)
    if (word.starts_with('[') && word.ends_with(']')) word += no_list;
  std::ranges::reverse(words);
  return words;
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

void add_commands(CLI::App& app) {
  app.set_version_flag("--version", "idefics " IDEFICS_VERSION);
  app.formatter(cli::help_formatter());
  app.require_subcommand(1);
  cli::add_caption(app);
  cli::add_generate(app);
  cli::add_tensors(app);
  cli::add_tokens(app);
  cli::add_info(app);
  cli::add_classify(app);
  cli::add_chat(app);
  cli::add_serve(app);
  cli::add_attend(app);
  cli::add_quantize(app);
  cli::add_pull(app);
  cli::add_bench(app);
  cli::add_selftest(app);
  cli::add_pages(app);
  for (CLI::App* command : app.get_subcommands({}))
    command->get_help_ptr()->description("print this text")->group(cli::output_group);
  keep_brackets(app);
}

/// "unexpected argument b.png", for arguments that no option took.
std::string extras_message(const CLI::App& app) {
  std::vector<std::string> extras;
  for (const CLI::App* command : app.get_subcommands())
    for (std::string word : command->remaining()) {
      if (word.ends_with(no_list)) word.pop_back();
      extras.push_back(std::move(word));
    }
  std::string text = extras.size() > 1 ? "unexpected arguments" : "unexpected argument";
  for (const std::string& word : extras) text += " " + word;
  return text;
}

/// Whether a command computes with a model, which ranks share; others run on rank 0 alone.
bool runs_on_ranks(const std::vector<std::string>& words) {
  static constexpr std::string_view shared[] = {"caption",  "generate", "chat",
                                                "classify", "logits",   "attend"};
  return !words.empty() && std::ranges::find(shared, words[0]) != std::end(shared);
}

int run(CLI::App& app, const std::vector<std::string>& words, bool json) {
  try {
    cli::remember_words(words);
    app.parse(for_parser(cli::check_words(app, words)));
    return 0;
  } catch (const CLI::ExtrasError&) {
    cli::report("usage", extras_message(app), json);
    return 2;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    cli::report("usage", error.what(), json);
    return 2;
  } catch (const cli::Interrupted&) {
    return 130;
  } catch (const cli::UsageError& error) {
    cli::report("usage", error.what(), json);
    return 2;
  } catch (const cli::PicturesFailed& list) {
    cli::note(std::to_string(list.failed) + " of " + std::to_string(list.total) +
              " pictures failed");
    return 1;
  } catch (const idefics::Error& error) {
    if (error.code() == idefics::ErrorCode::cancelled && cli::interrupted()) {
      cli::clear_bar();
      return 130;
    }
    cli::report(error, json);
  } catch (const std::bad_alloc&) {
    cli::report("out_of_memory", "memory is exhausted", json);
  } catch (const std::exception& error) {
    cli::report("internal", error.what(), json);
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  cli::handle_interrupts();
  std::signal(SIGPIPE, SIG_IGN);
  cli::join_ranks();
  const std::vector<std::string> words(argv + 1, argv + argc);
  CLI::App app("IDEFICS-1: pictures and text in, text out.", "idefics");
  add_commands(app);
  if (!cli::is_first_rank() && !runs_on_ranks(words)) return cli::leave_ranks(0);
  return cli::leave_ranks(run(app, words, std::ranges::find(words, "--json") != words.end()));
}
