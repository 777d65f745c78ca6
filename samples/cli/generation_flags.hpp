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
 public:
  void add_to(CLI::App& app) {
    using namespace idefics;
    app.add_option("--generation-config", file_, "generation_config.json file; flags override it")
        ->check(not_empty);
    for_each_field([&](const FieldInfo& info, auto member) {
      using T = std::remove_cvref_t<decltype(GenerationConfig{}.*member)>;
      if constexpr (!detail::program_only<T>) {
        if (std::string(info.name) != "seed") add_flag<T>(app, info);
      }
    });
  }

  /// The flags, merged over the file. `seed` is the value of --seed, an option of all commands.
  idefics::GenerationConfig config(std::optional<std::uint64_t> seed) const {
    using namespace idefics;
    Json given = Json::object();
    for (const auto& [name, text] : texts_)
      if (!text.empty()) given[name] = value_of(name, text);
    GenerationConfig flags = generation_config_from_json(given, "command line");
    flags.seed = seed;
    return file_.empty() ? flags : flags.merged_over(generation_config_from_file(file_));
  }

 private:
  template <class T>
  void add_flag(CLI::App& app, const idefics::FieldInfo& info) {
    std::string flag = "--" + std::string(info.name);
    std::ranges::replace(flag, '_', '-');
    std::string& text = texts_[info.name];
    if constexpr (std::is_same_v<T, std::optional<bool>>) {
      app.add_flag(flag, text, info.help);
    } else {
      auto* option = app.add_option(flag, text, info.help)->check(not_empty);
      if constexpr (std::is_same_v<T, std::optional<double>>) option->check(CLI::Number);
      if constexpr (std::is_same_v<T, std::optional<std::int64_t>> ||
                    std::is_same_v<T, std::optional<std::int32_t>>)
        option->check(CLI::TypeValidator<std::int64_t>("INT"));
    }
  }

  /// The value as JSON. A bare word is a string, as in `--early-stopping never`.
  static idefics::Json value_of(const std::string& name, const std::string& text) {
    const bool word =
        std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
    if (word && text != "true" && text != "false" && text != "null") return text;
    return idefics::parse_json(text, "--" + name);
  }

  std::map<std::string, std::string> texts_;  // values by option; empty if not given
  std::string file_;
};

}  // namespace cli
