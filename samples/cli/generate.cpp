// idefics caption, idefics generate.
#include <sys/resource.h>

#include <chrono>
#include <memory>

#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;

/// Options of generation, under transformers' names with dashes.
struct GenerationFlags {
  std::int64_t max_new_tokens = -1, max_length = -1, min_new_tokens = -1, min_length = 0,
               num_beams = 1;
  std::int64_t pad_token_id = -1;
  std::string eos_token_id, bad_words_ids, file;
  bool do_sample = false;

  void add_to(CLI::App& app) {
    app.add_option("--max-new-tokens", max_new_tokens);
    app.add_option("--max-length", max_length, "counts the prompt");
    app.add_option("--min-new-tokens", min_new_tokens);
    app.add_option("--min-length", min_length, "counts the prompt");
    app.add_option("--eos-token-id", eos_token_id, "an id, or a JSON list of ids");
    app.add_option("--pad-token-id", pad_token_id);
    app.add_option("--bad-words-ids", bad_words_ids, "JSON list of lists of ids");
    app.add_option("--generation-config", file, "a generation_config.json; flags win over it");
    app.add_option("--num-beams", num_beams);
    app.add_flag("--do-sample", do_sample);
  }

  GenerationConfig config(const Model& model) const {
    if (num_beams != 1)
      fail(ErrorCode::invalid_option, "this build has greedy search alone", {.field = "num_beams"});
    if (do_sample)
      fail(ErrorCode::invalid_option, "this build has greedy search alone", {.field = "do_sample"});
    Json given = Json::object();
    auto set = [&given](const char* key, std::int64_t value, std::int64_t unset) {
      if (value != unset) given[key] = value;
    };
    set("max_new_tokens", max_new_tokens, -1), set("max_length", max_length, -1);
    set("min_new_tokens", min_new_tokens, -1), set("min_length", min_length, 0);
    set("pad_token_id", pad_token_id, -1);
    if (!eos_token_id.empty()) given["eos_token_id"] = parse_json(eos_token_id, "--eos-token-id");
    if (!bad_words_ids.empty())
      given["bad_words_ids"] = parse_json(bad_words_ids, "--bad-words-ids");
    GenerationConfig flags = generation_config_from_json(given, "command line", model.config());
    if (max_length != -1) flags.max_length = max_length;
    if (file.empty()) return flags;
    return flags.merged_over(
        generation_config_from_json(read_json_file(file), file, model.config()));
  }
};

struct Command {
  CommonOptions common;
  PromptOptions prompt;
  GenerationFlags generation;
  std::vector<std::string> items;
  std::string image, text;
};

/// An ITEM of the command line: text, or @ and a path or URL.
PromptItem read_item(const std::string& item) {
  if (!item.starts_with('@')) return PromptItem::text(item);
  const std::string place = item.substr(1);
  return is_url(place) ? PromptItem(place) : PromptItem(Image::open(place));
}

Json timings_json(const GenerationTimings& t, double load_s) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return {{"load_s", load_s},
          {"vision_s", t.vision_s},
          {"prefill_s", t.prefill_s},
          {"prefill_tokens", t.prefill_tokens},
          {"decode_s", t.decode_s},
          {"decode_tokens", t.decode_tokens},
          {"peak_rss_bytes", std::int64_t{usage.ru_maxrss} * 1024}};
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
    if (c.common.timings) json["timings"] = timings_json(out.timings, load_s);
    print(json.dump(-1, ' ', false, Json::error_handler_t::replace));
    return;
  }
  for (const std::string& line : answer_only ? answers : text) print(line);
  if (c.common.timings) std::cerr << timings_json(out.timings, load_s).dump() << '\n';
}

void run(const Command& c, const std::vector<Prompt>& batch, bool caption) {
  const auto begin = std::chrono::steady_clock::now();
  const Processor processor = c.common.processor();
  Model model = c.common.load();
  const double load_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  GenerationConfig config = c.generation.config(model);
  if (caption) {
    // The published generation configs leave both to the caller; plain `generate` equals them.
    if (config.bad_words_ids.empty()) config.bad_words_ids = processor.image_token_ids();
    const auto turn = processor.tokenizer().token_to_id(Processor::end_of_utterance_token);
    if (!config.eos_token_id && turn) config.eos_token_id = {processor.tokenizer().eos_id(), *turn};
  }
  const auto output = model.generate(processor(batch, c.prompt.options()), config);
  print_output(c, processor, output, load_s, caption && c.text.empty());
}

void run_generate(const Command& c) {
  if (c.prompt.file.empty() == c.items.empty())
    throw UsageError("generate takes items, or --prompt-file, and not both");
  std::vector<Prompt> batch;
  if (c.prompt.file.empty()) {
    batch.emplace_back();
    for (const auto& item : c.items) batch.back().push_back(read_item(item));
  } else {
    batch = read_prompt_file(c.prompt.file);
  }
  run(c, batch, false);
}

void run_caption(const Command& c) {
  Prompt prompt{is_url(c.image) ? PromptItem(c.image) : PromptItem(Image::open(c.image))};
  if (!c.text.empty()) prompt.push_back(PromptItem::text(c.text));
  run(c, {prompt}, true);
}

}  // namespace

void add_generate(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* caption = app.add_subcommand("caption", "describe a picture, or continue a text about it");
  caption->add_option("IMAGE", c->image)->required();
  caption->add_option("--prompt", c->text, "a text to continue");
  c->common.add_to(*caption);
  c->generation.add_to(*caption);
  caption->callback([c] { run_caption(*c); });

  c = std::make_shared<Command>();
  auto* generate = app.add_subcommand("generate", "continue an interleaved prompt");
  generate->add_option("ITEM", c->items, "text, or @path or @url for a picture");
  c->common.add_to(*generate);
  c->prompt.add_to(*generate);
  c->generation.add_to(*generate);
  generate->callback([c] { run_generate(*c); });
}

}  // namespace cli
