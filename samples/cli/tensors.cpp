// idefics process and idefics logits: write the inputs of the model, and the outputs of one pass.
#include <chrono>
#include <memory>

#include <idefics/io/json.hpp>

#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  PromptOptions prompt;
  std::string out;
  bool interpolate_pos_encoding = false;
  bool interpolate = false;
};

Inputs process(const Command& c) {
  const Processor processor = c.common.processor();
  return processor(c.prompt.read(c.common, processor), c.prompt.options(c.common));
}

void run_process(const Command& c) {
  const Inputs in = process(c);
  if (is_first_rank())
    write_safetensors(c.out, {{"input_ids", in.input_ids},
                              {"attention_mask", in.attention_mask},
                              {"pixel_values", in.pixel_values},
                              {"image_attention_mask", in.image_attention_mask}});
}

void run_logits(const Command& c) {
  const Inputs in = process(c);
  const auto begin = std::chrono::steady_clock::now();
  const Model model = c.common.load();
  const auto loaded = std::chrono::steady_clock::now();
  const ForwardOutput out =
      model.forward(in, {.interpolate_pos_encoding = c.interpolate_pos_encoding});
  if (c.common.timings) {
    const std::chrono::duration<double> load = loaded - begin,
                                        forward = std::chrono::steady_clock::now() - loaded;
    const auto tokens = static_cast<double>(in.input_ids.dim(0) * in.input_ids.dim(1));
    clear_bar();
    const Json json{{"load_s", load.count()},
                    {"forward_s", forward.count()},
                    {"tokens_per_s", tokens / forward.count()}};
    std::cerr << json.dump() << '\n';
  }
  if (is_first_rank())
    write_safetensors(c.out,
                      {{"logits", out.logits}, {"image_hidden_states", out.image_hidden_states}});
}

void add(CLI::App& app, const char* name, const char* about, unsigned uses,
         void (*run)(const Command&)) {
  auto c = std::make_shared<Command>();
  auto* command = app.add_subcommand(name, about);
  c->prompt.add_to(*command);
  command->get_option("--prompt-file")->required();
  command->add_option("-o,--output", c->out, "safetensors file to write")
      ->required()
      ->type_name("FILE")
      ->group(output_group);
  if (run == run_logits)
    command->add_flag("--interpolate-pos-encoding", c->interpolate_pos_encoding, interpolate_help)
        ->group(picture_group);
  c->common.add_to(*command, uses);
  command->callback([c, run] { run(*c); });
}

}  // namespace

void add_tensors(CLI::App& app) {
  add(app, "process", "write the input tensors that the processor makes from a prompt",
      uses_model | uses_pictures, run_process);
  add(app, "logits", "write the logits and image hidden states of one forward pass",
      uses_model | uses_weights | uses_pictures | uses_timings, run_logits);
}

}  // namespace cli
