// Shared by the sub-commands of the `idefics` executable: common options, usage errors, output.
#pragma once

#include <cstdlib>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <idefics/idefics.hpp>
#include <idefics/io/hub_cache.hpp>
#include <idefics/io/json_fwd.hpp>

#include "cli/embedded_model.hpp"
#include "cli/progress_bar.hpp"
#include "cli/ranks.hpp"
#include "cli/report.hpp"

namespace cli {

/// Wrong usage of the command line: exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Rejects an empty value, which would otherwise be taken for a missing one.
inline const CLI::Validator not_empty(
    [](const std::string& text) {
      return text.empty() ? std::string("the value is empty") : std::string();
    },
    "");

/// The groups of options in --help.
inline constexpr const char *model_group = "Model", *run_group = "Run", *output_group = "Output",
                            *network_group = "Network", *prompt_group = "Prompt",
                            *picture_group = "Pictures";

/// Accepts cuda:0, cuda:1, …
inline const CLI::Validator numbered_gpu(
    [](const std::string& text) {
      const bool good = text.size() > 5 && text.starts_with("cuda:") &&
                        text.find_first_not_of("0123456789", 5) == std::string::npos;
      return good ? std::string() : text + " is not cuda:N";
    },
    "cuda:N");

/// The dtype called f32, bf16 or f16; nullopt for any other name.
inline std::optional<idefics::DType> dtype_named(const std::string& name) {
  for (const auto dtype : {idefics::DType::f32, idefics::DType::bf16, idefics::DType::f16})
    if (name == idefics::name_of(dtype)) return dtype;
  return std::nullopt;
}

/// Prints what is unusual about a checkpoint's files on stderr, each once.
inline void print_warnings(const idefics::Warnings& warnings) {
  static idefics::Warnings printed;
  for (const idefics::Warning& warning : warnings) {
    const std::size_t before = printed.size();
    printed.add(warning);
    if (printed.size() != before) warn(warning);
  }
}

/// The groups of common options that a command uses; the others are unknown to it.
enum Uses : unsigned {
  uses_model = 1,     // --model
  uses_weights = 2,   // how weights are loaded: --dtype, --device, --load-in-4bit, ...
  uses_seed = 4,      // --seed
  uses_pictures = 8,  // how pictures are fetched and decoded
  uses_timings = 16,  // --timings
  uses_everything = 31,
};

struct CommonOptions {
  std::string model;
  std::string dtype, device = "auto", load_in_4bit, adapter, kv_cache_dtype = "f32";
  std::optional<float> llm_int8_threshold;
  std::vector<std::string> llm_int8_skip_modules;  // empty: as in transformers
  int threads = 0;
  std::optional<std::uint64_t> seed, max_memory;
  bool json = false, quiet = false, offline = false, timings = false, double_quant = false,
       load_in_8bit = false, allow_private_urls = false, no_mmap = false;
  bool exif_transpose = false;
  idefics::ImageLimits image_limits;
  bool streaming = false;  // print the answer as it is generated
  bool many = false;       // several pictures: progress is shown by picture

  /// Adds the options that a command uses, and those of all commands.
  void add_to(CLI::App& app, unsigned uses);
  void add_weights(CLI::App& app);
  void add_int8(CLI::App& app, const char* group);
  void add_pictures(CLI::App& app);
  /// The options that change the memory plan.
  void add_plan(CLI::App& app);

