// Errors that a program can branch on: a stable code, a message, and the location of the fault.
//
// Every fault that input can cause (files, pictures, prompts, options) is thrown as `Error`. The
// library itself never prints, aborts or exits. docs/errors.md explains every code.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <idefics/core/config.hpp>

namespace idefics { inline namespace v0 {

enum class ErrorCode {
  // files
  file_not_found,          // the path does not exist, or is not a regular file
  io_failure,              // the system refused to open, map, read or write
  file_changed,            // the file was written to while it was in use
  truncated_file,          // the file is shorter than its header requires
  oversized_file,          // the file is longer than its header requires, or above a size limit
  git_lfs_pointer,         // the placeholder of a large file that was never fetched
  invalid_json,            // not JSON, or beyond the limits of depth, size or number range
  invalid_safetensors,     // a header that breaks a rule of the format
  invalid_torch_file,      // a zip archive or pickle that is inconsistent or breaks a rule
  unsupported_torch_file,  // compressed, encrypted, big-endian, or older than torch 1.6
  pickle_refused,          // a pickle that uses more than weights need
  duplicate_key,           // a name that occurs twice
  unsupported_dtype,       // a dtype that the format or the engine does not know
  // checkpoints
  not_a_checkpoint,          // a directory without config.json, weights or tokenizer files
  unsupported_architecture,  // config.json describes another kind of model
  invalid_config,            // a field is missing, of the wrong type or out of range
  missing_shard,             // the index names a file that does not exist
  index_mismatch,            // the index and the shards disagree
  missing_tensor,            // the architecture needs a tensor that no file contains
  shape_mismatch,            // the shape of a tensor is not the one that the configuration implies
  dtype_mismatch,            // the dtype of a tensor is not allowed for its use
  invalid_quant_state,       // the parts of a 4-bit tensor are inconsistent or break a rule
  unsupported_quantization,  // weights quantized by a method that the engine does not read
  unsupported_adapter,       // an adapter other than plain LoRA
  adapter_mismatch,          // an adapter for another model
  model_not_found,           // neither a directory nor a repository in the local cache
  // text
  invalid_tokenizer,  // tokenizer files that are inconsistent, break a rule or are not supported
  invalid_utf8,       // text that is not UTF-8
  invalid_token_id,   // an id outside the vocabulary
  // pictures
  invalid_image,         // damaged, truncated, or of an unknown format
  unsupported_image,     // a known format with an unsupported feature
  image_too_large,       // more pixels or bytes than the limits allow
  image_count_mismatch,  // pictures and <image> tokens of a prompt disagree
  url_refused,           // a URL that may not be fetched: offline, private, or another scheme
  fetch_failed,          // a URL that could not be fetched
  // prompts and generation
  empty_prompt,       // no token to start from
  invalid_prompt,     // a prompt file of another form, or messages that the chat template refuses
  template_failed,    // a chat template that cannot be rendered with these messages
  template_limit,     // a chat template that needs more time or memory than its limits allow
  context_overflow,   // prompt and new tokens exceed the limit
  invalid_option,     // an option that is unknown, out of range or in conflict with another
  non_finite_logits,  // NaN or infinity among the logits that a token is chosen from
  // resources
  out_of_memory,        // a size that cannot be allocated
  arithmetic_overflow,  // a size from a file that does not fit the machine
  device_unavailable,   // a device or backend that this build or machine lacks
  rank_lost,            // a rank of a run on several has ended or does not answer
  cancelled,            // stopped by the caller
  invalid_argument,     // a call that violates its documented preconditions
};

/// The stable name of a code, as printed by the command line: "missing_tensor".
constexpr std::string_view name_of(ErrorCode code) noexcept;

/// The location of a fault. Empty members do not apply.
struct ErrorContext {
  std::string file{};                     // path of the file at fault
  std::string tensor{};                   // tensor name
  std::string field{};                    // key path in a JSON file, or the name of an option
  std::optional<std::uint64_t> offset{};  // byte position in `file`
  std::optional<std::uint64_t> actual{};  // what was found
  std::optional<std::uint64_t> limit{};   // what is allowed or needed
};

/// The library's only exception type.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, ErrorContext context = {})
      : std::runtime_error(describe(message, context)), code_(code), context_(std::move(context)) {}

