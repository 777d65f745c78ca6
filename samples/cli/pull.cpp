// idefics pull: fetches a model from the hub into the local cache.
#include <iomanip>
#include <memory>
#include <sstream>

#include <idefics/io/json.hpp>
#include <idefics/plan/require_fit.hpp>
#include <idefics/pull.hpp>

#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  std::string repository, quantize;
  std::vector<std::string> include;
  int jobs = 4;
  bool dry_run = false;
};

/// A bar with the rate and the time left, from the bytes of the last seconds.
class TransferBar {
 public:
  bool operator()(const Progress& progress) {
    if (progress.done >= progress.total) {
      clear_bar();
      marks_.clear();
      return true;
    }
    const auto now = Clock::now();
    if (marks_.empty() || now - marks_.back().first > std::chrono::milliseconds(250)) {
      if (!marks_.empty()) show(progress, now);
      marks_.emplace_back(now, progress.done);
      if (marks_.size() > 40) marks_.erase(marks_.begin());
    }
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void show(const Progress& progress, Clock::time_point now) const {
    const double seconds = std::chrono::duration<double>(now - marks_.front().first).count();
    const double rate = static_cast<double>(progress.done - marks_.front().second) / seconds;
    constexpr std::size_t width = 20;
    const auto full =
        width * static_cast<std::size_t>(progress.done) / static_cast<std::size_t>(progress.total);
    std::ostringstream text;
    text << progress.stage << " [" << std::string(full, '#') << std::string(width - full, ' ')
         << "] " << readable_bytes(static_cast<std::uint64_t>(progress.done)) << " of "
         << readable_bytes(static_cast<std::uint64_t>(progress.total));
    if (rate > 0) {
      const auto left =
          static_cast<std::int64_t>(static_cast<double>(progress.total - progress.done) / rate);
      text << ", " << readable_bytes(static_cast<std::uint64_t>(rate)) << "/s, " << left / 60 << ':'
           << std::setw(2) << std::setfill('0') << left % 60 << " left";
    }
    show_status(text.str());
  }

  std::vector<std::pair<Clock::time_point, std::int64_t>> marks_;
};

Json plan_json(const PullPlan& plan) {
  Json files = Json::array();
  for (const auto& file : plan.files)
    files.push_back(
        {{"path", file.path}, {"size", file.size}, {"present", file.present}, {"hash", file.hash}});
  return {{"repository", plan.repository},
          {"revision", plan.revision},
          {"commit", plan.commit},
          {"snapshot", plan.snapshot.string()},
          {"total_bytes", plan.total_bytes()},
          {"missing_bytes", plan.missing_bytes()},
          {"files", files}};
}

void print_plan(const PullPlan& plan) {
  std::ostringstream out;
  const auto row = [&out](const std::string& name, std::uint64_t size, std::uint64_t missing) {
    out << std::left << std::setw(44) << name << std::right << std::setw(16) << size
        << std::setw(16) << missing << '\n';
  };
  out << plan.repository << " at " << plan.commit << "\n\n"
      << std::left << std::setw(44) << "file" << std::right << std::setw(16) << "bytes"
      << std::setw(16) << "to fetch" << '\n';
  for (const auto& file : plan.files) row(file.path, file.size, file.size - file.present);
  row("all", plan.total_bytes(), plan.missing_bytes());
  print(out.str() + '\n' + readable_bytes(plan.missing_bytes()) + " to fetch, into " +
        plan.snapshot.string());
}

void run(const Command& c) {
  set_num_threads(c.common.threads);
  const bool bar = !c.common.quiet && bars_are_wanted();
  PullOptions options{.include = c.include, .jobs = c.jobs, .offline = c.common.offline};
  if (bar) options.progress = TransferBar();
  if (c.dry_run) {
    const PullPlan plan = plan_pull(c.repository, options);
    return c.common.json ? print(plan_json(plan).dump()) : print_plan(plan);
  }
  std::string directory;
  if (c.quantize.empty()) {
    directory = pull_checkpoint(c.repository, options).string();
  } else {
    if (!c.include.empty()) throw UsageError("--quantize fetches what it needs, without --include");
    QuantizeCheckpointOptions quantize;
    quantize.config = c.common.quantization(c.quantize);
    quantize.progress = ProgressBar(bar, false);
    directory = pull_quantized(c.repository, options, quantize).string();
  }
  print(c.common.json ? Json{{"model", directory}}.dump() : directory);
}

}  // namespace

void add_pull(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* pull = app.add_subcommand("pull", "fetch a model from the Hugging Face hub");
  pull->add_option("REPO", c->repository, "org/name[@revision]");
  const auto add = [pull](const char* name, auto& value, const char* what) {
    return pull->add_option(name, value, what)->group("Fetching");
  };
  add("--include", c->include,
      "files to fetch, such as '*.json'; default: those that this program reads")
      ->type_name("GLOB");
  add("--jobs", c->jobs, "files to fetch at once")
      ->check(CLI::Range(1, 64))
      ->type_name("N")
      ->default_str("4");
  pull->add_flag("--dry-run", c->dry_run, "print what would be fetched")->group("Fetching");
  pull->add_option("--quantize", c->quantize, "write it quantized, shard by shard")
      ->check(CLI::IsMember({"nf4", "fp4", "int8"}))
      ->group("Quantization");
  pull->add_flag("--double-quant", c->common.double_quant,
                 "also quantize the quantization constants")
      ->group("Quantization");
  c->common.add_to(*pull, 0);
  pull->callback([c] {
    if (c->repository.empty() && c->include.size() > 1) {  // --include took it for a pattern
      c->repository = c->include.back();
      c->include.pop_back();
    }
    if (c->repository.empty()) throw UsageError("pull needs the name of a model, org/name");
    run(*c);
  });
}

}  // namespace cli