  idefics::ModelOptions model_options() const;
  /// How to quantize to nf4, fp4 or int8, with the other options of quantization.
  idefics::BitsAndBytesConfig quantization(const std::string& form) const;
  /// Fetches URLs as --offline and --allow-private-urls permit.
  std::function<std::vector<std::byte>(const std::string&)> fetcher() const {
    idefics::FetchOptions options{.allow_private = allow_private_urls, .offline = offline};
    if (image_limits.max_file_bytes != idefics::ImageLimits{}.max_file_bytes)
      options.max_bytes = image_limits.max_file_bytes;
    return [options](const std::string& url) {
      return fetch_on_first_rank([&] { return idefics::fetch_url(url, options); });
    };
  }
  /// How pictures in files are decoded, or those at URLs.
  idefics::ImageOptions image_options(bool at_url) const;
  /// Loads the processor, and prints what is unusual about the checkpoint's files.
  idefics::Processor processor() const {
    auto processor = idefics::Processor::from_pretrained(model);
    print_warnings(processor.tokenizer().warnings());
    print_warnings(idefics::checkpoint_warnings(idefics::resolve_model(model)));
    return processor;
  }
  /// Applies --threads and loads the model.
  idefics::Model load() const {
    idefics::set_num_threads(threads);
    return idefics::Model::from_pretrained(model, model_options());
  }
};

inline void CommonOptions::add_to(CLI::App& app, unsigned uses) {
  if ((uses & uses_model) != 0) {
    const char* named = std::getenv("IDEFICS_MODEL");
    model = named != nullptr && *named != '\0' ? named : embedded_model();
    app.add_option("--model", model,
                   "checkpoint directory, or org/name[@revision] in the local Hugging Face cache; "
                   "default: IDEFICS_MODEL, else the embedded checkpoint")
        ->type_name("MODEL")
        ->group(model_group);
  }
  if ((uses & uses_weights) != 0) add_weights(app);
  if ((uses & uses_seed) != 0)
    app.add_option("--seed", seed, "random seed for sampling")
        ->type_name("N")
        ->check(CLI::NonNegativeNumber)
        ->default_str("0")
        ->group(run_group);
  app.add_option("--threads", threads, "number of threads; 0: all cores")
      ->type_name("N")
      ->check(CLI::Range(0, 4096))
      ->default_str("0")
      ->group(run_group);
  if ((uses & uses_timings) != 0)
    app.add_flag("--timings", timings,
                 "report the seconds spent in each stage, and tokens per second")
        ->group(output_group);
  app.add_flag("--json", json, "print one JSON object")->group(output_group);
  app.add_flag("--quiet", quiet, "show no progress on stderr")->group(output_group);
  app.add_flag("--offline", offline, "never use the network; same as HF_HUB_OFFLINE=1")
      ->group(network_group);
  if ((uses & uses_pictures) != 0) add_pictures(app);
}

inline void CommonOptions::add_pictures(CLI::App& app) {
  app.add_flag("--allow-private-urls", allow_private_urls,
               "also fetch pictures from loopback, private and link-local addresses; same as "
               "IDEFICS_ALLOW_PRIVATE_URLS=true")
      ->envname("IDEFICS_ALLOW_PRIVATE_URLS")
      ->group(network_group);
  app.add_flag("--exif-transpose", exif_transpose,
               "turn pictures in files as their EXIF orientation says; those at URLs always are")
      ->group(picture_group);
  app.add_option("--max-image-pixels", image_limits.max_pixels, "most pixels of a picture")
      ->check(CLI::PositiveNumber)
      ->type_name("N")
      ->default_str(std::to_string(image_limits.max_pixels))
      ->group(picture_group);
  app.add_option("--max-image-bytes", image_limits.max_file_bytes,
                 "largest picture file; default: 1GiB, for URLs 64MiB")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE")
      ->group(picture_group);
  app.add_option("--max-image-memory", image_limits.max_decoded_bytes,
                 "most memory for decoding a picture")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE")
      ->default_str("3GiB")
      ->group(picture_group);
}

inline void CommonOptions::add_plan(CLI::App& app) {
  app.add_option("--dtype", dtype, "dtype of the weights; default: as stored, with f32 arithmetic")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->group(model_group);
  app.add_option("--kv-cache-dtype", kv_cache_dtype,
                 "what cached keys and values of the text are rounded to")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->default_str("f32")
      ->group(model_group);
  app.add_option("--adapter", adapter, "LoRA adapter in PEFT's layout: a directory or repository")
      ->type_name("ADAPTER")
      ->group(model_group);
  app.add_option("--max-memory", max_memory,
                 "memory limit for the model, such as 20GiB; default: what is available")
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE")
      ->group(model_group);
}

inline void CommonOptions::add_weights(CLI::App& app) {
  add_plan(app);
  app.add_option("--device", device,
                 "cpu, cuda, cuda:N, or auto: GPUs first, the CPU for what does not fit")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}) | numbered_gpu)
      ->default_str("auto")
      ->group(model_group);
  app.add_flag("--no-mmap", no_mmap, "read weights into memory instead of mapping their files")
      ->group(model_group);
  app.add_option("--load-in-4bit", load_in_4bit, "quantize weights to 4 bits; without a type: fp4")
      ->check(CLI::IsMember({"nf4", "fp4"}))
      ->group(model_group);
  app.add_flag("--double-quant", double_quant, "also quantize the quantization constants")
      ->group(model_group);
  app.add_flag("--load-in-8bit", load_in_8bit, "quantize weights to int8 (LLM.int8)")
      ->group(model_group);
  add_int8(app, model_group);
}

