// OpenAI's objects.
#include "cli/serve/answers.hpp"

#include <chrono>
#include <cmath>
#include <random>

namespace cli::serve {
namespace {

using namespace idefics;

/// JSON has no infinity; OpenAI writes this for tokens that are out of the question.
double finite(float logprob) {
  return std::isfinite(logprob) ? static_cast<double>(logprob) : -9999.0;
}

Json bytes_of(const std::string& text) {
  Json list = Json::array();
  for (const char c : text) list.push_back(static_cast<unsigned char>(c));
  return list;
}

}  // namespace

std::string unique_id(const char* prefix) {
  static thread_local std::random_device random;
  std::string id = prefix;
  for (int word = 0; word < 4; ++word)
    for (unsigned bits = random(), i = 0; i < 6; ++i, bits >>= 4)
      id += "0123456789abcdef"[bits & 15];
  return id;
}

std::int64_t unix_time() {
  using namespace std::chrono;
  return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
}

AnswerForm::AnswerForm(Route route, std::string model, const Tokenizer& tokenizer, bool logprobs)
    : route_(route),
      model_(std::move(model)),
      id_(unique_id(route == Route::chat ? "chatcmpl-" : "cmpl-")),
      created_(unix_time()),
      tokenizer_(tokenizer),
      texts_(tokenizer.token_texts()),
      logprobs_(logprobs) {}

Json AnswerForm::head(bool chunk) const {
  const char* object = route_ == Route::completions ? "text_completion"
                       : chunk                      ? "chat.completion.chunk"
                                                    : "chat.completion";
  return {{"id", id_},
          {"object", object},
          {"created", created_},
          {"model", model_},
          {"system_fingerprint", "idefics-" IDEFICS_VERSION},
          {"choices", Json::array()}};
}

Json AnswerForm::whole(const Answers& answers) const {
  Json json = usage(answers);
  json["object"] = head(false)["object"];
  for (std::size_t i = 0; i < answers.list.size(); ++i) {
    const Answer& answer = answers.list[i];
    Json choice{
        {"index", i}, {"finish_reason", answer.finish_reason}, {"logprobs", logprobs_of(answer)}};
    if (route_ == Route::chat)
      choice["message"] = {{"role", "assistant"}, {"content", answer.text}, {"refusal", nullptr}};
    else
      choice["text"] = answer.text;
    json["choices"].push_back(std::move(choice));
  }
  return json;
}

Json AnswerForm::chunk(Json choice) const {
  Json json = head(true);
  json["choices"].push_back(std::move(choice));
  return json;
}

Json AnswerForm::first(std::size_t answer) const {
  if (route_ == Route::completions) return nullptr;
  return chunk({{"index", answer},
                {"delta", {{"role", "assistant"}, {"content", ""}}},
                {"logprobs", nullptr},
                {"finish_reason", nullptr}});
}

Json AnswerForm::piece(std::size_t answer, const std::string& text) const {
  Json choice{{"index", answer}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
  if (route_ == Route::chat)
    choice["delta"] = {{"content", text}};
  else
    choice["text"] = text;
  return chunk(std::move(choice));
}

Json AnswerForm::last(std::size_t index, const Answer& answer) const {
  Json choice{
      {"index", index}, {"logprobs", logprobs_of(answer)}, {"finish_reason", answer.finish_reason}};
  if (route_ == Route::chat)
    choice["delta"] = Json::object();
  else
    choice["text"] = "";
  return chunk(std::move(choice));
}

Json AnswerForm::usage(const Answers& answers) const {
  Json json = head(true);
  json["usage"] = {{"prompt_tokens", answers.prompt_tokens},
                   {"completion_tokens", answers.new_tokens},
                   {"total_tokens", answers.prompt_tokens + answers.new_tokens}};
  return json;
}

const std::string& AnswerForm::text_of(std::int32_t id) const {
  static const std::string none;
  const auto at = static_cast<std::size_t>(id);
  return at < texts_->size() ? (*texts_)[at] : none;
}

Json AnswerForm::logprobs_of(const Answer& answer) const {
  if (!logprobs_) return nullptr;
  return route_ == Route::chat ? chat_logprobs(answer) : completion_logprobs(answer);
}

Json AnswerForm::chat_logprobs(const Answer& answer) const {
  const auto entry = [this](const TokenLogProb& token) -> Json {
    const std::string& text = text_of(token.id);
    return {{"token", text}, {"logprob", finite(token.logprob)}, {"bytes", bytes_of(text)}};
  };
  Json content = Json::array();
  for (const TokenLogProbs& step : answer.logprobs) {
    Json token = entry(step.chosen);
    token["top_logprobs"] = Json::array();
    for (const TokenLogProb& other : step.top) token["top_logprobs"].push_back(entry(other));
    content.push_back(std::move(token));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json AnswerForm::completion_logprobs(const Answer& answer) const {
  Json tokens = Json::array(), values = Json::array(), top = Json::array(), at = Json::array();
  std::size_t offset = 0;
  for (const TokenLogProbs& step : answer.logprobs) {
    const std::string& text = text_of(step.chosen.id);
    tokens.push_back(text);
    values.push_back(finite(step.chosen.logprob));
    Json others = Json::object();
    for (const TokenLogProb& other : step.top) {
      const std::string& name = text_of(other.id);
      if (!others.contains(name)) others[name] = finite(other.logprob);
    }
    top.push_back(std::move(others));
    at.push_back(offset);
    offset += text.size();
  }
  return {
      {"tokens", tokens}, {"token_logprobs", values}, {"top_logprobs", top}, {"text_offset", at}};
}

}  // namespace cli::serve
