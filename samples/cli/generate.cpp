// idefics caption and idefics generate: text generated from pictures and text.
// Letters: I pictures, S positions, L latents, H heads, V vocabulary, A added tokens, r rows of the
// output, s steps.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <memory>

#include <idefics/chat.hpp>
#include <idefics/generation/options/effective.hpp>
#include <idefics/generation/run/streamer.hpp>
#include <idefics/io/json.hpp>
#include <idefics/text/bad_words.hpp>

#include "cli/args.hpp"
#include "cli/generation_flags.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  PromptOptions prompt;
  GenerationFlags generation;
  std::vector<std::string> items;
  std::string image, text, assistant, bad_words;
  bool interpolate = false;
};

/// An ITEM argument: text, or @ followed by the path or URL of a picture.
PromptItem read_item(const std::string& item, const CommonOptions& common) {
  if (!item.starts_with('@')) return PromptItem::text(item);
  return read_picture(item.substr(1), common);
}

Json timings_json(const GenerationOutput& out, double load_s) {
  const GenerationTimings& t = out.timings;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  Json json{{"load_s", load_s},
            {"vision_s", t.vision_s},
            {"prefill_s", t.prefill_s},
            {"prefill_tokens", t.prefill_tokens},
            {"decode_s", t.decode_s},
            {"decode_tokens", t.decode_tokens},
            {"peak_rss_bytes", std::int64_t{usage.ru_maxrss} * 1024}};
  if (!out.rounds.empty()) json["decode_passes"] = out.rounds.size();
  return json;
}

/// The 50 highest finite values of [s,r,V+A] by row and step, in descending order, ties by id.
Json best_of_steps(const Tensor& all) {
  constexpr std::size_t shown = 50;
  const auto steps = all.dim(0), rows = all.dim(1);
  const auto v = static_cast<std::size_t>(all.dim(2));
  Json by_row(static_cast<std::size_t>(rows), Json::array());
  for (std::int64_t i = 0; i < steps * rows; ++i) {
    const auto values = all.as<float>().subspan(static_cast<std::size_t>(i) * v, v);
    std::vector<std::pair<float, std::int32_t>> best;  // (-value, id), for ascending order
    for (std::size_t id = 0; id < v; ++id)
      if (std::isfinite(values[id])) best.emplace_back(-values[id], static_cast<std::int32_t>(id));
    std::ranges::sort(best);
    best.resize(std::min(shown, best.size()));
    Json step = Json::array();
    for (const auto& [negated, id] : best) step.push_back({id, -negated});
    by_row[static_cast<std::size_t>(i % rows)].push_back(std::move(step));
  }
  return by_row;
}

Json logprobs_json(const GenerationOutput& out) {
  Json rows = Json::array();
  for (const auto& row : out.logprobs) {
    Json steps = Json::array();
    for (const TokenLogProbs& step : row) {
      Json top = Json::array();
      for (const TokenLogProb& other : step.top) top.push_back({other.id, other.logprob});
      steps.push_back({{"id", step.chosen.id}, {"logprob", step.chosen.logprob}, {"top", top}});
    }
    rows.push_back(std::move(steps));
  }
  return rows;
}

/// Attention weights by row, step, layer, head and picture position, to six decimals.
Json attentions_json(const GenerationOutput& out) {
  const Tensor& all = out.cross_attentions;  // [s,r,cross layers,H,I*L]; I*S without a resampler
  const auto rounded = [](float x) { return std::round(1e6 * static_cast<double>(x)) / 1e6; };
  Json rows = Json::array();
  for (std::int64_t row = 0; row < all.dim(1); ++row) {
    Json steps = Json::array();
    for (std::int64_t step = 0; step < out.lengths[static_cast<std::size_t>(row)]; ++step) {
      Json layers = Json::array();
      std::int64_t at = (step * all.dim(1) + row) * all.dim(2) * all.dim(3) * all.dim(4);
      for (std::int64_t layer = 0; layer < all.dim(2); ++layer) {
        Json heads(static_cast<std::size_t>(all.dim(3)), Json::array());
        for (Json& head : heads)
          for (std::int64_t i = 0; i < all.dim(4); ++i)
            head.push_back(rounded(all.as<float>()[static_cast<std::size_t>(at++)]));
        layers.push_back(std::move(heads));
      }
      steps.push_back(std::move(layers));
    }
    rows.push_back(std::move(steps));
  }
  return rows;
}

