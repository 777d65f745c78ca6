// Faults in OpenAI's form: {"error": {"message", "type", "param", "code"}}, and the HTTP status of each.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include <idefics/core/error.hpp>
#include <idefics/io/json.hpp>

namespace cli::serve {

/// A fault of a request that the engine did not find: of its route, key, size or time.
struct Refusal : std::runtime_error {
  Refusal(int http_status, std::string stable_code, const std::string& message,
          std::string field = "")
      : std::runtime_error(message),
        status(http_status),
        code(std::move(stable_code)),
        param(std::move(field)) {}

  int status;
  std::string code, param;
  int retry_after = 0;  // seconds; 0: do not say
};

/// The HTTP status of each code of the engine. 499 is for the log: the client has left.
inline int status_of(idefics::ErrorCode code) {
  using enum idefics::ErrorCode;
  switch (code) {
    case invalid_json:
    case duplicate_key:
    case invalid_utf8:
    case invalid_token_id:
    case invalid_image:
    case unsupported_image:
    case image_count_mismatch:
    case url_refused:
    case fetch_failed:
    case empty_prompt:
    case invalid_prompt:
    case template_failed:
    case template_limit:
    case context_overflow:
    case invalid_option:
    case arithmetic_overflow: return 400;
    case model_not_found: return 404;
    case oversized_file:
    case image_too_large: return 413;
    case non_finite_logits: return 422;  // options such as temperature 1e308, or damaged weights
    case cancelled: return 499;
    case out_of_memory: return 503;
    case file_not_found:
    case io_failure:
    case file_changed:
    case truncated_file:
    case git_lfs_pointer:
    case invalid_safetensors:
    case invalid_torch_file:
    case unsupported_torch_file:
    case pickle_refused:
    case unsupported_dtype:
    case not_a_checkpoint:
    case unsupported_architecture:
    case invalid_config:
    case missing_shard:
    case index_mismatch:
    case missing_tensor:
    case shape_mismatch:
    case dtype_mismatch:
    case invalid_quant_state:
    case unsupported_quantization:
    case unsupported_adapter:
    case adapter_mismatch:
    case invalid_tokenizer:
    case rank_lost:
    case device_unavailable:
    case invalid_argument: return 500;
  }
  return 500;
}

/// OpenAI's name for a kind of fault.
inline const char* type_of(int status) {
  return status == 401   ? "authentication_error"
         : status == 403 ? "permission_error"
         : status == 429 ? "rate_limit_error"
         : status < 500  ? "invalid_request_error"
                         : "server_error";
}

/// An error as clients see it.
struct Fault {
  int status;
  idefics::Json body;
  int retry_after = 0;
};

inline Fault make_fault(int status, const std::string& code, const std::string& message,
                        const std::string& param) {
  idefics::Json error{{"message", message}, {"type", type_of(status)}, {"code", code}};
  error["param"] = param.empty() ? idefics::Json() : idefics::Json(param);
  return {status, {{"error", std::move(error)}}};
}

/// The fault for what a handler threw. Messages of faults that are not the client's stay here.
inline Fault fault_of(const std::exception& thrown) {
  if (const auto* refusal = dynamic_cast<const Refusal*>(&thrown)) {
    Fault fault = make_fault(refusal->status, refusal->code, thrown.what(), refusal->param);
    fault.retry_after = refusal->retry_after;
    return fault;
  }
  Fault fault{500, {}};
  if (const auto* error = dynamic_cast<const idefics::Error*>(&thrown)) {
    const int status = status_of(error->code());
    // OpenAI's name, by which programs know that a prompt is too long
    const bool too_long = error->code() == idefics::ErrorCode::context_overflow;
    fault = make_fault(
        status, too_long ? "context_length_exceeded" : std::string(error->code_name()),
        status == 500 ? "the model cannot answer; the server's log says why" : thrown.what(),
        error->context().field);
  } else if (dynamic_cast<const std::bad_alloc*>(&thrown) != nullptr) {
    fault = make_fault(503, "out_of_memory", "memory is exhausted", "");
  } else {
    fault = make_fault(500, "internal", "the server failed; its log says why", "");
  }
  if (fault.status == 503) fault.retry_after = 1;
  return fault;
}

}  // namespace cli::serve
