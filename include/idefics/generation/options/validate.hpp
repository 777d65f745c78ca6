// Validation before anything runs. Values out of range, ids outside the vocabulary and
// contradictory options are `invalid_option` errors that name the option; prompts that are too long
// are `context_overflow`.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <idefics/generation/options/fields.hpp>
#include <idefics/generation/options/generation_mode.hpp>
#include <idefics/model/sequences.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

[[noreturn]] inline void refuse_option(const char* option, const std::string& why) {
  fail(ErrorCode::invalid_option, why, {.field = option});
}

/// Formats a number without trailing zeros: 0.5, 20.
inline std::string plain(double value) {
  std::string text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

/// Checks every number within an option's value against the range of the option.
class RangeCheck {
 public:
  RangeCheck(const FieldInfo& info, std::int64_t vocabulary)
      : info_(info), vocabulary_(vocabulary) {}

  template <class T>
  void operator()(const T& value) const {
    if constexpr (std::is_same_v<T, double>) {
      if (!std::isfinite(value)) refuse_option(info_.name, "must be a finite number");
      if (info_.range.kind == FieldRange::numbers) number(value);
    } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      if (info_.range.kind == FieldRange::numbers) number(static_cast<double>(value));
      if (info_.range.kind == FieldRange::ids) id(static_cast<std::int64_t>(value));
    }
  }
  template <class T>
  void operator()(const std::optional<T>& value) const {
    if (value) (*this)(*value);
  }
  template <class T>
  void operator()(const std::vector<T>& list) const {
    for (const T& entry : list) (*this)(entry);
  }
  /// A list of id sequences, which must not be empty.
  template <class T>
  void operator()(const std::vector<std::vector<T>>& lists) const {
    for (const std::vector<T>& list : lists) {
      if (list.empty()) refuse_option(info_.name, "an entry is empty");
      (*this)(list);
    }
  }
  void operator()(const SequenceBias& entry) const {
    if (entry.ids.empty()) refuse_option(info_.name, "an entry is empty");
    if (std::isnan(entry.bias)) refuse_option(info_.name, "a bias is not a number");
    (*this)(entry.ids);
  }
  void operator()(const ExponentialDecay& decay) const {
    if (decay.start < 0 || !(decay.factor > 0) || !std::isfinite(decay.factor))
      refuse_option(info_.name, "needs a start of at least 0 and a finite factor above 0");
  }
  void operator()(const WatermarkingConfig& mark) const {
    if (!(mark.greenlist_ratio > 0 && mark.greenlist_ratio < 1))
      refuse_option(info_.name, "greenlist_ratio must be between 0 and 1");
    if (mark.seeding_scheme != "lefthash" && mark.seeding_scheme != "selfhash")
      refuse_option(info_.name, "seeding_scheme must be lefthash or selfhash");
    if (mark.context_width < 1) refuse_option(info_.name, "context_width must be at least 1");
    if (!std::isfinite(mark.bias)) refuse_option(info_.name, "bias must be a finite number");
  }

 private:
  void number(double value) const {
    const FieldRange& r = info_.range;
    if (value <= r.most && (r.least_excluded ? value > r.least : value >= r.least)) return;
    std::string wanted = (r.least_excluded ? "above " : "at least ") + plain(r.least);
    if (std::isfinite(r.most)) wanted += " and at most " + plain(r.most);
    refuse_option(info_.name, "must be " + wanted + ", not " + plain(value));
  }
  void id(std::int64_t value) const {
    if (value >= 0 && value < vocabulary_) return;
    fail(ErrorCode::invalid_option, "id " + std::to_string(value) + " is not in the vocabulary",
         {.field = info_.name, .limit = static_cast<std::uint64_t>(vocabulary_)});
  }

  const FieldInfo& info_;
  std::int64_t vocabulary_;
};

inline void check_answers(const GenerationConfig& c) {
  const std::int64_t beams = c.num_beams.value_or(1), answers = c.num_return_sequences.value_or(1);
  const bool sample = c.do_sample.value_or(false);
  if (beams > 1 && answers > beams)
    refuse_option("num_return_sequences", "cannot be above num_beams, " + std::to_string(beams));
  if (beams == 1 && !sample && answers > 1)
    refuse_option("num_return_sequences", "above 1 needs do_sample or num_beams");
  if (!c.best_of) return;
  if (beams > 1 || !sample)
    refuse_option("best_of", "needs do_sample and cannot be combined with num_beams");
  if (*c.best_of < answers)
    refuse_option("best_of", "cannot be below num_return_sequences, " + std::to_string(answers));
}

inline void check_beams(const GenerationConfig& c) {
  const std::int64_t beams = c.num_beams.value_or(1), groups = c.num_beam_groups.value_or(1);
  if (groups > beams || beams % groups != 0)
    refuse_option("num_beam_groups", "must divide num_beams, " + std::to_string(beams));
  if (groups > 1 && c.do_sample.value_or(false))
    refuse_option("num_beam_groups", "cannot be combined with do_sample");
  if (groups > 1 && c.diversity_penalty.value_or(0) <= 0)
    refuse_option("diversity_penalty", "must be above 0 with num_beam_groups");
  if (c.force_words_ids.empty()) return;
  if (beams == 1) refuse_option("force_words_ids", "needs num_beams above 1");
  if (c.do_sample.value_or(false) || groups > 1)
    refuse_option("force_words_ids", "cannot be combined with do_sample or num_beam_groups");
}

