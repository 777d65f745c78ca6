// idefics classify: the label in a list that fits each picture best.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <memory>
#include <numeric>
#include <sstream>

#include <idefics/classify.hpp>
#include <idefics/io/json.hpp>

#include "cli/args.hpp"
#include "cli/choose_label.hpp"
#include "cli/pictures.hpp"

namespace cli {
namespace {

using namespace idefics;
using Clock = std::chrono::steady_clock;

struct Command {
  CommonOptions common;
  std::vector<std::string> images;
  std::string list;
  std::vector<std::string> labels;  // the words of `list`
  bool rank = false, normalize = false, recursive = false;
};

struct Classifier {
  const Command& c;
  Processor processor;
  Model model;
  ProcessorOptions options;
};

Classified classify(Classifier& k, const PromptItem& picture) {
  const bool judged = is_judged(k.c.common.model, k.c.common.quiet);
  const LabelOptions options{.rank = k.c.rank,
                             .normalize = k.c.normalize,
                             .scores = k.c.common.json,
                             .processor = k.options};
  Classified answer = choose_label(k.model, k.processor, category_prompt(picture, k.c.labels),
                                   k.c.labels, options, judged);
  if (judged && !k.c.rank) judge(answer.output.logprobs);
  if (judged && k.c.rank && !k.c.normalize) judge(std::exp(answer.scores[answer.best]));
  return answer;
}

/// The labels in descending order of their scores, each with its share of the likelihood.
std::vector<std::string> ranked(const Command& c, const std::vector<double>& scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order,
                           [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  double sum = 0;
  for (const double score : scores) sum += std::exp(score - scores[order[0]]);
  std::vector<std::string> lines;
  for (const std::size_t i : order) {
    std::ostringstream line;
    line << c.labels[i] << '\t' << std::fixed << std::setprecision(4)
         << std::exp(scores[i] - scores[order[0]]) / sum;
    lines.push_back(line.str());
  }
  return lines;
}

Json answer_json(const Command& c, const Classified& answer) {
  Json scores = Json::object();
  for (std::size_t i = 0; i < answer.scores.size(); ++i) scores[c.labels[i]] = answer.scores[i];
  return {{"label", answer.label}, {"scores", scores}};
}

/// The words between commas, without spaces around them.
std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    std::string word = list.substr(begin, end - begin);
    word.erase(0, std::min(word.find_first_not_of(" \t\r\n"), word.size()));
    word.erase(word.find_last_not_of(" \t\r\n") + 1);
    words.push_back(std::move(word));
    begin = end + 1;
  }
  return words;
}

/// Classifies and measures one picture.
std::vector<std::string> lines_for(Classifier& k, const PromptItem& picture, double load_s,
                                   const std::string& path) {
  const auto begin = Clock::now();
  const Classified answer = classify(k, picture);
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const Json timings{{"load_s", load_s}, {"classify_s", seconds}};
  if (k.c.common.json) {
    Json json = answer_json(k.c, answer);
    if (k.c.common.timings) json["timings"] = timings;
    if (!path.empty()) json["path"] = path;
    return {json.dump(-1, ' ', false, Json::error_handler_t::replace)};
  }
  if (k.c.common.timings) {
    clear_bar();
    std::cerr << timings.dump() << '\n';
  }
  return k.c.rank ? ranked(k.c, answer.scores) : std::vector<std::string>{answer.label};
}

void run(Command& c) {
  const PictureList list = list_pictures(c.images, c.recursive);
  c.common.many = list.several;
  std::optional<PromptItem> only;
  if (!list.several) only = load_picture(list.locations.front(), c.common);
  const auto begin = Clock::now();
  Classifier k{c,
               c.common.processor(),
               c.common.load(),
               {.fetch = c.common.fetcher(), .image_options = c.common.image_options(true)}};
  const double load_s = std::chrono::duration<double>(Clock::now() - begin).count();
  if (only) {
    for (const std::string& line : lines_for(k, *only, load_s, "")) print(line);
    return;
  }
  for_each_picture(list, c.common, [&](const std::string& location) {
    const auto lines = lines_for(k, load_picture(location, c.common), load_s, location);
    return c.common.json ? lines.front() : list_line(location, lines);
  });
}

}  // namespace

void add_classify(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* command = app.add_subcommand("classify", "choose the label that fits each picture best");
  command
      ->add_option("IMAGE", c->images,
                   "paths or URLs of pictures, directories of pictures, or - for stdin")
      ->required();
  command->add_option("--labels", c->list, "labels, separated by commas")
      ->required()
      ->type_name("A,B,C")
      ->group("Labels");
  command->add_flag("--rank", c->rank, "rank all labels by log-likelihood and print their shares")
      ->group("Labels");
  command
      ->add_flag("--normalize", c->normalize,
                 "divide each log-likelihood by the label's number of tokens")
      ->group("Labels");
  command->add_flag("--recursive", c->recursive, "also read the subdirectories of directories")
      ->group(prompt_group);
  c->common.add_to(*command, uses_everything & ~unsigned{uses_seed});
  command->callback([c] {
    c->labels = split(c->list);
    run(*c);
  });
}

}  // namespace cli
