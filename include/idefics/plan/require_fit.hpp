// Refuses a load that cannot fit, before it starts: the message has the plan and the smallest
// change that would fit.
#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include <idefics/model/weights.hpp>
#include <idefics/plan/memory_plan.hpp>

namespace idefics { inline namespace v0 {

/// "17.9 GiB".
inline std::string readable_bytes(std::uint64_t bytes) {
  static constexpr const char* units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit < 6; ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

/// A form of weights, with the name by which users select it.
struct NamedWeightOptions {
  std::string name;
  WeightOptions options{};
};

/// Every form, largest first; weights are quantized after rounding to `dtype`.
inline std::vector<NamedWeightOptions> weight_forms(std::optional<DType> dtype = {}) {
  std::vector<NamedWeightOptions> forms;
  for (const DType plain : {DType::f32, DType::bf16, DType::f16})
    forms.push_back({std::string(name_of(plain)), {.dtype = plain}});
  forms.push_back({"int8", {dtype, {.load_in_8bit = true}}});
  for (const QuantType type : {QuantType::fp4, QuantType::nf4})
    for (const bool nested : {false, true}) {
      BitsAndBytesConfig config{.load_in_4bit = true, .bnb_4bit_quant_type = type};
      config.bnb_4bit_use_double_quant = nested;
      forms.push_back({std::string(name_of(type)) + (nested ? "+double" : ""), {dtype, config}});
    }
  return forms;
}

namespace detail {

/// The first form offered that needs no more than `available` bytes, so less than `requested`.
inline std::optional<std::string> form_that_fits(const Config& c,
                                                 const std::vector<WeightRequest>& table,
                                                 const Checkpoint& checkpoint,
                                                 const WeightOptions& requested,
                                                 const Workload& work, std::uint64_t available) {
  for (NamedWeightOptions& form : weight_forms(requested.dtype)) {
    form.options.adapter = requested.adapter;
    const bool offered = form.name == "bf16" || form.name.starts_with("nf4");
    if (offered &&
        plan_memory(c, table, &checkpoint, form.options, work).total_bytes() <= available)
      return form.name;
  }
  return std::nullopt;
}

/// What to request instead, in the words of ModelOptions and of the command line.
inline std::string advice(const std::string& form) {
  if (form == "bf16") return "dtype bf16";
  return form == "nf4" ? "load_in_4bit nf4" : "load_in_4bit nf4 and double_quant";
}

}  // namespace detail

/// Throws `out_of_memory` if the model, with the caches of `work`, needs more than `available`
/// bytes. Mapped weights count: a pass reads all of them, so those that do not stay in memory are
/// read from disk for every token. The message has the plan and the smallest change that would fit.
inline void require_fit(const Config& c, const std::vector<WeightRequest>& table,
                        const Checkpoint& checkpoint, const WeightOptions& options,
                        const Workload& work, std::uint64_t available) {
  const MemoryPlan plan = plan_memory(c, table, &checkpoint, options, work);
  if (plan.total_bytes() <= available) return;
  const WeightBytes weights = plan.weights();
  std::string text = "the model does not fit: it needs " + readable_bytes(plan.total_bytes()) +
                     " (weights " + readable_bytes(weights.mapped) + " mapped from the file and " +
                     readable_bytes(weights.anonymous) + " in memory, keys and values " +
                     readable_bytes(plan.kv_cache_bytes) + ", pictures " +
                     readable_bytes(plan.image_cache_bytes) + ", buffers " +
                     readable_bytes(plan.scratch_bytes) + "), and " + readable_bytes(available) +
                     " is available; ";
  const auto form = detail::form_that_fits(c, table, checkpoint, options, work, available);
  text += form ? "with " + detail::advice(*form) + " it fits"
               : std::string("no dtype or quantization makes it fit");
  if (plan.anonymous_bytes() <= available)
    text += "; a larger max_memory loads it anyway, but the part of the " +
            readable_bytes(weights.mapped) +
            " mapped that does not stay in memory is read from disk for every token";
  fail(ErrorCode::out_of_memory, text,
       {.file = checkpoint.directory().string(),
        .field = "max_memory",
        .actual = plan.total_bytes(),
        .limit = available});
}

}}  // namespace idefics::v0
