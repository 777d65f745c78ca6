// idefics info: configuration, parameters, the memory plan for every weight format and whether this
// machine can hold it, missing and unexpected tensors. Of weight files, only headers are read.
#include <iomanip>
#include <memory>
#include <sstream>

#include <idefics/backend/cuda_backend.hpp>
#include <idefics/core/available_memory.hpp>
#include <idefics/io/hub_cache.hpp>
#include <idefics/io/json.hpp>
#include <idefics/lora/lora.hpp>
#include <idefics/model/weights.hpp>
#include <idefics/plan/require_fit.hpp>

#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;

struct Command {
  CommonOptions common;
  Workload work;
};

/// "yes", "no", "unknown", or "from disk" if anonymous memory fits, but not mapped weights as well.
std::string fits(const MemoryPlan& plan, std::optional<std::uint64_t> available) {
  if (!available) return "unknown";
  if (plan.total_bytes() <= *available) return "yes";
  return plan.anonymous_bytes() <= *available ? "from disk" : "no";
}

Json plan_json(const MemoryPlan& plan, std::optional<std::uint64_t> available) {
  Json components = Json::object();
  for (const auto& [name, bytes] : plan.components)
    components[name] = {{"mapped_bytes", bytes.mapped}, {"anonymous_bytes", bytes.anonymous}};
  const WeightBytes weights = plan.weights();
  Json modules = Json::array();
  for (const ModuleMemory& module : plan.modules)
    modules.push_back({{"name", module.name},
                       {"device", "cpu"},
                       {"weight_bytes", module.weight_bytes},
                       {"cache_bytes", module.cache_bytes}});
  return {{"weights", components},
          {"weight_bytes", weights.total()},
          {"mapped_weight_bytes", weights.mapped},
          {"anonymous_weight_bytes", weights.anonymous},
          {"kv_cache_bytes", plan.kv_cache_bytes},
          {"image_cache_bytes", plan.image_cache_bytes},
          {"scratch_bytes", plan.scratch_bytes},
          {"anonymous_bytes", plan.anonymous_bytes()},
          {"total_bytes", plan.total_bytes()},
          {"fits", fits(plan, available)},
          {"modules", modules}};
}

Json tensors_json(const Checkpoint& checkpoint) {
  Json tensors = Json::array();
  for (const TensorInfo* t : checkpoint.tensors())
    tensors.push_back({{"name", t->name},
                       {"dtype", t->dtype_name},
                       {"shape", t->dims},
                       {"file", checkpoint.file_of(t->name).filename().string()}});
  return tensors;
}

/// Parameters that transformers counts, but no output depends on: a norm of the vision tower's pooled
/// output.
std::uint64_t unused_parameters(const Checkpoint& checkpoint) {
  std::uint64_t count = 0;
  for (const TensorInfo* tensor : checkpoint.tensors())
    if (tensor->name.find("vision_model.post_layernorm.") != std::string::npos) {
      std::uint64_t values = 1;
      for (const auto size : tensor->dims) values *= static_cast<std::uint64_t>(size);
      count += values;
    }
  return count;
}

/// The GPUs that --device accepts, and which kernels each of them uses.
Json devices_json() {
  Json devices = Json::array();
  for (int gpu = 0; cuda_is_available(gpu); ++gpu) {
    const auto device = make_cuda_backend(gpu);
    devices.push_back({{"name", device->name()}, {"description", device->description()}});
  }
  return devices;
}

Json describe(const Command& command) {
  const auto directory = resolve_model(command.common.model);
  const Checkpoint checkpoint = Checkpoint::open(directory, !command.common.no_mmap);
  const Json config_json = read_json_file(directory / "config.json");
  Config config = Config::from_json(config_json, (directory / "config.json").string());
  config.kv_cache_dtype = *dtype_named(command.common.kv_cache_dtype);
  WeightTable table;
  const Idefics layers(table, config);
  const auto report = compare_weights(checkpoint, table.requests());
  const auto available = command.common.max_memory ? command.common.max_memory : available_memory();
  const bool quantized = read_quantization_config(config_json, "config.json").has_value();
  Json json{{"model", directory.string()},
            {"config", config_json},
            {"missing", report.missing},
            {"unexpected", report.unexpected},
            {"devices", devices_json()},
            {"available_bytes", available ? Json(*available) : Json(nullptr)},
            {"context", command.work.context},
            {"batch", command.work.batch},
            {"beams", command.work.beams},
            {"ranks", command.work.ranks},
            {"images", command.work.pictures}};
  std::optional<LoraAdapter> adapter;
  if (!command.common.adapter.empty()) {
    adapter = LoraAdapter::open(resolve_model(command.common.adapter), !command.common.no_mmap);
    adapter->check(table.requests());
  }
  std::uint64_t parameters = 0;
  for (auto& form : weight_forms(dtype_named(command.common.dtype))) {
    if (adapter) form.options.adapter = &*adapter;
    if (quantized && form.options.quantization_config.is_on()) continue;
    const auto plan =
        plan_memory(config, table.requests(), &checkpoint, form.options, command.work);
    json["plan"][form.name] = plan_json(plan, available);
    for (const auto& [name, bytes] : plan.components) json["parameters"][name] = bytes.parameters;
    parameters = plan.weights().parameters;
  }
  if (const auto unused = unused_parameters(checkpoint); unused != 0) {
    json["parameters"]["not used"] = unused;
    parameters += unused;
  }
  json["total_parameters"] = parameters;
  json["tensors"] = tensors_json(checkpoint);
  return json;
}