void print_output(const Command& c, const Processor& processor, const GenerationOutput& out,
                  double load_s, bool answer_only) {
  const DecodeOptions plain{.skip_special_tokens = true};
  const auto text = processor.batch_decode(out.sequences, plain),
             answers = processor.batch_decode(out.new_tokens, plain);
  if (c.common.json) {
    Json json{{"sequences", out.sequences},
              {"new_tokens", out.new_tokens},
              {"text", text},
              {"new_text", answers}};
    if (!out.sequences_scores.empty()) json["sequences_scores"] = out.sequences_scores;
    if (out.scores) json["scores"] = best_of_steps(out.scores);
    if (out.logits) json["logits"] = best_of_steps(out.logits);
    if (out.cross_attentions) json["cross_attentions"] = attentions_json(out);
    if (!out.logprobs.empty()) json["logprobs"] = logprobs_json(out);
    if (c.common.timings) json["timings"] = timings_json(out, load_s);
    print(json.dump(-1, ' ', false, Json::error_handler_t::replace));
    return;
  }
  if (!c.common.streaming)
    for (const std::string& line : answer_only ? answers : text) print(line);
  if (c.common.timings) std::cerr << timings_json(out, load_s).dump() << '\n';
}

/// Generates until an end or Ctrl-C; with --stream, prints the text as it is generated.
GenerationOutput generate(const Command& c, Model& model, const Processor& processor,
                          const Inputs& inputs, const GenerationConfig& config, bool answer_only) {
  const DeferInterrupts deferred;
  const ForwardOptions options{.interpolate_pos_encoding = c.interpolate,
                               .proceed = [] { return !interrupted(); }};
  if (!c.common.streaming)
    return model.generate(inputs, config, options, [](auto) { return !interrupted(); });
  const GenerationConfig all = config.merged_over(model.generation_config());
  if (inputs.input_ids.dim(0) != 1 || all.num_beams.value_or(1) != 1 ||
      all.num_return_sequences.value_or(1) != 1)
    fail(ErrorCode::invalid_option, "--stream requires a single row and no beam search",
         {.field = "stream"});
  TextStreamer streamer(processor.tokenizer(), [](const std::string& piece) {
    write(piece);
    return !interrupted();
  });
  const auto prompt = padded_rows(inputs.input_ids);
  if (!answer_only)
    for (const auto id : prompt.front()) streamer.push(id);
  auto output = model.generate(inputs, config, options, std::ref(streamer));
  streamer.finish();
  write("\n");
  return output;
}

/// Adds the words of --bad-words to the ids that an answer must not contain.
void add_bad_words(const Command& c, const Processor& processor, GenerationConfig& config) {
  if (c.bad_words.empty()) return;
  const Json words = parse_json(c.bad_words, "--bad-words");
  if (!words.is_array() || !std::ranges::all_of(words, [](auto& w) { return w.is_string(); }))
    throw UsageError("--bad-words is a JSON list of strings");
  for (auto& ids : bad_words_ids(processor.tokenizer(), words.get<std::vector<std::string>>()))
    config.bad_words_ids.push_back(std::move(ids));
}

using ReadPrompts = std::function<std::vector<Prompt>(const Processor&)>;

