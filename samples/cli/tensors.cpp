// idefics process and idefics logits: write the inputs of the model, and the outputs of one pass.
#include <memory>

#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  PromptOptions prompt;
  std::string out;
  bool interpolate = false;
};

Inputs process(const Command& c) {
  const Processor processor = c.common.processor();
  return processor(c.prompt.read(c.common, processor), c.prompt.options(c.common));
}

void run_process(const Command& c) {
  const Inputs in = process(c);
  write_safetensors(c.out, {{"input_ids", in.input_ids},
                            {"attention_mask", in.attention_mask},
                            {"pixel_values", in.pixel_values},
                            {"image_attention_mask", in.image_attention_mask}});
}

void run_logits(const Command& c) {
  const Inputs in = process(c);
  const ForwardOutput out =
      c.common.load().forward(in, {.interpolate_pos_encoding = c.interpolate});
  write_safetensors(c.out,
                    {{"logits", out.logits}, {"image_hidden_states", out.image_hidden_states}});
}

void add(CLI::App& app, const char* name, const char* about, void (*run)(const Command&)) {
  auto c = std::make_shared<Command>();
  auto* command = app.add_subcommand(name, about);
  c->common.add_to(*command);
  c->prompt.add_to(*command);
  command->get_option("--prompt-file")->required();
  command->add_option("-o,--output", c->out, "safetensors file to write")->required();
  if (run == run_logits)
    command->add_flag("--interpolate-pos-encoding", c->interpolate, interpolate_help);
  command->callback([c, run] { run(*c); });
}

}  // namespace

void add_tensors(CLI::App& app) {
  add(app, "process", "write the input tensors that the processor makes from a prompt",
      run_process);
  add(app, "logits", "write the logits and image hidden states of one forward pass", run_logits);
}

}  // namespace cli
