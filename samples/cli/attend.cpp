// idefics attend: what each word of an answer looked at in the pictures.
#include <algorithm>
#include <filesystem>
#include <memory>

#include <idefics/io/mapped_file.hpp>

#include "cli/attention_json.hpp"
#include "cli/generation_json.hpp"
#include "cli/generator.hpp"
#include "cli/heat.hpp"
#include "cli/pictures.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command : GeneratorOptions {
  std::vector<std::string> images;
  std::string text, out;
  AttentionRolloutOptions rollout;
};

/// The file formats that -o writes.
constexpr const char* extensions[] = {".png", ".svg", ".html", ".json"};

std::string extension_of(const std::string& path) {
  return std::filesystem::path(path).extension().string();
}

const CLI::Validator known_extension(
    [](const std::string& path) {
      return std::ranges::find(extensions, extension_of(path)) != std::end(extensions)
                 ? std::string()
                 : path + " does not end in .png, .svg, .html or .json";
    },
    "");

/// An answer, its timings if asked for, and what its tokens looked at.
struct Answer {
  std::vector<std::int32_t> ids;
  Json text, timings;
  AttentionRollout looks;
};

Answer answer_to(const Command& c, Generator& generator, const Inputs& inputs) {
  const Config& config = generator.model().config();
  const std::int64_t interval = config.cross_layer_interval;
  idefics::detail::validate(c.rollout, (config.num_hidden_layers + interval - 1) / interval,
                            config.num_attention_heads);
  generator.config().output_attentions = true;
  GenerationOutput output = generator.run(inputs, true);
  Answer answer{.ids = output.new_tokens.at(0), .text = {}, .timings = {}, .looks = {}};
  answer.ids.resize(static_cast<std::size_t>(output.lengths.at(0)));
  answer.looks = attention_rollout(generator.model(), inputs, output, c.rollout);
  output.cross_attentions = {};
  const Json json = generator.json(output);
  answer.text = json.at("new_text").at(0);
  if (c.common.timings) answer.timings = json.at("timings");
  return answer;
}

Json json_of(const Command& c, const Tokenizer& tokenizer, const Answer& answer) {
  Json json = attention_json(tokenizer, answer.ids, answer.looks, c.rollout);
  json["text"] = answer.text;
  json["pictures"] = c.images;
  if (c.common.timings) json["timings"] = answer.timings;
  return json;
}

AttendedWords words_of(const Tokenizer& tokenizer, const Answer& answer,
                       std::vector<Image> pictures) {
  auto words = word_spans(tokenizer, answer.ids);
  auto looks = mean_of_words(answer.looks, words);
  return {.pictures = std::move(pictures), .words = std::move(words), .looks = std::move(looks)};
}

/// One line for each word and picture.
void print_table(const AttendedWords& all) {
  std::vector<std::vector<std::string>> lines{
      {"word", "picture", "share", "patches", "class token", "learned latents", "most at"}};
  for (std::size_t word = 0; word < all.words.size(); ++word)
    for (std::size_t i = 0; i < all.pictures.size(); ++i) {
      const Look look = look_of(all, word, i);
      lines.push_back(
          {all.words[word].text, std::to_string(i + 1), percent(look.share), percent(look.patches),
           percent(look.class_token), percent(look.learned_latents),
           look.most == 0 ? "not seen"
                          : "row " + std::to_string(look.row) + ", column " +
                                std::to_string(look.column) + " (" + percent(look.most) + ")"});
    }
  std::vector<std::size_t> widths(lines.front().size());
  for (const auto& line : lines)
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  for (const auto& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i)
      text += line[i] + (i + 1 < line.size() ? std::string(widths[i] - line[i].size() + 2, ' ')
                                             : std::string());
    print(text);
  }
}

void write_file(const Command& c, const Tokenizer& tokenizer, const Answer& answer,
                std::vector<Image> pictures) {
  const std::string kind = extension_of(c.out);
  AtomicFile file(c.out);
  if (kind == ".json") {
    file.write(dump(json_of(c, tokenizer, answer)) + "\n");
  } else {
    const AttendedWords all = words_of(tokenizer, answer, std::move(pictures));
    file.write(kind == ".png" ? heat_png(all) : kind == ".svg" ? heat_svg(all) : heat_html(all));
  }
  file.commit();
}

void run(Command& c) {
  c.images = list_pictures(c.images, false).locations;
  std::vector<Image> pictures;
  for (const std::string& location : c.images) pictures.push_back(load_picture(location, c.common));
  Generator generator(c, c.common.processor(), true);
  Prompt prompt(pictures.begin(), pictures.end());
  if (!c.text.empty()) prompt.push_back(PromptItem::text(c.text));
  const Tokenizer& tokenizer = generator.processor().tokenizer();
  const Answer answer = answer_to(c, generator, generator.processor()(prompt));
  if (!c.out.empty() && is_first_rank()) write_file(c, tokenizer, answer, pictures);
  if (c.common.json) {
    print(dump(json_of(c, tokenizer, answer)));
  } else if (c.out.empty()) {
    print_table(words_of(tokenizer, answer, std::move(pictures)));
  } else if (!c.common.streaming) {
    print(answer.text.get<std::string>());
  }
  if (c.common.timings && !c.common.json) {
    clear_bar();
    std::cerr << answer.timings.dump() << '\n';
  }
  if (interrupted()) throw Interrupted();
}

}  // namespace

void add_attend(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* attend = app.add_subcommand("attend", "show what each word of an answer looked at");
  attend
      ->add_option("IMAGE", c->images,
                   "paths or URLs of pictures, directories of pictures, or - for stdin; all are in "
                   "one prompt")
      ->required();
  attend->add_option("--prompt", c->text, "text to continue")
      ->type_name("TEXT")
      ->group(prompt_group);
  attend
      ->add_option("-o,--output", c->out,
                   "file to write: .png, .svg, .html or .json; default: a table on stdout")
      ->check(known_extension)
      ->type_name("FILE")
      ->group(output_group);
  const auto number = [attend](const char* name, auto& value, const char* what) {
    attend->add_option(name, value, what)
        ->check(CLI::NonNegativeNumber)
        ->type_name("N")
        ->group("Attention");
  };
  number("--layer", c->rollout.layer, "layer of cross-attention, from 0; default: the mean of all");
  number("--head", c->rollout.head, "head of cross-attention, from 0; default: the mean of all");
  attend
      ->add_flag("--rollout", c->rollout.vision,
                 "go back through the layers of the vision tower, too")
      ->group("Attention");
  c->add_to(*attend);
  attend->callback([c] { run(*c); });
}

}  // namespace cli
