// idefics bench: how fast a model is on this machine, and what share of the machine's memory
// bandwidth and product peak it reaches. Flops and bytes count matrices only.
#include <iomanip>
#include <memory>
#include <sstream>

#include <idefics/core/stopwatch.hpp>
#include <idefics/io/hub_cache.hpp>
#include <idefics/io/json.hpp>
#include <idefics/model/weights.hpp>
#include <idefics/plan/weight_bytes.hpp>

#include "bench/ceilings.hpp"
#include "bench/prompt.hpp"
#include "bench/stage_work.hpp"
#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;
using idefics::bench::median;

struct Command {
  CommonOptions common;
  std::int64_t prompt_tokens = 64, new_tokens = 16;
  std::vector<std::int64_t> batches{1, 4, 16};
};

/// The best figures of the machine so far: other programs may slow down some of the measurements.
struct Ceilings {
  double bytes_per_s = 0, flops_per_s = 0;

  void measure(bool bf16) {
    const std::uint64_t size = std::min<std::uint64_t>(
        std::uint64_t{512} << 20, available_memory().value_or(std::uint64_t{2} << 30) / 4);
    const Tensor memory = Tensor::zeros(DType::u8, {static_cast<std::int64_t>(size)});
    for (int i = 0; i < 4; ++i) {
      const double read = bench::seconds([&] { bench::read_all({memory.raw(), memory.bytes()}); });
      const double multiply = bench::seconds(bf16 ? bench::multiply_bf16 : bench::multiply_f32);
      if (i == 0) continue;  // warm-up
      bytes_per_s = std::max(bytes_per_s, static_cast<double>(size) / read);
      flops_per_s =
          std::max(flops_per_s,
                   (bf16 ? bench::multiply_bf16_flops() : bench::multiply_f32_flops()) / multiply);
    }
  }
};

/// Medians of the repetitions of one batch.
struct Times {
  double picture = 0, prefill = 0, step = 0;
};

/// Repeats until there are three repetitions, or ten seconds have passed. Pictures differ, because
/// those that were seen before are not encoded again.
Times measure(const Model& model, const Command& c, std::int64_t batch) {
  std::vector<double> picture, prefill, steps;
  detail::Stopwatch total;
  double elapsed = 0;
  for (std::uint64_t round = 0; round < 3 && elapsed < 10; ++round) {
    const Inputs inputs = bench::prompt(model.config(), batch, c.prompt_tokens,
                                        static_cast<std::uint64_t>(batch) * 100 + round);
    detail::Stopwatch watch;
    bool first = true;
    const auto output = model.generate(
        inputs, {.max_new_tokens = c.new_tokens + 1, .min_new_tokens = c.new_tokens + 1}, {},
        [&](auto) {
          const double step = watch.lap();
          if (!std::exchange(first, false)) steps.push_back(step);
          return true;
        });
    picture.push_back(output.timings.vision_s);
    prefill.push_back(output.timings.prefill_s);
    elapsed += total.lap();
  }
  return {median(picture), median(prefill), median(steps)};
}

bench::Work work_of(const Command& c, const Model& model) {
  const Checkpoint checkpoint = Checkpoint::open(resolve_model(c.common.model));
  const ModelOptions options = c.common.model_options();
  const WeightOptions form{options.dtype, options.quantization_config};
  return bench::work_of(model.config(), c.prompt_tokens, [&](const WeightRequest& request) {
    return static_cast<double>(detail::weight_bytes(&checkpoint, request, form).total());
  });
}

