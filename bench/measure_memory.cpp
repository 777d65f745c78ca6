// measure_memory MODEL [--dtype D] [--load-in-4bit TYPE] [--double-quant] [--adapter DIR]
//   [--tokens N] [--batch N] [--num-beams N] [--runs N] [--threads N] [--load-only]
//
// Loads a model, generates for a batch of prompts with one picture each, and compares the memory
// that this needed with the plan (include/idefics/plan/).
//
// Anonymous memory is RssAnon of /proc, sampled; mapped memory is what the page tables map of the
// checkpoint's files. What the program has before it loads does not count: its threads with their
// used stacks, and the inputs. Per-thread buffers are planned for all threads, but allocated when a
// thread first gets work: on small models and a busy machine that may take some runs.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <thread>

#include <idefics/io/hub_cache.hpp>
#include <idefics/lora/lora.hpp>
#include <idefics/model.hpp>
#include <idefics/plan/require_fit.hpp>

using namespace idefics;

namespace {

std::uint64_t anonymous_now() {
  return detail::number_behind("/proc/self/status", "RssAnon:").value_or(0) * 1024;
}

/// Resident bytes of the mappings of files below `directory`.
std::uint64_t mapped_now(const std::filesystem::path& directory) {
  std::ifstream smaps("/proc/self/smaps");
  const std::string prefix = std::filesystem::canonical(directory).string() + "/";
  std::uint64_t bytes = 0;
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    const std::string first = line.substr(0, line.find(' '));
    if (!first.ends_with(':')) inside = line.find(prefix) != std::string::npos;
    if (inside && first == "Rss:") bytes += std::strtoull(line.c_str() + 4, nullptr, 10) * 1024;
  }
  return bytes;
}

/// Peak anonymous memory since construction, sampled every few milliseconds.
class Peak {
 public:
  Peak() : watcher_([this] { watch(); }) {}
  ~Peak() {
    done_ = true;
    watcher_.join();
  }
  std::uint64_t over(std::uint64_t base) {
    peak_ = std::max(peak_.load(), anonymous_now());
    return peak_ - std::min(base, peak_.load());
  }

 private:
  void watch() {
    while (!done_) {
      peak_ = std::max(peak_.load(), anonymous_now());
      std::this_thread::sleep_for(std::chrono::milliseconds(4));
    }
  }
  std::atomic<std::uint64_t> peak_ = 0;
  std::atomic<bool> done_ = false;
  std::thread watcher_;
};

struct Arguments {
  std::string model;
  ModelOptions options;
  std::int64_t tokens = 8, batch = 1, beams = 1, runs = 1;
  bool load_only = false;
};

DType dtype_of(std::string_view name) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    if (name == name_of(dtype)) return dtype;
  fail(ErrorCode::invalid_option, "dtype must be f32, bf16 or f16");
}

Arguments arguments(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const std::string value = i + 1 < argc ? argv[i + 1] : "";
    BitsAndBytesConfig& four_bit = a.options.quantization_config;
    if (word == "--dtype")
      a.options.dtype = dtype_of(value), ++i;
    else if (word == "--load-in-4bit")
      four_bit.load_in_4bit = true, ++i,
      four_bit.bnb_4bit_quant_type = value == "nf4" ? QuantType::nf4 : QuantType::fp4;
    else if (word == "--double-quant")
      four_bit.bnb_4bit_use_double_quant = true;
    else if (word == "--adapter")
      a.options.adapter = value, ++i;
    else if (word == "--tokens")
      a.tokens = std::atoll(value.c_str()), ++i;
    else if (word == "--batch")
      a.batch = std::atoll(value.c_str()), ++i;
    else if (word == "--num-beams")
      a.beams = std::atoll(value.c_str()), ++i;
    else if (word == "--runs")
      a.runs = std::atoll(value.c_str()), ++i;
    else if (word == "--threads")
      set_num_threads(std::atoi(value.c_str())), ++i;
    else if (word == "--load-only")
      a.load_only = true;
    else
      a.model = word;
  }
  return a;
}

