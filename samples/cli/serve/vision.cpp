// What the model says of pictures without generating freely: labels, and embeddings.
#include <algorithm>
#include <span>

#include <idefics/classify.hpp>
#include <idefics/io/json.hpp>

#include "cli/base64.hpp"
#include "cli/choose_label.hpp"
#include "cli/serve/engine.hpp"
#include "cli/serve/errors.hpp"

namespace cli::serve {

using namespace idefics;

namespace {

void check_wanted(const Job& job) {
  if (!job.wanted()) fail(ErrorCode::cancelled, "the client has left");
}

/// The mean of the rows of [L,Dv], added in their order.
std::vector<float> mean_of(std::span<const float> latents, std::size_t width) {
  std::vector<float> mean(width, 0.0f);
  for (std::size_t i = 0; i < latents.size(); ++i) mean[i % width] += latents[i];
  for (float& value : mean) value /= static_cast<float>(latents.size() / width);
  return mean;
}

}  // namespace

Json Engine::classify(Job& job, const ClassifyRequest& request,
                      const std::vector<Image>& pictures) {
  Json data = Json::array();
  for (const Image& picture : pictures) {
    check_wanted(job);
    const Prompt prompt = category_prompt(PromptItem(picture), request.labels);
    const Classified found =
        choose_label(model_, processor_, prompt, request.labels,
                     {.rank = request.rank, .normalize = request.normalize, .scores = true});
    Json scores = Json::object();
    for (std::size_t i = 0; i < found.scores.size(); ++i)
      scores[request.labels[i]] = found.scores[i];
    data.push_back({{"object", "classification"},
                    {"index", data.size()},
                    {"label", found.label},
                    {"scores", std::move(scores)}});
  }
  return data;
}

Json Engine::embed(Job& job, const EmbeddingRequest& request,
                   const std::vector<Image>& pictures) const {
  Json data = Json::array();
  for (const Image& picture : pictures) {
    check_wanted(job);
    const ForwardOutput out = model_.forward(processor_(Prompt{PromptItem(picture)}));
    const Tensor& all = out.image_hidden_states;  // [1,1,L,Dv]
    const auto latents = all.as<float>();
    const auto width = static_cast<std::size_t>(all.dim(3));
    const std::vector<float> mean = mean_of(latents, width);
    Json embedding;
    if (request.base64)
      embedding =
          base64(std::as_bytes(request.all_latents ? latents : std::span<const float>(mean)));
    else if (!request.all_latents)
      embedding = mean;
    else
      for (std::size_t i = 0; i < latents.size(); i += width)
        embedding.push_back(std::vector<float>(latents.begin() + std::ptrdiff_t(i),
                                               latents.begin() + std::ptrdiff_t(i + width)));
    data.push_back(
        {{"object", "embedding"}, {"index", data.size()}, {"embedding", std::move(embedding)}});
  }
  return data;
}

}  // namespace cli::serve
