// Continuous batching on a checkpoint in bf16: tokens per second of 1 to 16 clients that generate at
// once, each in a thread of its own, as a ratio to those of one client, and the share of passes.
// Rounds of one client are timed in turn with the others.
#include <thread>

#include <idefics/model.hpp>

#include "bench.hpp"
#include "prompt.hpp"

namespace idefics::bench {
namespace {

constexpr std::int64_t prompt_tokens = 8;

/// Decode steps per second, over all clients.
double steps_per_second(const Model& model, int clients, std::int64_t steps) {
  std::vector<double> rates(static_cast<std::size_t>(clients));
  std::vector<std::jthread> threads;
  for (int client = 0; client < clients; ++client)
    threads.emplace_back([&, client] {
      const Inputs inputs =
          prompt(model.config(), 1, prompt_tokens, static_cast<std::uint64_t>(client % 4));
      const auto timings =
          model.generate(inputs, {.max_new_tokens = steps + 1, .min_new_tokens = steps + 1})
              .timings;
      rates[static_cast<std::size_t>(client)] =
          static_cast<double>(timings.decode_tokens) / timings.decode_s;
    });
  threads.clear();
  double sum = 0;
  for (const double rate : rates) sum += rate;
  return sum;
}

}  // namespace

void bench_clients(Context& c) {
  if (c.model.empty()) return;
  const Model model = Model::from_pretrained(
      c.model, {.dtype = DType::bf16, .device_map = "cpu", .shared_cache_tokens = 2048});
  const std::int64_t steps = c.quick ? 2 : 32;
  (void)steps_per_second(model, 16, 1);  // encodes the pictures
  for (const int clients : {2, 4, 8, 16}) {
    std::vector<double> one, many;
    double shares = 0, passes = 0;
    for (int round = 0; round < (c.quick ? 1 : 3); ++round) {
      one.push_back(steps_per_second(model, 1, steps));
      const BatchStatistics before = model.batch_statistics();
      many.push_back(steps_per_second(model, clients, steps));
      const BatchStatistics after = model.batch_statistics();
      shares += static_cast<double>(after.shares - before.shares);
      passes += static_cast<double>(after.passes - before.passes);
    }
    std::printf("%2d clients %33.2f tokens/s    %.2f of one client (%.2f)    %.1f runs a pass\n",
                clients, median(many), median(many) / median(one), median(one), shares / passes);
  }
}

}  // namespace idefics::bench