inline void CommonOptions::add_int8(CLI::App& app, const char* group) {
  app.add_option("--llm-int8-threshold", llm_int8_threshold,
                 "magnitude from which inputs of int8 layers are multiplied unquantized; 0: none; "
                 "default: the checkpoint's, else 6")
      ->check(CLI::NonNegativeNumber)
      ->type_name("X")
      ->group(group);
  app.add_option("--llm-int8-skip-modules", llm_int8_skip_modules,
                 "modules not to quantize, separated by commas: a last name, a path, or an "
                 "enclosing module; default: lm_head")
      ->delimiter(',')
      ->type_name("A,B")
      ->group(group);
}

inline idefics::BitsAndBytesConfig CommonOptions::quantization(const std::string& form) const {
  idefics::BitsAndBytesConfig config{.load_in_8bit = form == "int8",
                                     .load_in_4bit = form == "nf4" || form == "fp4",
                                     .bnb_4bit_use_double_quant = double_quant};
  if (double_quant && !config.load_in_4bit) throw UsageError("--double-quant requires 4 bits");
  if (form == "nf4") config.bnb_4bit_quant_type = idefics::QuantType::nf4;
  config.llm_int8_threshold = llm_int8_threshold;
  if (!llm_int8_skip_modules.empty()) config.llm_int8_skip_modules = llm_int8_skip_modules;
  return config;
}

inline idefics::ModelOptions CommonOptions::model_options() const {
  using namespace idefics;
  if (load_in_8bit && !load_in_4bit.empty())
    throw UsageError("--load-in-8bit and --load-in-4bit exclude each other");
  ModelOptions options{.progress = ProgressBar(!quiet && bars_are_wanted(), streaming || many)};
  options.quantization_config = quantization(load_in_8bit ? "int8" : load_in_4bit);
  options.device_map = device;
  options.dtype = dtype_named(dtype);
  options.kv_cache_dtype = *dtype_named(kv_cache_dtype);
  options.adapter = adapter;
  options.max_memory = max_memory;
  options.mmap = !no_mmap;
  options.ranks = ranks();
  return options;
}

inline idefics::ImageOptions CommonOptions::image_options(bool at_url) const {
  auto options = at_url ? idefics::ImageOptions::load_image() : idefics::ImageOptions{};
  if (exif_transpose) options.exif_transpose = true;
  options.limits = image_limits;
  options.on_warning = [](const std::string& warning) { note("warning: " + warning); };
  return options;
}

/// All bytes on stdin. Throws `oversized_file`.
inline std::string read_stdin(std::uint64_t most) {
  std::string bytes;
  if (!is_first_rank()) {
    share(bytes);
    return bytes;
  }
  char block[1 << 16];
  while (std::cin.read(block, sizeof block), std::cin.gcount() > 0) {
    bytes.append(block, static_cast<std::size_t>(std::cin.gcount()));
    if (bytes.size() > most)
      idefics::fail(idefics::ErrorCode::oversized_file, "stdin has more bytes than allowed",
                    {.file = "-", .limit = most});
  }
  share(bytes);
  return bytes;
}

inline constexpr const char* interpolate_help = "accept pictures of any --image-size";

