// Whole stages of a checkpoint in bf16 or stored in 4 bits: loading, encoding a picture, prefill of
// 64 tokens, and decode steps of one row and of four rows (of a short prompt, which is faster to
// read). Flops and bytes count matrices only. The ceilings are timed in turn with the stages:
// reading after each step, multiplying before each prompt.
#include <atomic>
#include <fstream>
#include <numeric>
#include <thread>

#include <idefics/generation/search/token_search.hpp>
#include <idefics/io/checkpoint.hpp>
#include <idefics/model.hpp>

#include "bench.hpp"
#include "prompt.hpp"
#include "stage_work.hpp"

namespace idefics::bench {
namespace {

constexpr std::int64_t prompt_tokens = 64, short_prompt_tokens = 8;

/// Anonymous memory of this process in bytes: all but mapped files.
std::int64_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::strtoll(line.c_str() + 8, nullptr, 10) * 1024;
  return 0;
}

/// The maximum of anonymous_bytes() during its lifetime, sampled every few milliseconds.
class PeakMemory {
 public:
  PeakMemory() : watcher_([this](std::stop_token stop) { watch(stop); }) {}
  std::int64_t bytes() const { return peak_; }

 private:
  void watch(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      peak_ = std::max(peak_.load(), anonymous_bytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  std::atomic<std::int64_t> peak_ = 0;
  std::jthread watcher_;
};

/// Reads the matrices of the decoder from the mapped checkpoint, a gigabyte at a time.
class MappedWeights {
 public:
  explicit MappedWeights(const Checkpoint& checkpoint) {
    for (const TensorInfo* info : checkpoint.tensors())
      if (component_of(info->name.substr(info->name.find('.') + 1)) == "decoder")
        tensors_.push_back(checkpoint.tensor(info->name));
  }
  /// Reads the next gigabyte, or all of a smaller model; returns seconds per byte.
  double read() {
    double bytes = 0;
    const double time = seconds([&] {
      for (std::size_t i = 0; i < tensors_.size() && bytes < 1e9; ++i) {
        const Tensor& t = tensors_[next_++ % tensors_.size()];
        read_all({t.raw(), t.bytes()});
        bytes += static_cast<double>(t.bytes());
      }
    });
    return time / bytes;
  }
  void read_everything() {
    for (const Tensor& t : tensors_) read_all({t.raw(), t.bytes()});
  }

 private:
  std::vector<Tensor> tensors_;
  std::size_t next_ = 0;
};

struct Times {
  std::vector<double> load, picture, prompt, products, read[2], step[2];
};

/// Runs one prompt and some decode steps, and reads weights after every step.
void run_prompt(Model& model, MappedWeights& weights, const Inputs& inputs, std::int64_t steps,
                Times& times) {
  const std::size_t many = inputs.input_ids.dim(0) > 1 ? 1 : 0;
  detail::Stopwatch watch;
  bool first = true;
  const auto output = model.generate(
      inputs, {.max_new_tokens = steps + 1, .min_new_tokens = steps + 1}, {}, [&](auto) {
        const double step = watch.lap();
        if (!std::exchange(first, false)) times.step[many].push_back(step);
        times.read[many].push_back(weights.read());
        watch.lap();
        return true;
      });
  if (many) return;
  times.picture.push_back(output.timings.vision_s);
  times.prompt.push_back(output.timings.prefill_s);
}

void print_times(const Times& t, const Work& work, std::int64_t added_bytes) {
  std::printf("%-44s %9.3f ms, pages in cache\n", "load", median(t.load) * 1e3);
  const double peak = multiply_bf16_flops() / median(t.products) / 1e9;
  print_rate("image encode", median(t.picture), work.picture_flops, "GFLOP/s", peak,
             "bf16 product peak");
  print_rate("prefill " + std::to_string(prompt_tokens), median(t.prompt), work.prompt_flops,
             "GFLOP/s", peak, "bf16 product peak");
  for (const int many : {0, 1})
    print_rate(many ? "decode, 4 rows" : "decode, 1 row", median(t.step[many]), work.step_bytes,
               "GB/s", 1e-9 / median(t.read[many]), "read bandwidth");
  std::printf("%-44s %9.2f GB\n", "bytes per step", work.step_bytes / 1e9);
  std::printf("%-44s %9.2f\n", "step of 4 rows over step of 1 row",
              median(t.step[1]) / median(t.step[0]));
  std::printf("%-44s %9.2f GiB\n", "anonymous memory added, at most",
              static_cast<double>(added_bytes) / 0x1p30);
}

}  // namespace

void bench_stages(Context& c) {
  if (c.model.empty()) return;
  const Checkpoint checkpoint = Checkpoint::open(c.model);
  MappedWeights weights(checkpoint);
  weights.read_everything();
  const std::int64_t before = anonymous_bytes();
  const PeakMemory peak;
  Times times;
  std::optional<Model> model;
  const ModelOptions options{.dtype = DType::bf16, .device_map = "cpu"};
  for (int i = 0; i < 3; ++i) {
    model.reset();
    times.load.push_back(seconds([&] { model.emplace(Model::from_pretrained(c.model, options)); }));
  }
  const int rounds = c.quick ? 1 : 3;
  for (int round = 0; round < rounds; ++round)
    for (const std::int64_t rows : {1, 4}) {
      times.products.push_back(seconds(multiply_bf16));
      const auto inputs =
          prompt(model->config(), rows, rows == 1 ? prompt_tokens : short_prompt_tokens,
                 static_cast<std::uint64_t>(round));
      run_prompt(*model, weights, inputs, c.quick ? 2 : 4, times);
    }
  print_times(times, work_of(model->config(), checkpoint, prompt_tokens), peak.bytes() - before);
}

}  // namespace idefics::bench