void run(const Command& c, const ReadPrompts& read, bool caption) {
  if (c.common.streaming && c.common.json)
    throw UsageError("--stream and --json cannot be combined");
  const auto begin = std::chrono::steady_clock::now();
  const Processor processor = c.common.processor();
  const std::vector<Prompt> batch = read(processor);
  Model model = c.common.load();
  std::optional<Model> assistant;
  if (!c.assistant.empty())
    assistant = Model::from_pretrained(c.assistant, c.common.model_options());
  const double load_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  GenerationConfig config = c.generation.config(c.common.seed);
  if (assistant) config.assistant_model = &*assistant;
  // Published generation configs leave these options to the caller; `generate` sets none of them.
  if (caption) config = answer_config(processor, std::move(config));
  add_bad_words(c, processor, config);
  if (!config.stop_strings.empty() || !model.generation_config().stop_strings.empty())
    config.token_texts = processor.tokenizer().token_texts();
  for (const Warning& warning : option_warnings(config, model.generation_config()))
    if (!c.common.quiet) std::cerr << "idefics: warning: " << warning.text() << '\n';
  const bool answer_only = caption && c.text.empty();
  const Inputs inputs = processor(batch, c.prompt.options(c.common));
  const bool judged = is_judged(c.common.model, c.common.quiet);
  const bool recorded = judged && !config.top_logprobs && !config.best_of && !config.num_beams;
  if (recorded) config.top_logprobs = 0;
  auto output = generate(c, model, processor, inputs, config, answer_only);
  if (recorded)
    judge(std::exchange(output.logprobs, {}));
  else if (judged)
    judge(1);
  print_output(c, processor, output, load_s, answer_only);
  if (interrupted()) throw Interrupted();
}

void run_generate(const Command& c) {
  if (c.prompt.file.empty() == c.items.empty())
    throw UsageError("generate requires either ITEM arguments or --prompt-file");
  const auto read = [&c](const Processor& processor) -> std::vector<Prompt> {
    if (!c.prompt.file.empty()) return c.prompt.read(c.common, processor);
    Prompt prompt;
    for (const auto& item : c.items) {
      if (c.prompt.markdown_pictures && !item.starts_with('@'))
        std::ranges::move(markdown_prompt(item), std::back_inserter(prompt));
      else
        prompt.push_back(read_item(item, c.common));
    }
    return {prompt};
  };
  run(c, read, false);
}

void run_caption(const Command& c) {
  Prompt prompt{read_picture(c.image, c.common)};
  if (!c.text.empty()) prompt.push_back(PromptItem::text(c.text));
  run(
      c, [&prompt](const Processor&) { return std::vector<Prompt>{prompt}; }, true);
}

}  // namespace

void add_generate(CLI::App& app) {
  const char* assistant_help = "draft model: a checkpoint with the same vocabulary";
  const char* bad_words_help = "words that the answer must not contain, as a JSON list";
  auto c = std::make_shared<Command>();
  auto* caption = app.add_subcommand("caption", "describe a picture, or continue a text about it");
  caption->add_option("IMAGE", c->image, "path or URL of the picture")->required();
  caption->add_option("--prompt", c->text, "text to continue");
  c->common.add_to(*caption);
  c->generation.add_to(*caption);
  caption->add_option("--assistant-model", c->assistant, assistant_help);
  caption->add_option("--bad-words", c->bad_words, bad_words_help);
  caption->add_flag("--stream", c->common.streaming, "print the text as it is generated");
  caption->callback([c] { run_caption(*c); });

  c = std::make_shared<Command>();
  auto* generate =
      app.add_subcommand("generate", "continue a prompt of interleaved text and pictures");
  generate->add_option("ITEM", c->items, "text, or @PATH or @URL of a picture");
  c->common.add_to(*generate);
  c->prompt.add_to(*generate);
  c->generation.add_to(*generate);
  generate->add_option("--assistant-model", c->assistant, assistant_help);
  generate->add_option("--bad-words", c->bad_words, bad_words_help);
  generate->add_flag("--interpolate-pos-encoding", c->interpolate, interpolate_help);
  generate->add_flag("--stream", c->common.streaming, "print the text as it is generated");
  generate->callback([c] { run_generate(*c); });
}

}  // namespace cli