/// Prompts of one picture and random ids each: large checkpoints here come without a tokenizer.
Inputs prompts_of(const Config& config, std::int64_t batch, std::int64_t tokens) {
  const std::int64_t side = config.vision.image_size;
  Inputs in;
  in.input_ids = Tensor::zeros(DType::i64, {batch, tokens});
  in.attention_mask = Tensor::zeros(DType::i64, {batch, tokens});
  in.image_attention_mask = Tensor::zeros(DType::i64, {batch, tokens, 1});
  in.pixel_values = Tensor::zeros(DType::f32, {batch, 1, 3, side, side});
  std::ranges::fill(in.attention_mask.as_mutable<std::int64_t>(), 1);
  std::ranges::fill(in.image_attention_mask.as_mutable<std::int64_t>(), 1);
  std::minstd_rand random(1);
  for (std::int64_t& id : in.input_ids.as_mutable<std::int64_t>())
    id = static_cast<std::int64_t>(3 + random() % 500);
  for (float& pixel : in.pixel_values.as_mutable<float>())
    pixel = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  return in;
}

/// Starts all threads, and touches as much of their stacks as a run does.
void warm_up() {
  parallel_tasks(4 * num_threads(), [](std::int64_t, int) {
    volatile char used[64 << 10];
    for (std::size_t i = 0; i < sizeof used; i += 512) used[i] = 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // so that each gets a task
  });
}

double mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void compare(const char* what, std::uint64_t planned, std::uint64_t measured) {
  std::printf("%-28s planned %9.1f MiB, measured %9.1f MiB", what, mib(planned), mib(measured));
  if (measured > 0) std::printf(", %+.1f %%", 100 * (mib(planned) / mib(measured) - 1));
  std::printf("\n");
}

void run(Arguments& a) {
  constexpr std::int64_t prompt = 64;
  const auto directory = resolve_model(a.model);
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const Config config = Config::from_file(directory / "config.json");
  WeightTable table;
  const Idefics layers(table, config);
  std::optional<LoraAdapter> adapter;
  if (!a.options.adapter.empty()) adapter = LoraAdapter::open(resolve_model(a.options.adapter));
  const Workload work{.context = prompt + a.tokens,
                      .new_tokens = a.tokens,
                      .batch = a.batch,
                      .beams = a.beams,
                      .pictures = a.batch,
                      .threads = num_threads()};
  const MemoryPlan plan = plan_memory(
      config, table.requests(), &checkpoint,
      {a.options.dtype, a.options.quantization_config, adapter ? &*adapter : nullptr}, work);
  const Inputs inputs = prompts_of(config, a.batch, prompt);
  warm_up();
  Peak peak;  // wait until its thread has started
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::uint64_t base = anonymous_now(), mapped_before = mapped_now(directory);

  const auto begin = std::chrono::steady_clock::now();
  Model model = Model::from_pretrained(directory.string(), a.options);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const auto bytes = static_cast<double>(checkpoint.total_bytes());
  const std::uint64_t most = peak.over(base), loaded = anonymous_now() - base;
  std::printf("loaded %.2f GB in %.2f s: %.2f GB/s; peak anonymous memory %.1f MiB\n", bytes / 1e9,
              took.count(), bytes / 1e9 / took.count(), mib(most));
  compare("weights, anonymous", plan.weights().anonymous, loaded);
  if (a.load_only) return;

  const GenerationConfig options{
      .max_new_tokens = a.tokens, .min_new_tokens = a.tokens, .num_beams = a.beams};
  for (std::int64_t i = 0; i < a.runs; ++i) (void)model.generate(inputs, options);
  const std::uint64_t anonymous = peak.over(base);
  const std::uint64_t mapped = mapped_now(directory) - mapped_before;
  compare("weights, mapped", plan.mapped_bytes(), mapped);
  compare("a whole run, anonymous", plan.anonymous_bytes(), anonymous);
  compare("a whole run", plan.total_bytes(), anonymous + mapped);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments a = arguments(argc, argv);
  try {
    run(a);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "measure_memory: %s\n", error.what());
    return 1;
  }
  return 0;
}