/// Processor options shared by several commands.
struct PromptOptions {
  std::string file, end_of_utterance, padding = "longest", padding_side;
  std::optional<std::int64_t> max_length, image_size;
  bool add_eos_token = false, truncation = false, markdown_pictures = false;

  void add_to(CLI::App& app);
  idefics::ProcessorOptions options(const CommonOptions& common) const;
  std::vector<idefics::Prompt> read(const CommonOptions& common,
                                    const idefics::Processor& processor) const {
    const idefics::PromptFileOptions reading{.image_options = common.image_options(false),
                                             .url_image_options = common.image_options(true),
                                             .fetch = common.fetcher(),
                                             .tokenizer = &processor.tokenizer(),
                                             .markdown_pictures = markdown_pictures};
    if (file != "-") return idefics::read_prompt_file(file, reading);
    return idefics::parse_prompts(read_stdin(idefics::JsonOptions{}.bytes), file, reading);
  }
};

inline void PromptOptions::add_to(CLI::App& app) {
  const auto option = [&app](const char* name, auto& value, const char* what, const char* type) {
    return app.add_option(name, value, what)->type_name(type)->group(prompt_group);
  };
  const auto flag = [&app](const char* name, bool& value, const char* what) {
    app.add_flag(name, value, what)->group(prompt_group);
  };
  option("--prompt-file", file, "JSON file: items, messages, or images and texts; - for stdin",
         "FILE");
  flag("--markdown-pictures", markdown_pictures, "texts may contain pictures, in Markdown");
  option("--padding", padding, "to which length prompts are padded", "")
      ->check(CLI::IsMember({"longest", "max_length", "none"}))
      ->default_str("longest");
  option("--padding-side", padding_side, "default: the tokenizer's", "")
      ->check(CLI::IsMember({"left", "right"}));
  flag("--truncation", truncation, "cut prompts to --prompt-max-length");
  option("--prompt-max-length", max_length, "tokens of a prompt, for --padding and --truncation",
         "N");
  option("--image-size", image_size, "pixels per side; see --interpolate-pos-encoding", "N")
      ->check(CLI::Range(1, 1 << 14));
  flag("--add-eos-token", add_eos_token, "append the eos token to every prompt");
  option("--add-end-of-utterance-token", end_of_utterance,
         "insert <end_of_utterance> between texts; default: if the tokenizer has it", "")
      ->check(CLI::IsMember({"true", "false"}));
}

inline idefics::ProcessorOptions PromptOptions::options(const CommonOptions& common) const {
  idefics::ProcessorOptions result;
  if (add_eos_token) result.add_eos_token = true;
  result.fetch = common.fetcher();
  result.image_options = common.image_options(true);
  if (!end_of_utterance.empty()) result.add_end_of_utterance_token = end_of_utterance == "true";
  if (padding == "max_length") result.padding = idefics::Padding::max_length;
  if (padding == "none") result.padding = idefics::Padding::none;
  if (!padding_side.empty())
    result.padding_side =
        padding_side == "left" ? idefics::PaddingSide::left : idefics::PaddingSide::right;
  result.truncation = truncation;
  result.max_length = max_length;
  result.image_size = image_size;
  return result;
}

/// Writes to stdout. Throws `io_failure` if that fails, as on a full disk or a closed pipe.
inline void write(const std::string& text) {
  clear_bar();
  std::cout << text << std::flush;
  if (!std::cout) idefics::fail(idefics::ErrorCode::io_failure, "cannot write to standard output");
}
inline void print(const std::string& line) { write(line + '\n'); }

void add_attend(CLI::App& app);
void add_bench(CLI::App& app);
void add_caption(CLI::App& app);
void add_chat(CLI::App& app);
void add_classify(CLI::App& app);
void add_generate(CLI::App& app);
void add_tensors(CLI::App& app);
void add_tokens(CLI::App& app);
void add_info(CLI::App& app);
void add_pull(CLI::App& app);
void add_quantize(CLI::App& app);
void add_selftest(CLI::App& app);
void add_serve(CLI::App& app);

}  // namespace cli
