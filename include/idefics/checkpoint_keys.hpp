// The keys that a checkpoint's files may have: docs/checkpoint_keys.md says what becomes of each. A
// key that is not among them has no effect, and may be a mistake.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include <idefics/core/config.hpp>
#include <idefics/core/warning.hpp>

namespace idefics { inline namespace v0 {

/// What is unusual about a checkpoint's configuration files: keys that nothing follows, and ids that
/// mean none. Throws the errors of reading JSON.
IDEFICS_ENGINE_INLINE Warnings checkpoint_warnings(const std::filesystem::path& directory);

namespace detail {

// clang-format off
inline constexpr std::string_view keys_of_tokenizer_config[] = {
    "__type", "_commit_hash", "_is_local", "add_bos_token", "add_end_of_utterance_token",
    "add_eos_token", "add_prefix_space", "add_special_tokens", "added_tokens_decoder",
    "additional_special_tokens", "auto_map", "bos_token", "chat_template",
    "clean_up_tokenization_spaces", "cls_token", "crop_size", "data_format",
    "default_to_square", "device", "do_center_crop", "do_convert_rgb", "do_normalize", "do_pad",
    "do_rescale", "do_resize", "do_sample_frames", "eos_token", "extra_special_tokens",
    "fast_tokenizer_files", "fps", "from_slow", "gguf_file", "image_mean", "image_size",
    "image_std", "init_inputs", "input_data_format", "is_split_into_words", "legacy",
    "mask_token", "max_len", "max_length", "model_input_names", "model_max_length",
    "name_or_path", "num_frames", "pad_size", "pad_to_multiple_of", "pad_token",
    "pad_token_type_id", "padding", "padding_side", "processor_class", "raw_speech", "resample",
    "rescale_factor", "return_attention_mask", "return_length", "return_metadata",
    "return_mm_token_type_ids", "return_offsets_mapping", "return_overflowing_tokens",
    "return_special_tokens_mask", "return_tensors", "return_token_type_ids", "sampling_rate",
    "sep_token", "size", "sp_model_kwargs", "sp_model_kwargs.__type",
    "spaces_between_special_tokens", "split_special_tokens", "stride", "text_pair",
    "text_pair_target", "text_target", "tokenizer_class", "tokenizer_file", "tokenizer_object",
    "transform", "truncation", "truncation_side", "truncation_strategy", "unk_token",
    "use_default_system_prompt", "verbose", "video_metadata", "vocab_file"};
inline constexpr std::string_view keys_of_preprocessor_config[] = {
    "crop_size", "do_convert_rgb", "do_normalize", "do_rescale", "do_resize",
    "feature_extractor_type", "fetch_images", "image_mean", "image_num_channels",
    "image_processor", "image_processor_type", "image_size", "image_std", "normalize",
    "preprocess", "processor_class", "resample", "rescale", "rescale_factor", "size"};
inline constexpr std::string_view keys_of_processor_config[] = {
    "add_end_of_utterance_token", "audio_tokenizer", "auto_map", "chat_template",
    "image_processor", "image_size", "processor_class", "tokenizer"};
inline constexpr std::string_view keys_of_config[] = {
    "_commit_hash", "_name_or_path", "add_cross_attention", "additional_vocab_size",
    "alpha_initializer", "alpha_type", "alphas_initializer_range", "architectures",
    "attention_chunk_size", "attention_dropout", "attn_implementation", "auto_map",
    "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "chunk_size_feed_forward",
    "configuration_files", "cross_attention_hidden_size", "cross_layer_activation_function",
    "cross_layer_interval", "decoder", "decoder_start_token_id", "diversity_penalty",
    "do_sample", "dropout", "dtype", "early_stopping", "embed_dim",
    "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "freeze_lm_head",
    "freeze_text_layers", "freeze_text_module_exceptions", "freeze_vision_layers",
    "freeze_vision_module_exceptions", "generator", "gguf_file", "gradient_checkpointing",
    "hidden_act", "hidden_size", "id2label", "image_size", "initializer_factor",
    "initializer_range", "intermediate_size", "is_decoder", "is_encoder_decoder", "label2id",
    "layer_norm_eps", "layer_types", "length_penalty", "max_length", "max_new_tokens",
    "max_position_embeddings", "max_sequence_length", "min_length", "model_type",
    "name_or_path", "no_repeat_ngram_size", "num_attention_heads", "num_beam_groups",
    "num_beams", "num_channels", "num_hidden_layers", "num_kv_shared_layers", "num_labels",
    "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores",
    "pad_token_id", "patch_size", "perceiver_config", "perceiver_config.model_type",
    "perceiver_config.qk_layer_norms_perceiver", "perceiver_config.resampler_depth",
    "perceiver_config.resampler_head_dim", "perceiver_config.resampler_n_heads",
    "perceiver_config.resampler_n_latents", "perceiver_config.use_resampler", "prefix",
    "problem_type", "pruned_heads", "qk_layer_norms", "qk_layer_norms_perceiver",
    "quantization_config", "remove_invalid_values", "repetition_penalty", "resampler_depth",
    "resampler_head_dim", "resampler_n_heads", "resampler_n_latents", "return_dict",
    "return_dict_in_generate", "rms_norm_eps", "sep_token_id", "sliding_window",
    "suppress_tokens", "task_specific_params", "temperature", "text_config", "tf_legacy_loss",
    "tie_encoder_decoder", "tie_word_embeddings", "tokenizer_class", "top_k", "top_p",
    "torch_dtype", "torchscript", "transformers_version", "transformers_weights", "typical_p",
    "use_bfloat16", "use_cache", "use_resampler", "vision_config",
    "vision_config.attention_dropout", "vision_config.embed_dim", "vision_config.hidden_act",
    "vision_config.hidden_size", "vision_config.image_size", "vision_config.initializer_factor",
    "vision_config.initializer_range", "vision_config.intermediate_size",
    "vision_config.layer_norm_eps", "vision_config.model_type",
    "vision_config.num_attention_heads", "vision_config.num_channels",
    "vision_config.num_hidden_layers", "vision_config.patch_size", "vision_embed_dim",
    "vision_image_size", "vision_intermediate_size", "vision_model_name", "vision_model_params",
    "vision_num_attention_heads", "vision_num_hidden_layers", "vision_patch_size", "vocab_size"};
// clang-format on

struct KnownKeys {
  const char* file;
  std::span<const std::string_view> keys;  // "vision_config.embed_dim" for one in an object
};
inline constexpr KnownKeys known_keys[] = {
    {"tokenizer_config.json", keys_of_tokenizer_config},
    {"preprocessor_config.json", keys_of_preprocessor_config},
    {"processor_config.json", keys_of_processor_config},
    {"config.json", keys_of_config}};

}  // namespace detail

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <algorithm>
#include <string>

#include <idefics/generation/options/read_config.hpp>
#include <idefics/io/json.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

inline void warn_of_unknown_key(Warnings& warnings, const std::filesystem::path& file,
                                const std::string& key) {
  warnings.add({"unknown key: it has no effect", file.string(), key.substr(0, 200)});
}

/// Older checkpoints write -1 for a token that they do not have.
inline void find_negative_ids(const Json& config, const std::filesystem::path& file,
                              Warnings& warnings) {
  const auto negative = [](const Json& id) { return id.is_number_integer() && id < 0; };
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
    if (const auto found = config.find(key);
        found != config.end() &&
        (negative(*found) || (found->is_array() && std::ranges::any_of(*found, negative))))
      warnings.add({"a negative id means that the model lacks this token", file.string(), key});
}

/// `prefix`: "" or the name of the object within the file, with a dot. Such an object is a
/// configuration, too, and may repeat the keys of every configuration.
inline void find_unknown_keys(const Json& object, const KnownKeys& known, const std::string& prefix,
                              const std::filesystem::path& file, Warnings& warnings) {
  if (!object.is_object()) return;
  for (const auto& [key, value] : object.items()) {
    const std::string path = prefix + key;
    if (std::ranges::find(known.keys, path) == known.keys.end() &&
        std::ranges::find(known.keys, key) == known.keys.end())
      warn_of_unknown_key(warnings, file, path);
    else if (key == "vision_config" || key == "perceiver_config")
      find_unknown_keys(value, known, path + ".", file, warnings);
  }
}

}  // namespace detail

IDEFICS_ENGINE_INLINE Warnings checkpoint_warnings(const std::filesystem::path& directory) {
  Warnings warnings;
  for (const detail::KnownKeys& known : detail::known_keys)
    if (const auto path = directory / known.file; std::filesystem::exists(path)) {
      // configurations are flat; the others may hold what programs wrote for themselves
      const int depth = path.filename() == "config.json" ? 16 : 32;
      const detail::JsonDocument json = detail::read_document(path, {.depth = depth});
      detail::find_unknown_keys(*json, known, "", path, warnings);
      if (json->is_object() && path.filename() == "config.json")
        detail::find_negative_ids(*json, path, warnings);
    }
  const auto path = directory / "generation_config.json";
  if (!std::filesystem::exists(path)) return warnings;
  const detail::JsonDocument options = detail::read_document(path, {.depth = 32});
  if (!options->is_object()) return warnings;
  for (const auto& [key, value] : options->items())
    if (!detail::is_known_option(key)) detail::warn_of_unknown_key(warnings, path, key);
  return warnings;
}

}}  // namespace idefics::v0

#endif
