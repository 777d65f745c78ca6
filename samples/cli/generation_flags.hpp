// Every generation option as a flag: the name in transformers with dashes, lists and maps in JSON.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <type_traits>

#include <idefics/generation/options/read_config.hpp>
#include <idefics/io/json.hpp>

#include "cli/args.hpp"

namespace cli {

class GenerationFlags {
 private:
  /// Adds each option that it is called with to a group of `app`.
  auto flags_in(CLI::App& app, const char* group) {
    using namespace idefics;
    return [this, &app, group](const FieldInfo& info, auto member) {
      using T = std::remove_cvref_t<decltype(GenerationConfig{}.*member)>;
      if constexpr (!detail::program_only<T>) {
        if (std::string(info.name) != "seed") add_flag<T>(app, info)->group(group);
      }
    };
  }

 public:
  void add_to(CLI::App& app) {
    using namespace idefics;
    app.add_option("--generation-config", file_, "generation_config.json file; flags override it")
        ->check(not_empty)
        ->type_name("FILE")
        ->group("Length and end");
    detail::for_each_ending(flags_in(app, "Length and end"));
    detail::for_each_mode_option(flags_in(app, "Search"));
    detail::for_each_sampling_option(flags_in(app, "Sampling"));
    detail::for_each_processor_option(flags_in(app, "Scores and words"));
    detail::for_each_output_option(flags_in(app, "Scores in --json"));
  }

  /// The flags, merged over the file. `seed` is the value of --seed.
  idefics::GenerationConfig config(std::optional<std::uint64_t> seed) const {
    using namespace idefics;
    Json given = Json::object();
    for (const auto& [name, text] : texts_)
      if (!text.empty()) given[name] = value_of(name, text);
    if (given.contains("temperature") && given["temperature"] == 0) {  // greedy, as in servers
      given.erase("temperature");
      given["do_sample"] = false;
    }
    GenerationConfig flags = generation_config_from_json(given, "command line");
    flags.seed = seed;
    return file_.empty() ? flags : flags.merged_over(generation_config_from_file(file_));
  }

 private:
  template <class T>
  CLI::Option* add_flag(CLI::App& app, const idefics::FieldInfo& info) {
    std::string& text = texts_[info.name];
    if constexpr (std::is_same_v<T, std::optional<bool>>) {
      return app.add_flag(flag_of(info.name), text, info.help);
    } else {
      auto* option = app.add_option(flag_of(info.name), text, info.help)->check(not_empty);
      option->default_str(info.default_value)->type_name("VALUE");
      if constexpr (std::is_same_v<T, std::optional<double>>)
        option->check(CLI::Number)->type_name("X");
      if constexpr (std::is_same_v<T, std::optional<std::int64_t>> ||
                    std::is_same_v<T, std::optional<std::int32_t>>)
        option->check(CLI::TypeValidator<std::int64_t>("INT"))->type_name("N");
      return option;
    }
  }

  /// "--top-p" for "top_p".
  static std::string flag_of(std::string name) {
    std::ranges::replace(name, '_', '-');
    return "--" + name;
  }

  /// The value as JSON. A bare word is a string, as in `--early-stopping never`.
  static idefics::Json value_of(const std::string& name, const std::string& text) {
    const bool word =
        std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
    if (word && text != "true" && text != "false" && text != "null") return text;
    return idefics::parse_json(text, flag_of(name));
  }

  std::map<std::string, std::string> texts_;  // values by option; empty if not given
  std::string file_;
};

}  // namespace cli
