// idefics info: configuration, parameters, memory plan, and tensors that are missing or unexpected.
#include <iomanip>
#include <memory>
#include <sstream>

#include "cli/args.hpp"

namespace cli {
namespace {

using namespace idefics;

Json plan_json(const MemoryPlan& plan) {
  return {{"weights", plan.weight_bytes},          {"weight_bytes", plan.total_weight_bytes()},
          {"kv_cache_bytes", plan.kv_cache_bytes}, {"image_cache_bytes", plan.image_cache_bytes},
          {"scratch_bytes", plan.scratch_bytes},   {"total_bytes", plan.total_bytes()}};
}

Json describe(const std::filesystem::path& directory) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  const Config config = Config::from_file(directory / "config.json");
  WeightTable table;
  const Idefics layers(table, config);
  const auto report = compare_weights(checkpoint, table.requests());
  Json json{{"model", directory.string()},
            {"config", read_json_file(directory / "config.json")},
            {"missing", report.missing},
            {"unexpected", report.unexpected}};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    json["plan"][std::string(name_of(dtype))] =
        plan_json(plan_memory(config, table.requests(), dtype));
  const auto plan = plan_memory(config, table.requests(), DType::f32);
  json["parameters"] = plan.parameters;
  json["total_parameters"] = plan.total_parameters();
  json["tensors"] = Json::array();
  for (const TensorInfo* t : checkpoint.tensors())
    json["tensors"].push_back({{"name", t->name},
                               {"dtype", t->dtype_name},
                               {"shape", t->dims},
                               {"file", checkpoint.file_of(t->name).filename().string()}});
  return json;
}

std::string mebibytes(const Json& bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << bytes.get<double>() / (1 << 20) << " MiB";
  return text.str();
}

void print_table(const Json& json) {
  std::ostringstream out;
  out << json["model"].get<std::string>() << "\n\n"
      << std::left << std::setw(24) << "component"
      << "parameters\n";
  for (const auto& [name, count] : json["parameters"].items())
    out << std::setw(24) << name << count << '\n';
  out << std::setw(24) << "all" << json["total_parameters"] << "\n\n"
      << std::setw(24) << "memory, context 512";
  for (const auto& [dtype, plan] : json["plan"].items()) out << std::setw(16) << dtype;
  out << '\n';
  for (const char* row :
       {"weight_bytes", "kv_cache_bytes", "image_cache_bytes", "scratch_bytes", "total_bytes"}) {
    out << std::setw(24) << row;
    for (const auto& [dtype, plan] : json["plan"].items())
      out << std::setw(16) << mebibytes(plan[row]);
    out << '\n';
  }
  for (const char* list : {"missing", "unexpected"}) {
    out << '\n' << list << " tensors: " << json[list].size();
    for (const auto& name : json[list]) out << "\n  " << name.get<std::string>();
  }
  print(out.str());
}

}  // namespace

void add_info(CLI::App& app) {
  auto common = std::make_shared<CommonOptions>();
  auto* info =
      app.add_subcommand("info", "configuration, parameters, memory plan, missing tensors");
  common->add_to(*info);
  info->add_option("MODEL", common->model, "checkpoint directory or repository");
  info->callback([common] {
    const Json json = describe(resolve_model(common->model));
    if (common->json)
      print(json.dump());
    else
      print_table(json);
  });
}

}  // namespace cli