inline void check_processors(const GenerationConfig& c) {
  const bool guided = c.guidance_scale.value_or(1.0) != 1.0;
  if (guided && c.num_beams.value_or(1) > 1)
    refuse_option("guidance_scale", "cannot be combined with num_beams");
  if (!guided && !c.negative_prompt_ids.empty())
    refuse_option("negative_prompt_ids", "needs a guidance_scale other than 1");
}

inline void check_assistance(const GenerationConfig& c) {
  if (!c.assistant_model && !c.prompt_lookup_num_tokens) return;
  const char* option = c.assistant_model ? "assistant_model" : "prompt_lookup_num_tokens";
  if (c.assistant_model && c.prompt_lookup_num_tokens)
    refuse_option(option, "cannot be combined with prompt_lookup_num_tokens");
  if (generation_mode(c) != GenerationMode::assisted_generation)
    refuse_option(option, "needs greedy search or sampling");
  if (c.num_return_sequences.value_or(1) > 1)
    refuse_option("num_return_sequences", std::string("above 1 cannot be combined with ") + option);
  if (c.best_of.value_or(1) > 1)
    refuse_option("best_of", std::string("above 1 cannot be combined with ") + option);
  if (c.guidance_scale.value_or(1.0) != 1.0)
    refuse_option("guidance_scale", std::string("cannot be combined with ") + option);
}

/// Modes that use more than the scores of one pass cannot be combined with others.
inline void check_contrasts(const GenerationConfig& c, std::int64_t vocabulary) {
  const bool search = c.penalty_alpha.value_or(0) > 0;
  const char* option = search ? "penalty_alpha" : "dola_layers";
  if (!search && !c.dola_layers) return;
  if (search && c.dola_layers) refuse_option(option, "cannot be combined with dola_layers");
  if (search && c.do_sample.value_or(false))
    refuse_option(option, "cannot be combined with do_sample");
  if (search && c.top_k.value_or(50) > vocabulary)
    refuse_option("top_k", "in contrastive search, cannot be above the vocabulary size, " +
                               std::to_string(vocabulary));
  if (c.num_beams.value_or(1) > 1) refuse_option(option, "cannot be combined with num_beams");
  if (c.guidance_scale.value_or(1.0) != 1.0)
    refuse_option(option, "cannot be combined with guidance_scale");
}

inline void check_texts(const GenerationConfig& c) {
  for (const std::string& text : c.stop_strings)
    if (text.empty()) refuse_option("stop_strings", "a stop string is empty");
  if (!c.stop_strings.empty() && !c.token_texts)
    refuse_option("stop_strings", "needs token_texts, which Tokenizer::token_texts() makes");
  if (c.dola_layers && c.dola_layers->layers.empty() && c.dola_layers->bucket != "low" &&
      c.dola_layers->bucket != "high")
    refuse_option("dola_layers", "must be low, high or a list of layers");
  if (c.dola_layers && std::ranges::any_of(c.dola_layers->layers, [](auto l) { return l < 0; }))
    refuse_option("dola_layers", "layers must be at least 0");
  if (const auto& schedule = c.num_assistant_tokens_schedule; schedule && *schedule != "constant" &&
                                                              *schedule != "heuristic" &&
                                                              *schedule != "heuristic_transient")
    refuse_option("num_assistant_tokens_schedule",
                  "must be constant, heuristic or heuristic_transient");
}

/// Throws `context_overflow` for a prompt with more tokens than the model's context. The reference
/// only warns, and generates noise.
inline void check_context(std::span<const Sequence> prompts, const Config& config) {
  const auto limit = config.max_position_embeddings;
  for (const Sequence& prompt : prompts)
    if (limit && std::ssize(prompt.ids) > *limit)
      fail(ErrorCode::context_overflow, "the prompt has more tokens than the model's context",
           {.field = "max_position_embeddings",
            .actual = prompt.ids.size(),
            .limit = static_cast<std::uint64_t>(*limit)});
}

}  // namespace detail

/// Throws `invalid_option` for values out of range, ids outside the vocabulary, and options that
/// contradict each other. Options of sampling are ignored without it, as in the reference.
inline void validate(const GenerationConfig& config, std::int64_t vocabulary) {
  const auto check = [&](const FieldInfo& info, auto member) {
    using T = std::remove_cvref_t<decltype(config.*member)>;
    if constexpr (!detail::program_only<T>) detail::RangeCheck(info, vocabulary)(config.*member);
  };
  detail::for_each_ending(check);
  detail::for_each_mode_option(check);
  detail::for_each_processor_option(check);
  detail::for_each_output_option(check);
  const bool samples = config.do_sample.value_or(false);
  const bool contrasts = generation_mode(config) == GenerationMode::contrastive_search;
  detail::for_each_sampling_option([&](const FieldInfo& info, auto member) {
    if (samples || (contrasts && std::string_view(info.name) == "top_k")) check(info, member);
  });
  detail::check_answers(config);
  detail::check_processors(config);
  detail::check_beams(config);
  detail::check_assistance(config);
  detail::check_contrasts(config, vocabulary);
  detail::check_texts(config);
}

}}  // namespace idefics::v0
