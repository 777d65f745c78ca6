// idefics generate: continues a prompt of text and pictures.
#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>

#include "cli/generator.hpp"
#include "cli/pictures.hpp"
#include "cli/report.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command : GeneratorOptions {
  PromptOptions prompt;
  std::vector<std::string> items;
};

/// An ITEM argument: text, or @ and the path or URL of a picture. @@ begins a text with one @.
PromptItem read_item(const std::string& item, const CommonOptions& common) {
  if (item.starts_with("@@")) return PromptItem::text(item.substr(1));
  if (item.starts_with('@')) return read_picture(item.substr(1), common);
  std::error_code unknown;
  if (!common.quiet && item.size() < 4096 && std::filesystem::is_regular_file(item, unknown))
    note("note: \"" + item + "\" is text here; write @" + item + " to show the picture");
  return PromptItem::text(item);
}

std::vector<Prompt> read_prompts(const Command& c, const Processor& processor) {
  if (!c.prompt.file.empty()) return c.prompt.read(c.common, processor);
  Prompt prompt;
  for (const std::string& item : c.items) {
    if (c.prompt.markdown_pictures && !item.starts_with('@'))
      std::ranges::move(markdown_prompt(item), std::back_inserter(prompt));
    else
      prompt.push_back(read_item(item, c.common));
  }
  return {prompt};
}

void run(const Command& c) {
  if (!c.prompt.file.empty() && !c.items.empty())
    throw UsageError("generate takes ITEM arguments or --prompt-file, not both");
  if (c.prompt.file.empty() && c.items.empty())
    throw UsageError("generate needs at least one ITEM, or --prompt-file");
  Processor processor = c.common.processor();
  const auto batch = read_prompts(c, processor);  // before the model, which takes longer
  Generator generator(c, std::move(processor), false);
  const auto output =
      generator.run(generator.processor()(batch, c.prompt.options(c.common)), false);
  const auto lines = generator.lines(output, false);
  if (!c.common.streaming)
    for (const std::string& line : lines) print(line);
  if (interrupted()) throw Interrupted();
}

}  // namespace

void add_generate(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* generate =
      app.add_subcommand("generate", "continue a prompt of interleaved text and pictures");
  generate->add_option(
      "ITEM", c->items,
      "text, or @ and the path or URL of a picture; @@ for a text that begins with @");
  c->prompt.add_to(*generate);
  c->add_to(*generate);
  generate->add_flag("--interpolate-pos-encoding", c->interpolate_pos_encoding, interpolate_help)
      ->group(picture_group);
  generate->callback([c] { run(*c); });
}

}  // namespace cli
