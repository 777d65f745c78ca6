// idefics quantize: writes a quantized checkpoint in the format of transformers and bitsandbytes.
#include <memory>

#include <idefics/io/hub_cache.hpp>
#include <idefics/io/json.hpp>
#include <idefics/quantize.hpp>

#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  std::string out, type, compute_dtype = "f32";
};

void run(const Command& c) {
  set_num_threads(c.common.threads);
  QuantizeCheckpointOptions options{.dtype = dtype_named(c.common.dtype).value_or(DType::f16)};
  options.config = c.common.quantization(c.type);
  options.config.bnb_4bit_compute_dtype = dtype_named(c.compute_dtype);
  options.mmap = !c.common.no_mmap;
  options.progress = ProgressBar(!c.common.quiet && bars_are_wanted(), false);
  quantize_checkpoint(resolve_model(c.common.model), c.out, options);
  if (c.common.json) print(Json{{"model", c.out}}.dump());
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* quantize = app.add_subcommand("quantize", "write a quantized copy of a checkpoint");
  c->common.add_to(*quantize);
  quantize->add_option("MODEL", c->common.model, "checkpoint directory or repository")->required();
  quantize->add_option("OUT", c->out, "output directory")->required();
  quantize->add_option("--type", c->type, "nf4, fp4 or int8")
      ->required()
      ->check(CLI::IsMember({"nf4", "fp4", "int8"}));
  quantize
      ->add_option("--compute-dtype", c->compute_dtype, "compute dtype to record in config.json")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}));
  quantize->callback([c] { run(*c); });
}

}  // namespace cli