void print_bytes(std::ostream& out, const Json& plans, const std::string& title,
                 const std::function<std::string(const Json&)>& cell) {
  out << std::left << std::setw(24) << title;
  for (const auto& form : weight_forms())
    if (plans.contains(form.name)) out << std::setw(13) << cell(plans[form.name]);
  out << '\n';
}

void print_plan(std::ostream& out, const Json& json) {
  const Json& plans = json["plan"];
  out << "\nmemory for " << json["context"] << " tokens, " << json["batch"] << " x "
      << json["beams"] << " sequences, " << json["images"] << " pictures";
  if (json["ranks"] != 1) out << ", on each of " << json["ranks"] << " ranks";
  if (!json["available_bytes"].is_null())
    out << "; " << readable_bytes(json["available_bytes"].get<std::uint64_t>()) << " can be had";
  out << "\n\n" << std::left << std::setw(24) << "";
  for (const auto& form : weight_forms())
    if (plans.contains(form.name)) out << std::setw(13) << form.name;
  out << '\n';
  for (const auto& [name, bytes] : plans.front()["weights"].items())
    print_bytes(out, plans, name, [&name = name](const Json& plan) {
      const Json& c = plan["weights"][name];
      return readable_bytes(c["mapped_bytes"].get<std::uint64_t>() +
                            c["anonymous_bytes"].get<std::uint64_t>());
    });
  for (const auto& [title, key] : {std::pair{"keys and values", "kv_cache_bytes"},
                                   {"pictures", "image_cache_bytes"},
                                   {"buffers", "scratch_bytes"},
                                   {"all", "total_bytes"},
                                   {"  mapped from files", "mapped_weight_bytes"},
                                   {"  in memory", "anonymous_bytes"}})
    print_bytes(out, plans, title, [key = key](const Json& plan) {
      return readable_bytes(plan[key].get<std::uint64_t>());
    });
  print_bytes(out, plans, "fits", [](const Json& plan) { return plan["fits"].get<std::string>(); });
}

/// The configuration by key, nested objects as `vision_config.hidden_size`.
void print_config(std::ostream& out, const Json& config, const std::string& prefix = "") {
  for (const auto& [key, value] : config.items()) {
    const std::string name = prefix + key;
    if (value.is_object() && !value.empty())
      print_config(out, value, name + '.');
    else
      out << std::left << std::setw(40) << name << ' ' << value.dump() << '\n';
  }
}

void print_table(const Json& json) {
  std::ostringstream out;
  out << json["model"].get<std::string>() << "\n\n";
  print_config(out, json["config"]);
  out << '\n'
      << std::left << std::setw(24) << "component"
      << "parameters\n";
  for (const auto& [name, count] : json["parameters"].items())
    out << std::setw(24) << name << count << '\n';
  out << std::setw(24) << "all" << json["total_parameters"] << '\n';
  print_plan(out, json);
  for (const Json& device : json["devices"])
    out << '\n'
        << device["name"].get<std::string>() << ": " << device["description"].get<std::string>();
  if (!json["devices"].empty()) out << '\n';
  for (const char* list : {"missing", "unexpected"}) {
    out << '\n' << list << " tensors: " << json[list].size();
    for (const auto& name : json[list]) out << "\n  " << name.get<std::string>();
  }
  print(out.str());
}

}  // namespace

void add_info(CLI::App& app) {
  auto c = std::make_shared<Command>();
  auto* info = app.add_subcommand(
      "info", "print configuration, parameters, memory plan and missing tensors");
  c->common.add_to(*info, uses_model);
  info->add_option("MODEL", c->common.model, "the same as --model");
  c->common.add_plan(*info);
  const auto count = [&](const char* name, std::int64_t& value, const char* what) {
    info->add_option(name, value, what)
        ->check(CLI::Range(1, 1 << 24))
        ->type_name("N")
        ->default_str(std::to_string(value))
        ->group("Workload");
  };
  count("--context", c->work.context, "tokens per sequence, prompt and answer");
  count("--batch", c->work.batch, "number of prompts");
  count("--num-beams", c->work.beams, "beams per prompt");
  count("--ranks", c->work.ranks, "processes that share the model; the plan is for each of them");
  info->add_option("--max-new-tokens", c->work.new_tokens,
                   "new tokens per sequence; default: the value of --context")
      ->check(CLI::Range(1, 1 << 24))
      ->type_name("N")
      ->group("Workload");
  count("--images", c->work.pictures, "pictures in all prompts combined");
  info->callback([c] {
    set_num_threads(c->common.threads);
    c->work.threads = num_threads();
    const Json json = describe(*c);
    if (c->common.json)
      print(json.dump());
    else
      print_table(json);
  });
}

}  // namespace cli
