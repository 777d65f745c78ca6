// The bodies of requests, from JSON to values that name every fault by its field.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/serve/options.hpp"
#include "cli/serve/prompts.hpp"

namespace cli::serve {

struct ChatRequest {
  std::vector<Message> messages;
  Options options;
};

struct CompletionRequest {
  std::vector<PromptParts> prompts;
  Options options;
  bool echo = false;  // the prompt is part of the answer
};

struct ClassifyRequest {
  std::string model;
  std::vector<PictureSource> pictures;
  std::vector<std::string> labels;
  bool rank = false, normalize = false;  // as of `idefics classify`
};

struct EmbeddingRequest {
  std::string model;
  std::vector<PictureSource> pictures;
  bool all_latents = false;  // otherwise their mean
  bool base64 = false;
};

/// Every label is read by the model.
inline constexpr std::size_t most_labels = 128;

inline ChatRequest chat_request_of(const idefics::Json& body) {
  Fields fields(body, "");
  ChatRequest request;
  request.messages = read_messages(fields.at("messages"));
  request.options = read_options(fields, Route::chat, {"messages"});
  return request;
}

inline CompletionRequest completion_request_of(const idefics::Json& body) {
  Fields fields(body, "");
  CompletionRequest request;
  request.prompts = read_prompts(fields.at("prompt"));
  request.echo = fields.boolean("echo");
  request.options = read_options(fields, Route::completions, {"prompt", "echo"});
  if (request.echo && request.options.logprobs)
    refuse("echo", "cannot be combined with logprobs, which are those of new tokens");
  return request;
}

/// Each reads the text of a body. Throws `invalid_json`, `duplicate_key` and `invalid_option`, whose
/// field is the place of the fault.
inline ChatRequest read_chat_request(std::string_view text) {
  return chat_request_of(*parse_body(text));
}
inline CompletionRequest read_completion_request(std::string_view text) {
  return completion_request_of(*parse_body(text));
}

/// The body of a chat completion if it has messages, else that of a completion.
inline std::variant<ChatRequest, CompletionRequest> read_attend_request(std::string_view text) {
  const auto body = parse_body(text);
  if (body->contains("messages")) return chat_request_of(*body);
  return completion_request_of(*body);
}

inline ClassifyRequest read_classify_request(std::string_view text) {
  const auto body = parse_body(text);
  Fields fields(*body, "");
  ClassifyRequest request{.model = fields.text("model"), .pictures = {}, .labels = {}};
  request.pictures = picture_sources(fields.at("image"), "image");
  fields.at("labels");
  request.labels = fields.texts("labels");
  if (request.labels.size() > most_labels)
    refuse("labels", "are more than " + std::to_string(most_labels));
  request.rank = fields.boolean("rank");
  request.normalize = fields.boolean("normalize");
  fields.finish();
  return request;
}

inline EmbeddingRequest read_embedding_request(std::string_view text) {
  const auto body = parse_body(text);
  Fields fields(*body, "");
  EmbeddingRequest request{.model = fields.text("model"), .pictures = {}};
  request.pictures = picture_sources(fields.at("input"), "input");
  const std::string pooling = fields.text("pooling", "mean");
  const std::string format = fields.text("encoding_format", "float");
  if (pooling != "mean" && pooling != "none") refuse("pooling", "must be mean or none");
  if (format != "float" && format != "base64") refuse("encoding_format", "must be float or base64");
  if (fields.find("dimensions") != nullptr) refuse("dimensions", "is not supported");
  request.all_latents = pooling == "none";
  request.base64 = format == "base64";
  fields.skip("user");
  fields.finish();
  return request;
}

}  // namespace cli::serve
