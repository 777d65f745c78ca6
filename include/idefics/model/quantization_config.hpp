// Which layers are kept in 4 bits or in int8, and how: transformers' BitsAndBytesConfig, as an
// option of loading and as the `quantization_config` of config.json.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/core/dtype.hpp>
#include <idefics/io/json_fwd.hpp>
#include <idefics/quant/codebook.hpp>

namespace idefics { inline namespace v0 {

/// Names and defaults are those of transformers.
struct BitsAndBytesConfig {
  bool load_in_8bit = false;  // LLM.int8; not together with load_in_4bit
  bool load_in_4bit = false;
  QuantType bnb_4bit_quant_type = QuantType::fp4;
  bool bnb_4bit_use_double_quant = false;
  /// bf16: products of 4-bit layers follow the bf16 order. Unset: the order of the model's dtype
  /// or, if no dtype is requested, that of the config.json of a 4-bit checkpoint.
  std::optional<DType> bnb_4bit_compute_dtype{};
  /// Entries of x of at least this magnitude are multiplied in the compute dtype; 0: none. Unset:
  /// what the config.json of an int8 checkpoint says, else 6.
  std::optional<float> llm_int8_threshold{};
  /// Modules not to quantize: by last name, by path, or by the end of an enclosing module's path.
  std::vector<std::string> llm_int8_skip_modules{"lm_head"};

  /// Whether plain weights are quantized on load.
  bool is_on() const { return load_in_8bit || load_in_4bit; }
  /// Whether the linear layer at `path` ("model.layers.0.mlp.up_proj") is then quantized.
  bool quantizes(std::string_view path) const {
    const std::string_view last = path.substr(path.rfind('.') + 1);
    return std::ranges::none_of(llm_int8_skip_modules, [&](const std::string& name) {
      return name == last || name == path || path.find(name + ".") != std::string_view::npos;
    });
  }
};

namespace detail {

/// Throws `invalid_option`.
inline void validate(const BitsAndBytesConfig& config) {
  if (config.load_in_4bit && config.load_in_8bit)
    fail(ErrorCode::invalid_option, "load_in_4bit and load_in_8bit exclude each other",
         {.field = "quantization_config"});
  const float threshold = config.llm_int8_threshold.value_or(0.0f);
  if (!(threshold >= 0 && threshold <= std::numeric_limits<float>::max()))
    fail(ErrorCode::invalid_option, "must be finite and not negative",
         {.field = "llm_int8_threshold"});
}

}  // namespace detail

/// The `quantization_config` of a config.json, if there is one. Throws `unsupported_quantization`
/// for any method other than bitsandbytes', and `invalid_config`.
IDEFICS_ENGINE_INLINE std::optional<BitsAndBytesConfig> read_quantization_config(
    const Json& config, const std::string& file);

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/io/config_fields.hpp>
#include <idefics/io/json.hpp>
#include <idefics/quant/bnb_format.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

inline QuantType quant_type_named(const std::string& name, const ErrorContext& where) {
  if (name == "nf4") return QuantType::nf4;
  if (name == "fp4") return QuantType::fp4;
  fail(ErrorCode::invalid_config, "\"" + name + "\" is neither nf4 nor fp4", where);
}

[[noreturn]] inline void refuse_method(const std::string& method, const std::string& file,
                                       const char* key) {
  fail(ErrorCode::unsupported_quantization,
       "weights in " + method.substr(0, 100) +
           " are not supported: load the unquantized checkpoint, with load_in_4bit to save memory",
       {.file = file, .field = std::string("quantization_config.") + key});
}

inline std::vector<std::string> names_in(const Json& list, const ErrorContext& where) {
  std::vector<std::string> names;
  if (!list.is_array()) fail(ErrorCode::invalid_config, "must be a list of names", where);
  for (const Json& name : list) {
    if (!name.is_string()) fail(ErrorCode::invalid_config, "must be a list of names", where);
    names.push_back(name.get<std::string>());
  }
  return names;
}

/// What is requested of a checkpoint that is quantized: it keeps its own form, as in transformers.
/// One in int8 may also have plain weights to quantize (llm_int8_has_fp16_weight).
inline BitsAndBytesConfig merged(BitsAndBytesConfig requested, const BitsAndBytesConfig& own,
                                 bool has_dtype) {
  requested.load_in_4bit = false;
  requested.load_in_8bit = own.load_in_8bit;
  if (own.load_in_8bit) {
    requested.llm_int8_skip_modules = own.llm_int8_skip_modules;
    if (!requested.llm_int8_threshold) requested.llm_int8_threshold = own.llm_int8_threshold;
  }
  if (!requested.bnb_4bit_compute_dtype && !has_dtype)
    requested.bnb_4bit_compute_dtype = own.bnb_4bit_compute_dtype;
  return requested;
}

}  // namespace detail

IDEFICS_ENGINE_INLINE std::optional<BitsAndBytesConfig> read_quantization_config(
    const Json& config, const std::string& file) {
  const ConfigFields top(config, file, "");
  if (!top.has("quantization_config")) return std::nullopt;
  const ConfigFields fields = top.object("quantization_config");
  const std::string method = fields.text("quant_method", "bitsandbytes");
  if (method != "bitsandbytes") detail::refuse_method(method, file, "quant_method");
  BitsAndBytesConfig c;
  c.load_in_8bit = fields.flag("load_in_8bit", fields.flag("_load_in_8bit", false));
  c.load_in_4bit = fields.flag("load_in_4bit", fields.flag("_load_in_4bit", false));
  if (!c.is_on()) return std::nullopt;
  if (c.load_in_8bit && c.load_in_4bit)
    fail(ErrorCode::invalid_config, "load_in_4bit and load_in_8bit exclude each other",
         {.file = file, .field = "quantization_config"});
  if (c.load_in_8bit)
    c.llm_int8_threshold =
        fields.number("llm_int8_threshold", 6, 0, std::numeric_limits<float>::max());
  const ErrorContext type{.file = file, .field = "quantization_config.bnb_4bit_quant_type"};
  c.bnb_4bit_quant_type = detail::quant_type_named(fields.text("bnb_4bit_quant_type", "fp4"), type);
  c.bnb_4bit_use_double_quant = fields.flag("bnb_4bit_use_double_quant", false);
  if (const std::string name = fields.text("bnb_4bit_compute_dtype", ""); !name.empty())
    for (const auto& [known, dtype] : detail::torch_dtypes)
      if (known == name) c.bnb_4bit_compute_dtype = dtype;
  const Json& object = config["quantization_config"];
  if (const auto list = object.find("llm_int8_skip_modules");
      list != object.end() && !list->is_null())
    c.llm_int8_skip_modules = detail::names_in(
        *list, {.file = file, .field = "quantization_config.llm_int8_skip_modules"});
  return c;
}

}}  // namespace idefics::v0

#endif
