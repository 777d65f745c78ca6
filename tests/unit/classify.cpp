// Classification: ranks agree with log-probabilities computed by hand, and constrained answers are
// labels.
#include <idefics/classify.hpp>
#include <idefics/generation/logits/warpers.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

const std::string samples = std::string(IDEFICS_SOURCE_DIR) + "/samples/";

struct Scene {
  Processor processor = Processor::from_pretrained(samples + "tiny");
  Model model = Model::from_pretrained(samples + "tiny");
  std::vector<std::string> labels{"cat", "boat", "sun", "red star"};
  Prompt prompt = category_prompt(Image::open(samples + "pictures/pink-boat.png"), labels);

  std::string refusal(const std::vector<std::string>& given) {
    try {
      rank_labels(model, processor, prompt, given);
    } catch (const Error& error) {
      return error.context().field;
    }
    return "accepted";
  }
};

}  // namespace

TEST_CASE("labels are ranked by their log-likelihood after the prompt") {
  Scene scene;
  const Ranking ranking = rank_labels(scene.model, scene.processor, scene.prompt, scene.labels);
  CHECK(scene.labels[ranking.best] == "boat");

  // the same by hand, in long double, for the label of several tokens
  Prompt whole = scene.prompt;
  whole.back() = PromptItem::text("Category: red star");
  const Inputs in = scene.processor(whole);
  const auto ids = in.input_ids.as<std::int64_t>();
  const Tensor logits = scene.model.forward(in).logits;
  const auto tokens = scene.processor.tokenizer().encode("red star");
  long double sum = 0;
  for (std::size_t t = ids.size() - tokens.size(); t < ids.size(); ++t) {
    const auto width = static_cast<std::size_t>(logits.dim(2));
    const auto row = logits.as<float>().subspan((t - 1) * width, width);
    long double all = 0;
    for (const float logit : row) all += std::exp(static_cast<long double>(logit));
    sum += static_cast<long double>(row[static_cast<std::size_t>(ids[t])]) - std::log(all);
  }
  REQUIRE(tokens.size() > 1);
  CHECK(ranking.scores[3] == Approx(static_cast<double>(sum)).epsilon(1e-9));

  // and bit for bit the score of prompt and label read together
  double together = 0;
  for (std::size_t t = ids.size() - tokens.size(); t < ids.size(); ++t) {
    const auto width = static_cast<std::size_t>(logits.dim(2));
    const auto row = logits.as<float>().subspan((t - 1) * width, width);
    together +=
        static_cast<double>(row[static_cast<std::size_t>(ids[t])]) - detail::log_sum_exp(row);
  }
  CHECK(ranking.scores[3] == together);

  const Ranking mean = rank_labels(scene.model, scene.processor, scene.prompt, scene.labels, true);
  CHECK(mean.scores[3] ==
        Approx(ranking.scores[3] / static_cast<double>(tokens.size())).epsilon(1e-12));
}

TEST_CASE("the prompt is read once, however many labels there are") {
  Scene scene;
  std::int64_t read = 0;
  scene.model = Model::from_pretrained(samples + "tiny", {.progress = [&read](const Progress& p) {
                                         if (p.stage == "prefill") read += p.total;
                                         return true;
                                       }});
  std::vector<std::string> many = scene.labels;  // more than one pass reads
  for (int i = 0; i < 30; ++i) many.push_back("red star " + std::to_string(i));
  const Ranking all = rank_labels(scene.model, scene.processor, scene.prompt, many);
  CHECK(read == scene.processor(scene.prompt).input_ids.dim(1));
  for (const std::size_t i : {3u, 4u, 33u}) {
    const Ranking one = rank_labels(scene.model, scene.processor, scene.prompt, {&many[i], 1});
    CHECK(one.scores[0] == all.scores[i]);
  }
}

TEST_CASE("a constraint allows only labels and an end token") {
  Scene scene;
  const auto allowed = only_labels(scene.processor, scene.prompt, scene.labels);
  const Inputs in = scene.processor(scene.prompt);
  std::vector<std::int32_t> so_far(in.input_ids.as<std::int64_t>().begin(),
                                   in.input_ids.as<std::int64_t>().end());
  for (const std::int32_t id : scene.processor.tokenizer().encode("red star")) {
    const auto ids = allowed(0, so_far);
    CHECK(std::ranges::find(ids, id) != ids.end());
    so_far.push_back(id);
  }
  CHECK(allowed(0, so_far) == std::vector<std::int32_t>{scene.processor.tokenizer().eos_id()});
}

TEST_CASE("invalid labels are refused") {
  Scene scene;
  CHECK(scene.refusal({}) == "labels");
  CHECK(scene.refusal({"cat", ""}) == "labels");
  CHECK(scene.refusal({" cat"}) == "labels");
  CHECK(scene.refusal({"cat"}) == "accepted");
}