Json measure_all(const Command& c) {
  detail::Stopwatch watch;
  const Model model = c.common.load();
  const double load = watch.lap();
  const bench::Work work = work_of(c, model);
  const bool on_cpu = model.backend().name().starts_with("cpu");  // those of a GPU are not measured
  Ceilings ceilings;
  std::vector<Times> times;
  for (const std::int64_t batch : c.batches) {
    if (on_cpu) ceilings.measure(c.common.dtype == "bf16");
    times.push_back(measure(model, c, batch));
  }
  const auto share = [&](double amount, double seconds, double ceiling) {
    return on_cpu ? Json(amount / seconds / ceiling) : Json(nullptr);
  };
  const Times& first = times.front();
  const auto rows = static_cast<double>(c.batches.front());
  Json json{{"model", c.common.model},           {"backend", model.backend().name()},
            {"threads", num_threads()},          {"load_s", load},
            {"prompt_tokens", c.prompt_tokens},  {"first_token_s", first.picture + first.prefill},
            {"picture_s", first.picture / rows}, {"prefill_s", first.prefill},
            {"step_bytes", work.step_bytes},     {"decode", Json::array()}};
  json["read_bytes_per_s"] = on_cpu ? Json(ceilings.bytes_per_s) : Json(nullptr);
  json["product_flops_per_s"] = on_cpu ? Json(ceilings.flops_per_s) : Json(nullptr);
  json["picture_share"] = share(work.picture_flops * rows, first.picture, ceilings.flops_per_s);
  json["prefill_share"] = share(work.prompt_flops * rows, first.prefill, ceilings.flops_per_s);
  for (std::size_t i = 0; i < times.size(); ++i)
    json["decode"].push_back(
        {{"batch", c.batches[i]},
         {"step_s", times[i].step},
         {"tokens_per_s", static_cast<double>(c.batches[i]) / times[i].step},
         {"share", share(work.step_bytes, times[i].step, ceilings.bytes_per_s)}});
  return json;
}

std::string number(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

std::string percent(const Json& share, const char* of) {
  return share.is_null() ? "" : number(100 * share.get<double>(), 0) + "% of the " + of;
}

void print_table(const Json& json) {
  std::ostringstream out;
  const auto row = [&](const std::string& name, const std::string& value,
                       const std::string& share) {
    out << '\n' << std::left << std::setw(28) << name << std::right << std::setw(18) << value;
    if (!share.empty()) out << "   " << share;
  };
  const auto milliseconds = [&](const char* key) {
    return number(1e3 * json[key].get<double>(), 1) + " ms";
  };
  out << json["model"].get<std::string>() << " on " << json["backend"].get<std::string>() << ", "
      << json["threads"] << " threads";
  if (!json["read_bytes_per_s"].is_null())
    out << ", which read " << number(json["read_bytes_per_s"].get<double>() / 1e9, 1)
        << " GB/s and multiply " << number(json["product_flops_per_s"].get<double>() / 1e9, 0)
        << " GFLOP/s";
  out << '\n';
  row("load", milliseconds("load_s"), "");
  row("time to first token", milliseconds("first_token_s"),
      "one picture and " + std::to_string(json["prompt_tokens"].get<int>()) + " tokens");
  row("  a picture", milliseconds("picture_s"), percent(json["picture_share"], "product peak"));
  row("  the prompt", milliseconds("prefill_s"), percent(json["prefill_share"], "product peak"));
  for (const Json& batch : json["decode"])
    row("batch " + std::to_string(batch["batch"].get<int>()),
        number(batch["tokens_per_s"].get<double>(), 1) + " tokens/s",
        percent(batch["share"], "read bandwidth"));
  print(out.str());
}

}  // namespace

void add_bench(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* bench = app.add_subcommand("bench", "measure how fast a model is on this machine");
  const auto add = [bench](const char* name, auto& value, const char* what, const char* normal) {
    return bench->add_option(name, value, what)
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 16))
        ->type_name("N")
        ->default_str(normal)
        ->group("Workload");
  };
  add("--prompt-tokens", c->prompt_tokens, "tokens of the prompt, which also has one picture",
      "64");
  add("--new-tokens", c->new_tokens, "steps to time in each answer", "16");
  add("--batch", c->batches, "batch sizes, separated by commas", "1,4,16")->delimiter(',');
  c->common.add_to(*bench, uses_model | uses_weights);
  bench->callback([c] {
    const Json json = measure_all(*c);
    if (c->common.json)
      print(json.dump());
    else
      print_table(json);
  });
}

}  // namespace cli
