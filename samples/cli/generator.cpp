// Loading once and running generation, for caption and generate.
#include "cli/generator.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include <idefics/chat.hpp>
#include <idefics/generation/options/effective.hpp>
#include <idefics/generation/run/streamer.hpp>
#include <idefics/text/bad_words.hpp>

#include "cli/generation_json.hpp"
#include "cli/report.hpp"

namespace cli {

using namespace idefics;

namespace {

/// Adds the words of --bad-words to the ids that an answer must not contain.
void add_bad_words(const std::string& list, const Processor& processor, GenerationConfig& config) {
  if (list.empty()) return;
  const Json words = parse_json(list, "--bad-words");
  if (!words.is_array() || !std::ranges::all_of(words, [](auto& w) { return w.is_string(); }))
    throw UsageError("--bad-words is a JSON list of strings");
  for (auto& ids : bad_words_ids(processor.tokenizer(), words.get<std::vector<std::string>>()))
    config.bad_words_ids.push_back(std::move(ids));
}

const GeneratorOptions& checked(const GeneratorOptions& options) {
  if (options.common.streaming && options.common.json)
    throw UsageError("--stream and --json cannot be combined");
  return options;
}

}  // namespace

void GeneratorOptions::add_to(CLI::App& app) {
  common.add_to(app, uses_everything);
  generation.add_to(app);
  app.add_option("--assistant-model", assistant,
                 "draft model: a checkpoint with the same vocabulary")
      ->type_name("MODEL")
      ->group("Assisted generation");
  app.add_option("--bad-words", bad_words, "words that the answer must not contain, as a JSON list")
      ->type_name("JSON")
      ->group("Scores and words");
  app.add_flag("--stream", common.streaming, "print the text as it is generated")
      ->group(output_group);
}

Generator::Generator(const GeneratorOptions& options, Processor processor, bool for_answers)
    : options_(checked(options)), processor_(std::move(processor)), model_(options.common.load()) {
  if (!options.assistant.empty())
    assistant_ = Model::from_pretrained(options.assistant, options.common.model_options());
  config_ = options.generation.config(options.common.seed);
  if (assistant_) config_.assistant_model = &*assistant_;
  if (for_answers) config_ = answer_config(processor_, std::move(config_));
  add_bad_words(options.bad_words, processor_, config_);
  if (!config_.stop_strings.empty() || !model_.generation_config().stop_strings.empty())
    config_.token_texts = processor_.tokenizer().token_texts();
  if (!options.common.quiet)
    for (const Warning& warning : option_warnings(config_, model_.generation_config()))
      warn(warning);
  load_s_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

GenerationOutput Generator::run(const Inputs& inputs, bool answer_only) {
  GenerationConfig config = config_;
  const bool judged = is_judged(options_.common.model, options_.common.quiet);
  const bool recorded = judged && !config.top_logprobs && !config.best_of && !config.num_beams;
  if (recorded) config.top_logprobs = 0;
  GenerationOutput output = generate(inputs, config, answer_only);
  if (recorded)
    judge(std::exchange(output.logprobs, {}));
  else if (judged)
    judge(1);
  return output;
}

GenerationOutput Generator::generate(const Inputs& inputs, const GenerationConfig& config,
                                     bool answer_only) {
  const DeferInterrupts deferred;
  const ForwardOptions forward{.interpolate_pos_encoding = options_.interpolate_pos_encoding,
                               .proceed = [] { return !interrupted(); }};
  if (!options_.common.streaming)
    return model_.generate(inputs, config, forward, [](auto) { return !interrupted(); });
  const GenerationConfig all = config.merged_over(model_.generation_config());
  if (inputs.input_ids.dim(0) != 1 || all.num_beams.value_or(1) != 1 ||
      all.num_return_sequences.value_or(1) != 1)
    fail(ErrorCode::invalid_option, "--stream requires a single row and no beam search",
         {.field = "stream"});
  TextStreamer streamer(processor_.tokenizer(), [](const std::string& piece) {
    write(piece);
    return !interrupted();
  });
  const auto prompt = padded_rows(inputs.input_ids);
  if (!answer_only)
    for (const auto id : prompt.front()) streamer.push(id);
  auto output = model_.generate(inputs, config, forward, std::ref(streamer));
  streamer.finish();
  write("\n");
  return output;
}

Json Generator::json(const GenerationOutput& out) const {
  Json json = generation_json(processor_, out);
  if (options_.common.timings) json["timings"] = timings_json(out, load_s_);
  return json;
}

std::vector<std::string> Generator::lines(const GenerationOutput& out, bool answer_only) const {
  if (options_.common.json) return {dump(json(out))};
  if (options_.common.timings) {
    clear_bar();
    std::cerr << timings_json(out, load_s_).dump() << '\n';
  }
  return processor_.batch_decode(answer_only ? out.new_tokens : out.sequences,
                                 {.skip_special_tokens = true});
}

}  // namespace cli
