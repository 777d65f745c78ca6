// idefics caption: describes pictures, or continues a text about each.
#include <memory>

#include "cli/generation_json.hpp"
#include "cli/generator.hpp"
#include "cli/pictures.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command : GeneratorOptions {
  std::vector<std::string> images;
  std::string text;
  bool recursive = false;
};

Inputs inputs_for(const Command& c, const Processor& processor, PromptItem picture) {
  Prompt prompt{std::move(picture)};
  if (!c.text.empty()) prompt.push_back(PromptItem::text(c.text));
  return processor(prompt,
                   {.fetch = c.common.fetcher(), .image_options = c.common.image_options(true)});
}

void caption_one(const Command& c, const std::string& location, bool answer_only) {
  PromptItem picture =
      read_picture(location, c.common);  // before the model, since loading takes longer
  Generator generator(c, c.common.processor(), true);
  const Inputs inputs = inputs_for(c, generator.processor(), std::move(picture));
  const auto lines = generator.lines(generator.run(inputs, answer_only), answer_only);
  if (!c.common.streaming)
    for (const std::string& line : lines) print(line);
  if (interrupted()) throw Interrupted();
}

void run(Command& c) {
  const PictureList list = list_pictures(c.images, c.recursive);
  if (list.several && c.common.streaming) throw UsageError("--stream takes one picture");
  const bool answer_only = c.text.empty();
  if (!list.several) return caption_one(c, list.locations.front(), answer_only);
  c.common.many = true;
  Generator generator(c, c.common.processor(), true);
  for_each_picture(list, c.common, [&](const std::string& location) {
    const auto out = generator.run(
        inputs_for(c, generator.processor(), read_picture(location, c.common)), answer_only);
    if (!c.common.json) return list_line(location, generator.lines(out, answer_only));
    Json json = generator.json(out);
    json["path"] = location;
    return dump(json);
  });
}

}  // namespace

void add_caption(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* caption =
      app.add_subcommand("caption", "describe pictures, or continue a text about each of them");
  caption
      ->add_option("IMAGE", c->images,
                   "paths or URLs of pictures, directories of pictures, or - for stdin")
      ->required();
  caption->add_option("--prompt", c->text, "text to continue")
      ->type_name("TEXT")
      ->group(prompt_group);
  caption->add_flag("--recursive", c->recursive, "also read the subdirectories of directories")
      ->group(prompt_group);
  c->add_to(*caption);
  caption->callback([c] { run(*c); });
}

}  // namespace cli
