// Answers of a generation, and their form in OpenAI's interface.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <idefics/generation/run/output.hpp>
#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer.hpp>

#include "cli/serve/options.hpp"

namespace cli::serve {

struct Answer {
  std::string text, finish_reason;
  std::vector<idefics::TokenLogProbs> logprobs;
};

struct Answers {
  std::vector<Answer> list;
  std::int64_t prompt_tokens = 0, new_tokens = 0;
};

/// Writes answers as chat completions or completions.
class AnswerForm {
 public:
  AnswerForm(Route route, std::string model, const idefics::Tokenizer& tokenizer, bool logprobs);

  /// The whole answer.
  idefics::Json whole(const Answers& answers) const;
  /// What a stream begins with, for each answer; null if it begins with text.
  idefics::Json first(std::size_t answer) const;
  idefics::Json piece(std::size_t answer, const std::string& text) const;
  idefics::Json last(std::size_t index, const Answer& answer) const;
  /// The last event of a stream with usage.
  idefics::Json usage(const Answers& answers) const;

 private:
  idefics::Json head(bool chunk) const;
  idefics::Json chunk(idefics::Json choice) const;
  idefics::Json logprobs_of(const Answer& answer) const;
  idefics::Json chat_logprobs(const Answer& answer) const;
  idefics::Json completion_logprobs(const Answer& answer) const;
  const std::string& text_of(std::int32_t id) const;

  Route route_;
  std::string model_, id_;
  std::int64_t created_;
  const idefics::Tokenizer& tokenizer_;
  idefics::TokenTexts texts_;
  bool logprobs_;
};

/// A name that no other answer has, such as chatcmpl-3f….
std::string unique_id(const char* prefix);
std::int64_t unix_time();

}  // namespace cli::serve
