// The model with its processor: from requests to inputs, and from generations to answers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <idefics/chat.hpp>
#include <idefics/model.hpp>
#include <idefics/processor.hpp>

#include "cli/serve/answers.hpp"
#include "cli/serve/job.hpp"
#include "cli/serve/pictures.hpp"
#include "cli/serve/requests.hpp"

namespace cli::serve {

/// A generation that is ready to run.
struct Generation {
  idefics::Inputs inputs;
  idefics::GenerationConfig config;
  std::vector<std::string> stop;
  bool echo = false;
};

class Engine {
 public:
  /// `max_tokens`: the most new tokens that a request may have.
  Engine(idefics::Processor processor, idefics::Model model, std::int64_t max_tokens)
      : processor_(std::move(processor)), model_(std::move(model)), max_tokens_(max_tokens) {}

  /// As `idefics chat` reads a conversation.
  Generation chat(const ChatRequest& request, const PictureLoader& load) const;
  /// As `idefics generate` reads prompts.
  Generation completion(const CompletionRequest& request, const PictureLoader& load) const;

  /// Whether the text of a generation is known before its end.
  bool streams(const Generation& generation) const;
  std::size_t count_answers(const Generation& generation) const;
  /// Generates, and with `live` passes on text as it comes. Throws Refusal, 504, if the time was
  /// over before the first token.
  Answers run(Job& job, const Generation& generation, bool live);

  /// What each word of the answer looked at, as by `idefics attend --json`. Throws `invalid_option`
  /// for several answers.
  idefics::Json attend(Job& job, Generation generation);
  /// {"label", "scores"} for each picture, as by `idefics classify --json`.
  idefics::Json classify(Job& job, const ClassifyRequest& request,
                         const std::vector<idefics::Image>& pictures);
  /// The latents of each picture, or their mean.
  idefics::Json embed(Job& job, const EmbeddingRequest& request,
                      const std::vector<idefics::Image>& pictures) const;

  const idefics::Processor& processor() const { return processor_; }
  const idefics::Model& model() const { return model_; }

 private:
  idefics::GenerationConfig completed(idefics::GenerationConfig config, std::int64_t usual) const;
  Generation constrained(Generation generation,
                         const std::optional<idefics::ConstrainedText>& format) const;
  Answer answer_of(const Generation& generation, const idefics::GenerationOutput& out,
                   std::size_t row) const;
  bool is_end(const idefics::GenerationConfig& config, std::int32_t id) const;

  idefics::Processor processor_;
  idefics::Model model_;
  std::int64_t max_tokens_;
};

}  // namespace cli::serve