  ErrorCode code() const noexcept { return code_; }
  std::string_view code_name() const noexcept { return name_of(code_); }
  const ErrorContext& context() const noexcept { return context_; }

 private:
  /// A message quotes only the beginning of a name, which can be as long as the file it is from.
  static std::string clipped(const std::string& text, std::size_t limit) {
    return text.size() <= limit ? text : text.substr(0, limit) + "...";
  }
  static std::string describe(const std::string& message, const ErrorContext& where) {
    std::string text = clipped(message, 1000);
    auto add = [&text](std::string_view label, const std::string& value) {
      if (!value.empty())
        text.append(" [").append(label).append(": ").append(clipped(value, 500)).append("]");
    };
    add("file", where.file);
    add("tensor", where.tensor);
    add("field", where.field);
    if (where.offset) add("offset", std::to_string(*where.offset));
    if (where.actual) add("found", std::to_string(*where.actual));
    if (where.limit) add("limit", std::to_string(*where.limit));
    return text;
  }

  ErrorCode code_;
  ErrorContext context_;
};

[[noreturn, gnu::cold, gnu::noinline]] inline void fail(ErrorCode code, const std::string& message,
                                                        ErrorContext where = {}) {
  throw Error(code, message, std::move(where));
}

/// Checks a precondition of a call. Throws `invalid_argument`.
inline void require(bool condition, const char* message) {
  if (!condition) fail(ErrorCode::invalid_argument, message);
}

constexpr std::string_view name_of(ErrorCode code) noexcept {
  switch (code) {
#define IDEFICS_NAME(code) \
  case ErrorCode::code: return #code;
    IDEFICS_NAME(file_not_found)
    IDEFICS_NAME(io_failure)
    IDEFICS_NAME(file_changed)
    IDEFICS_NAME(truncated_file)
    IDEFICS_NAME(oversized_file)
    IDEFICS_NAME(git_lfs_pointer)
    IDEFICS_NAME(invalid_json)
    IDEFICS_NAME(invalid_safetensors)
    IDEFICS_NAME(invalid_torch_file)
    IDEFICS_NAME(unsupported_torch_file)
    IDEFICS_NAME(pickle_refused)
    IDEFICS_NAME(duplicate_key)
    IDEFICS_NAME(unsupported_dtype)
    IDEFICS_NAME(not_a_checkpoint)
    IDEFICS_NAME(unsupported_architecture)
    IDEFICS_NAME(invalid_config)
    IDEFICS_NAME(missing_shard)
    IDEFICS_NAME(index_mismatch)
    IDEFICS_NAME(missing_tensor)
    IDEFICS_NAME(shape_mismatch)
    IDEFICS_NAME(dtype_mismatch)
    IDEFICS_NAME(invalid_quant_state)
    IDEFICS_NAME(unsupported_quantization)
    IDEFICS_NAME(unsupported_adapter)
    IDEFICS_NAME(adapter_mismatch)
    IDEFICS_NAME(model_not_found)
    IDEFICS_NAME(invalid_tokenizer)
    IDEFICS_NAME(invalid_utf8)
    IDEFICS_NAME(invalid_token_id)
    IDEFICS_NAME(invalid_image)
    IDEFICS_NAME(unsupported_image)
    IDEFICS_NAME(image_too_large)
    IDEFICS_NAME(image_count_mismatch)
    IDEFICS_NAME(url_refused)
    IDEFICS_NAME(fetch_failed)
    IDEFICS_NAME(empty_prompt)
    IDEFICS_NAME(invalid_prompt)
    IDEFICS_NAME(template_failed)
    IDEFICS_NAME(template_limit)
    IDEFICS_NAME(context_overflow)
    IDEFICS_NAME(invalid_option)
    IDEFICS_NAME(non_finite_logits)
    IDEFICS_NAME(out_of_memory)
    IDEFICS_NAME(arithmetic_overflow)
    IDEFICS_NAME(device_unavailable)
    IDEFICS_NAME(rank_lost)
    IDEFICS_NAME(cancelled)
    IDEFICS_NAME(invalid_argument)
#undef IDEFICS_NAME
  }
  return "unknown";
}

}}  // namespace idefics::v0
