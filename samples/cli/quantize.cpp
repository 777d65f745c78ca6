// idefics quantize: writes a quantized checkpoint in the format of transformers and bitsandbytes.
#include <filesystem>
#include <memory>

#include <idefics/io/hub_cache.hpp>
#include <idefics/io/json.hpp>
#include <idefics/plan/require_fit.hpp>
#include <idefics/quantize.hpp>

#include "cli/args.hpp"
#include "cli/report.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  std::string out, type, compute_dtype = "f32";
};

std::uint64_t bytes_in(const std::filesystem::path& directory) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.is_regular_file()) bytes += entry.file_size();
  return bytes;
}

void run(const Command& c) {
  set_num_threads(c.common.threads);
  QuantizeCheckpointOptions options{.dtype = dtype_named(c.common.dtype).value_or(DType::f16)};
  options.config = c.common.quantization(c.type);
  options.config.bnb_4bit_compute_dtype = dtype_named(c.compute_dtype);
  options.mmap = !c.common.no_mmap;
  options.progress = ProgressBar(!c.common.quiet && bars_are_wanted(), false);
  quantize_checkpoint(resolve_model(c.common.model), c.out, options);
  if (c.common.json) print(Json{{"model", c.out}}.dump());
  if (!c.common.quiet && !c.common.json)
    note("wrote " + c.out + ": " + c.type + ", " + readable_bytes(bytes_in(c.out)));
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* quantize = app.add_subcommand("quantize", "write a quantized copy of a checkpoint");
  quantize->add_option("MODEL", c->common.model, "checkpoint directory or repository")->required();
  quantize->add_option("OUT", c->out, "output directory")->required();
  const auto add = [quantize](const char* name, std::string& value, const char* what) {
    return quantize->add_option(name, value, what)->group("Quantization");
  };
  const CLI::IsMember dtypes({"f32", "bf16", "f16"});
  add("--type", c->type, "the form of weights")
      ->required()
      ->check(CLI::IsMember({"nf4", "fp4", "int8"}));
  quantize
      ->add_flag("--double-quant", c->common.double_quant,
                 "also quantize the quantization constants")
      ->group("Quantization");
  add("--dtype", c->common.dtype, "what weights are rounded to before, and the rest is stored in")
      ->check(dtypes)
      ->default_str("f16");
  add("--compute-dtype", c->compute_dtype, "compute dtype to record in config.json")
      ->check(dtypes)
      ->default_str("f32");
  c->common.add_int8(*quantize, "Quantization");
  quantize
      ->add_flag("--no-mmap", c->common.no_mmap,
                 "read weights into memory instead of mapping their files")
      ->group(model_group);
  c->common.add_to(*quantize, 0);
  quantize->callback([c] { run(*c); });
}

}  // namespace cli
