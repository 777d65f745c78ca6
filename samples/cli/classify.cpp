// idefics classify: the label in a list that fits a picture best.
#include <memory>

#include <idefics/classify.hpp>
#include <idefics/io/json.hpp>

#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  std::string image;
  std::string list;
  std::vector<std::string> labels;  // the words of `list`
  bool rank = false, normalize = false;
};

/// The label that greedy search generates when restricted to the labels; if it is cut short, the
/// text is not one of them.
std::string generated(Model& model, const Processor& processor, const Prompt& prompt,
                      const Command& c, const ProcessorOptions& options) {
  std::size_t longest = 0;
  for (const auto& label : c.labels) longest = std::max(longest, label.size());
  GenerationConfig config{
      .max_new_tokens = static_cast<std::int64_t>(longest) + 2,  // a token has at least one byte
      .eos_token_id = std::vector<std::int32_t>{processor.tokenizer().eos_id()},
      .prefix_allowed_tokens_fn = only_labels(processor, prompt, c.labels, options)};
  const bool judged = is_judged(c.common.model, c.common.quiet);
  if (judged) config.top_logprobs = 0;
  const auto output = model.generate(processor(prompt, options), config);
  if (judged) judge(output.logprobs);
  return processor.batch_decode(output.new_tokens, {.skip_special_tokens = true}).at(0);
}

/// The words between commas, including empty ones.
std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> words(1);
  for (const char c : list) {
    if (c == ',')
      words.emplace_back();
    else
      words.back().push_back(c);
  }
  return words;
}

void run(const Command& c) {
  const Processor processor = c.common.processor();
  Model model = c.common.load();
  const ProcessorOptions options{.fetch = c.common.fetcher(),
                                 .image_options = c.common.image_options(true)};
  const Prompt prompt = category_prompt(load_picture(c.image, c.common), c.labels);
  std::string label;
  if (!c.rank) label = generated(model, processor, prompt, c, options);
  const bool known = std::ranges::find(c.labels, label) != c.labels.end();
  Json scores = Json::object();
  if (!known || c.common.json) {
    const Ranking ranking = rank_labels(model, processor, prompt, c.labels, c.normalize, options);
    for (std::size_t i = 0; i < c.labels.size(); ++i) scores[c.labels[i]] = ranking.scores[i];
    if (!known) label = c.labels[ranking.best];
    if (c.rank && !c.normalize && is_judged(c.common.model, c.common.quiet))
      judge(std::exp(ranking.scores[ranking.best]));
  }
  print(c.common.json ? Json{{"label", label}, {"scores", scores}}.dump() : label);
}

}  // namespace

void add_classify(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* command = app.add_subcommand("classify", "choose the label that fits a picture best");
  command->add_option("IMAGE", c->image, "path or URL of the picture")->required();
  command->add_option("--labels", c->list, "labels, separated by commas")->required();
  command->add_flag("--rank", c->rank, "choose by log-likelihood instead of generation");
  command->add_flag("--normalize", c->normalize,
                    "divide each log-likelihood by the label's number of tokens");
  c->common.add_to(*command);
  command->callback([c] {
    c->labels = split(c->list);
    run(*c);
  });
}

}  // namespace cli
