// The options of a call: its own over those of the checkpoint, without values that mean "none", and
// validated. Source: transformers' GenerationMixin._prepare_generation_config and
// _prepare_special_tokens, which warn of the same values.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <idefics/core/warning.hpp>
#include <idefics/generation/options/validate.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// Calls warn(option, message) for values that the reference accepts with a warning.
template <class Warn>
void find_warnings(const GenerationConfig& c, const Warn& warn) {
  const auto negative = [](std::int32_t id) { return id < 0; };
  if (c.eos_token_id && std::ranges::any_of(*c.eos_token_id, negative))
    warn("eos_token_id", "has a negative id, which is ignored: it ends no answer");
  if (c.pad_token_id && negative(*c.pad_token_id))
    warn("pad_token_id", "is negative and ignored: rows are padded with the end token");
  if (c.bos_token_id && negative(*c.bos_token_id)) warn("bos_token_id", "is negative and ignored");
  if (c.do_sample.value_or(false)) return;
  const bool contrasts = generation_mode(c) == GenerationMode::contrastive_search;
  for_each_sampling_option([&](const FieldInfo& info, auto member) {
    const auto& value = c.*member;
    const double number = value ? static_cast<double>(*value) : 0;
    const std::string_view name = info.name;
    const bool neutral = name == "top_k"                                    ? number == 50
                         : name == "epsilon_cutoff" || name == "eta_cutoff" ? number == 0
                         : name == "min_p"                                  ? false
                                                                            : number == 1;
    if (value && !neutral && !(contrasts && name == "top_k"))
      warn(info.name, "has no effect without do_sample");
  });
}

/// Removes negative ids, which checkpoints use for "none".
inline void remove_sentinels(GenerationConfig& c) {
  if (c.eos_token_id) std::erase_if(*c.eos_token_id, [](std::int32_t id) { return id < 0; });
  for (auto* id : {&c.pad_token_id, &c.bos_token_id})
    if (*id && **id < 0) id->reset();
}

/// The file of an option that the call does not set, or "".
inline std::string file_of(const std::string& option, const GenerationConfig& call,
                           const GenerationConfig& own) {
  bool in_call = false, in_own = false;
  for_each_field([&](const FieldInfo& info, auto member) {
    if (option != info.name) return;
    in_call = is_set(call.*member), in_own = is_set(own.*member);
  });
  return in_own && !in_call ? own.file : std::string();
}

/// Throws `invalid_option`, naming the file of an option that the call does not set.
inline GenerationConfig effective_options(const GenerationConfig& call, const GenerationConfig& own,
                                          std::int64_t vocabulary) {
  GenerationConfig config = call.merged_over(own);
  remove_sentinels(config);
  try {
    validate(config, vocabulary);
  } catch (const Error& error) {
    ErrorContext context = error.context();
    context.file = file_of(context.field, call, own);
    if (context.file.empty()) throw;
    const std::string what = error.what();
    fail(error.code(), what.substr(0, what.find(" [field: ")), std::move(context));
  }
  return config;
}

}  // namespace detail

/// What the reference would warn of, if a call with the options `call` were made to a checkpoint
/// with the options `own` (Model::generation_config).
inline std::vector<Warning> option_warnings(const GenerationConfig& call,
                                            const GenerationConfig& own) {
  std::vector<Warning> warnings;
  detail::find_warnings(call.merged_over(own), [&](const char* option, const char* message) {
    warnings.push_back({message, detail::file_of(option, call, own), option});
  });
  return warnings;
}

}}  // namespace idefics::v0
