// adapter_config.json, which PEFT writes along with the tensors of a LoRA adapter. Options that
// affect W x + scale * B (A x) are read or refused by name; options of training alone are ignored.
//
// Source: peft 0.18.0, LoraConfig.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/config_fields.hpp>
#include <idefics/io/json.hpp>
#include <idefics/lora/module_pattern.hpp>

namespace idefics { inline namespace v0 {

struct LoraConfig {
  std::int64_t r = 8;
  double lora_alpha = 8;
  bool use_rslora = false;
  /// A value for the modules whose paths match: the first of several counts.
  struct Pattern {
    std::string expression;  // a name, or a regular expression
    detail::ModulePattern matcher;
    double value;
  };
  std::vector<Pattern> rank_pattern{}, alpha_pattern{};
  /// Names at the end of the paths of adapted modules. Empty if the file has a regular expression:
  /// then the tensors decide.
  std::vector<std::string> target_modules{};
  std::vector<std::string> modules_to_save{};

  /// Whether the module at `path` ("model.layers.0.self_attn.q_proj") may be adapted.
  bool targets(std::string_view path) const {
    return target_modules.empty() ||
           std::ranges::any_of(target_modules,
                               [&](const std::string& name) { return path_ends_in(path, name); });
  }
  /// Whether the module at `path` is trained in full: as in PEFT, a match may begin inside a name.
  bool saves(std::string_view path) const {
    return std::ranges::any_of(modules_to_save,
                               [&](const std::string& name) { return path.ends_with(name); });
  }
  std::int64_t rank(std::string_view path) const {
    return static_cast<std::int64_t>(pattern(rank_pattern, path).value_or(static_cast<double>(r)));
  }
  /// The factor of B A.
  float scale(std::string_view path) const {
    const auto rank_here = static_cast<double>(rank(path));
    const double alpha = pattern(alpha_pattern, path).value_or(lora_alpha);
    return static_cast<float>(alpha / (use_rslora ? std::sqrt(rank_here) : rank_here));
  }

  /// Throws `unsupported_adapter`, `invalid_config`, and the errors of reading JSON.
  static LoraConfig from_file(const std::filesystem::path& file);

 private:
  static bool path_ends_in(std::string_view path, std::string_view name) {
    return path.ends_with(name) &&
           (path.size() == name.size() || path[path.size() - name.size() - 1] == '.');
  }
  static std::optional<double> pattern(const std::vector<Pattern>& patterns,
                                       std::string_view path) {
    const std::string whole(path);
    for (const Pattern& known : patterns)
      if (known.matcher.matches(whole)) return known.value;
    return std::nullopt;
  }
};

namespace detail {

/// Reads the fields; errors name the key.
class LoraFields {
 public:
  LoraFields(const Json& json, std::string_view text, const std::string& file)
      : json_(json), text_(text), file_(file), fields_(json, file, "") {}

  LoraConfig read() const {
    if (const auto type = fields_.text("peft_type", ""); type != "LORA")
      refuse("peft_type", "only adapters of type LORA are supported");
    refuse_extras();
    LoraConfig c{.r = fields_.integer("r", 8, 1, max_rank),
                 .lora_alpha = number(json_, "lora_alpha", 8),
                 .use_rslora = fields_.flag("use_rslora", false),
                 .rank_pattern = patterns("rank_pattern"),
                 .alpha_pattern = patterns("alpha_pattern"),
                 .target_modules = names("target_modules"),
                 .modules_to_save = names("modules_to_save")};
    for (const auto& [name, matcher, rank] : c.rank_pattern)
      if (rank < 1 || rank > max_rank || rank != std::floor(rank))
        invalid("rank_pattern." + name, "a rank must be an integer from 1 to 65536");
    return c;
  }

 private:
  static constexpr std::int64_t max_rank = 65536;

  [[noreturn]] void refuse(const std::string& key, const std::string& why) const {
    fail(ErrorCode::unsupported_adapter, why, {.file = file_, .field = key});
  }
  [[noreturn]] void invalid(const std::string& key, const std::string& why) const {
    fail(ErrorCode::invalid_config, why, {.file = file_, .field = key});
  }
  /// Null, false and empty values count as unset.
  static bool is_set(const Json& value) {
    return !value.is_null() && value != false && !(value.is_structured() && value.empty());
  }

  void refuse_extras() const {
    if (fields_.text("bias", "none") != "none")
      refuse("bias", "adapters with trained biases are not supported: bias must be none");
    for (const char* key :
         {"use_dora", "use_qalora", "lora_bias", "layer_replication", "target_parameters",
          "trainable_token_indices", "alora_invocation_tokens", "arrow_config", "megatron_config"})
      if (json_.contains(key) && is_set(json_[key]))
        refuse(key, "adapters with this option are not supported");
    static constexpr std::string_view plain[] = {"gaussian", "eva", "orthogonal"};
    if (!json_.contains("init_lora_weights")) return;
    const Json& init = json_["init_lora_weights"];
    const bool known =
        init.is_string() && std::ranges::find(plain, init.get<std::string>()) != std::end(plain);
    if (!known && !init.is_boolean() && !init.is_null())
      refuse("init_lora_weights",
             "this initialization also changes the model's weights: convert the adapter with PEFT "
             "first");
  }

  double number(const Json& object, const std::string& key, double fallback) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return fallback;
    const double value = found->is_number() ? found->get<double>() : std::nan("");
    if (!(std::abs(value) <= 1e9)) invalid(key, "must be a number up to 10^9");
    return value;
  }
  static std::string written(const std::string& text) {
    return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  /// In the order of the file, which JSON objects here do not keep: that of the names in its text.
  std::vector<LoraConfig::Pattern> patterns(const char* key) const {
    std::vector<LoraConfig::Pattern> list;
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null()) return list;
    if (!found->is_object()) invalid(key, "must be an object of numbers");
    constexpr std::size_t most = 1024;
    if (found->size() > most) invalid(key, "has more than 1024 patterns");
    const std::size_t begin = text_.find(written(key));
    std::vector<std::pair<std::size_t, LoraConfig::Pattern>> placed;
    for (const auto& [name, value] : found->items()) {
      const auto matcher = ModulePattern::of(name);
      if (!matcher)
        refuse(key,
               "the expression " + written(name.substr(0, 200)) +
                   " is not supported: only names, \".\", sets, groups, \"|\" and repetitions");
      placed.emplace_back(text_.find(written(name), begin),
                          LoraConfig::Pattern{name, *matcher, number(*found, name, 0)});
    }
    std::ranges::stable_sort(placed, {}, &decltype(placed)::value_type::first);
    for (auto& [at, pattern] : placed) list.push_back(std::move(pattern));
    return list;
  }
  /// A list of names; empty for a string, which is a regular expression.
  std::vector<std::string> names(const char* key) const {
    std::vector<std::string> list;
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null() || found->is_string()) return list;
    if (!found->is_array()) invalid(key, "must be a list of names");
    for (const Json& name : *found) {
      if (!name.is_string()) invalid(key, "must be a list of names");
      list.push_back(name.get<std::string>());
    }
    return list;
  }

  const Json& json_;
  std::string_view text_;
  const std::string& file_;
  ConfigFields fields_;
};

}  // namespace detail

inline LoraConfig LoraConfig::from_file(const std::filesystem::path& file) {
  constexpr std::uint64_t most = 1 << 20;
  const std::string text = detail::read_text_file(file, most);
  const detail::JsonDocument document = detail::parse_document(text, file.string());
  return detail::LoraFields(*document, text, file.string()).read();
}

}}  // namespace idefics::v0
