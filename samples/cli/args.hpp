// What every sub-command of the `idefics` executable shares: common options, output, and its own
// faults.
#pragma once

#include <cstdlib>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <idefics/idefics.hpp>

#include "cli/progress_bar.hpp"

namespace cli {

/// A fault of usage: exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// For options whose value cannot be empty: the parser would take an empty one for none.
inline const CLI::Validator not_empty(
    [](const std::string& text) {
      return text.empty() ? std::string("the value is empty") : std::string();
    },
    "");

/// cuda:0, cuda:1, …
inline const CLI::Validator numbered_gpu(
    [](const std::string& text) {
      const bool good = text.size() > 5 && text.starts_with("cuda:") &&
                        text.find_first_not_of("0123456789", 5) == text.npos;
      return good ? std::string() : text + " is no cuda:N";
    },
    "cuda:N");

/// f32, bf16 or f16, or nothing.
inline std::optional<idefics::DType> dtype_named(const std::string& name) {
  for (const auto dtype : {idefics::DType::f32, idefics::DType::bf16, idefics::DType::f16})
    if (name == idefics::name_of(dtype)) return dtype;
  return std::nullopt;
}

struct CommonOptions {
  std::string model;
  std::string dtype, device = "auto", load_in_4bit, adapter;
  int threads = 0;
  std::optional<std::uint64_t> seed, max_memory;
  bool json = false, quiet = false, offline = false, timings = false, double_quant = false,
       allow_private_urls = false;
  bool streaming = false;  // the answer is printed as it comes

  void add_to(CLI::App& app);

  idefics::ModelOptions model_options() const;
  /// Fetches URLs as the flags allow.
  std::function<std::vector<std::byte>(const std::string&)> fetcher() const {
    return
        [options = idefics::FetchOptions{.allow_private = allow_private_urls, .offline = offline}](
            const std::string& url) { return idefics::fetch_url(url, options); };
  }
  idefics::Processor processor() const { return idefics::Processor::from_pretrained(model); }
  /// Applies --threads and loads.
  idefics::Model load() const {
    idefics::set_num_threads(threads);
    return idefics::Model::from_pretrained(model, model_options());
  }
};

inline void CommonOptions::add_to(CLI::App& app) {
  const char* named = std::getenv("IDEFICS_MODEL");
  model = named != nullptr && *named != '\0' ? named : IDEFICS_TINY_MODEL;
  app.add_option("--model", model,
                 "checkpoint directory, or org/name[@revision] in the local cache");
  app.add_option("--dtype", dtype,
                 "f32, bf16 or f16; unset: as the files hold the weights, f32 arithmetic")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}));
  app.add_option("--device", device,
                 "cpu, cuda, cuda:N, or auto: GPUs, then the CPU for what does not fit")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}) | numbered_gpu);
  app.add_option("--load-in-4bit", load_in_4bit,
                 "quantize weights: nf4 or fp4 (if neither is named)")
      ->check(CLI::IsMember({"nf4", "fp4"}));
  app.add_flag("--double-quant", double_quant, "quantize the quantization constants as well");
  app.add_option("--adapter", adapter, "LoRA adapter in PEFT's layout: directory or repository");
  app.add_option("--max-memory", max_memory,
                 "bytes the model may take, such as 20GiB; unset: what the system has to spare")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--threads", threads, "threads; 0: all cores")->check(CLI::NonNegativeNumber);
  app.add_option("--seed", seed, "seed of sampling");
  app.add_flag("--json", json, "print one JSON object");
  app.add_flag("--quiet", quiet, "no progress on stderr");
  app.add_flag("--offline", offline, "never use the network; so does HF_HUB_OFFLINE=1");
  app.add_flag("--allow-private-urls", allow_private_urls,
               "fetch pictures from this machine and its network as well")
      ->envname("IDEFICS_ALLOW_PRIVATE_URLS");
  app.add_flag("--timings", timings, "report seconds by stage");
}

inline idefics::ModelOptions CommonOptions::model_options() const {
  using namespace idefics;
  if (double_quant && load_in_4bit.empty())
    throw UsageError("--double-quant goes with --load-in-4bit");
  ModelOptions options{.progress = ProgressBar(!quiet && bars_are_wanted(), streaming)};
  options.quantization_config = {.load_in_4bit = !load_in_4bit.empty(),
                                 .bnb_4bit_use_double_quant = double_quant};
  if (load_in_4bit == "nf4") options.quantization_config.bnb_4bit_quant_type = QuantType::nf4;
  options.device_map = device;
  options.dtype = dtype_named(dtype);
  options.adapter = adapter;
  options.max_memory = max_memory;
  return options;
}

/// Options of the processor that several commands take.
struct PromptOptions {
  std::string file, end_of_utterance;
  bool add_eos_token = false;

  void add_to(CLI::App& app) {
    app.add_option("--prompt-file", file,
                   "JSON prompt: an array of items, or an array of such arrays");
    app.add_flag("--add-eos-token", add_eos_token, "end every prompt with the eos token");
    app.add_option("--add-end-of-utterance-token", end_of_utterance,
                   "true or false; unset: if the tokenizer has it")
        ->check(CLI::IsMember({"true", "false"}));
  }
  idefics::ProcessorOptions options(const CommonOptions& common) const {
    idefics::ProcessorOptions result{.add_eos_token = add_eos_token};
    result.fetch = common.fetcher();
    if (!end_of_utterance.empty()) result.add_end_of_utterance_token = end_of_utterance == "true";
    return result;
  }
};

/// The picture at a path or URL.
inline idefics::PromptItem read_picture(const std::string& place) {
  if (idefics::is_url(place) || idefics::is_data_url(place))
    return idefics::PromptItem::image_url(place);
  return idefics::Image::open(place);
}

/// The same, fetched and decoded at once.
inline idefics::Image load_picture(const std::string& place, const CommonOptions& common) {
  if (idefics::is_url(place) || idefics::is_data_url(place))
    return idefics::Image::decode(common.fetcher()(place), place.substr(0, 200));
  return idefics::Image::open(place);
}

/// Writes to stdout; a full disk or a closed pipe is an error like any other.
inline void write(const std::string& text) {
  clear_bar();
  std::cout << text << std::flush;
  if (!std::cout) idefics::fail(idefics::ErrorCode::io_failure, "cannot write to standard output");
}
inline void print(const std::string& line) { write(line + '\n'); }

void add_chat(CLI::App& app);
void add_classify(CLI::App& app);
void add_generate(CLI::App& app);
void add_tensors(CLI::App& app);
void add_tokens(CLI::App& app);
void add_info(CLI::App& app);
void add_quantize(CLI::App& app);

}  // namespace cli
