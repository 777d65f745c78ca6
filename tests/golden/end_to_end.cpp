// End to end: with the embedded checkpoint, its sample pictures give every caption and every answer
// of samples/pictures/expected.json, through files, processor, model and tokenizer.
#include <idefics/idefics.hpp>
#include <idefics/io/json.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

const std::filesystem::path samples = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples";

std::string answer(Model& model, const Processor& processor, const Prompt& prompt) {
  const auto turn = processor.tokenizer().token_to_id(Processor::end_of_utterance_token);
  const auto output = model.generate(
      processor(prompt, {.add_end_of_utterance_token = false}),
      {.max_new_tokens = 40,
       .eos_token_id = std::vector<std::int32_t>{processor.tokenizer().eos_id(), turn.value()},
       .bad_words_ids = processor.image_token_ids()});
  return processor.batch_decode(output.new_tokens, {.skip_special_tokens = true}).at(0);
}

}  // namespace

TEST_CASE("the embedded checkpoint captions its sample pictures, in every dtype") {
  const Json expected = read_json_file(samples / "pictures" / "expected.json");
  const auto processor = Processor::from_pretrained((samples / "tiny").string());
  REQUIRE(expected.size() >= 4);
  for (const auto dtype : {DType::f32, DType::bf16, DType::f16}) {
    auto model = Model::from_pretrained((samples / "tiny").string(), {.dtype = dtype});
    for (const Json& scene : expected) {
      const auto name = scene.at("image").get<std::string>();
      INFO(name << " in " << name_of(dtype));
      CHECK(answer(model, processor, {Image::open(samples / "pictures" / name)}) ==
            scene.at("caption").get<std::string>());
    }
  }
}

TEST_CASE("the embedded checkpoint answers questions about its sample pictures") {
  const auto processor = Processor::from_pretrained((samples / "tiny").string());
  auto model = Model::from_pretrained((samples / "tiny").string(), {.dtype = DType::f32});
  for (const Json& scene : read_json_file(samples / "pictures" / "expected.json")) {
    const auto picture = Image::open(samples / "pictures" / scene.at("image").get<std::string>());
    REQUIRE(scene.at("questions").size() >= 4);
    for (const Json& one : scene.at("questions")) {
      const auto question = one.at("q").get<std::string>();
      INFO(scene.at("image") << ": " << question);
      CHECK(answer(model, processor,
                   {"Instruction: Provide an answer to the question. Use the image to answer.\n",
                    picture, "Question: " + question + " Answer:"}) ==
            one.at("a").get<std::string>());
    }
  }
}

TEST_CASE("the embedded checkpoint holds a chat of two turns") {
  const auto processor = Processor::from_pretrained((samples / "tiny").string());
  auto model = Model::from_pretrained((samples / "tiny").string(), {.dtype = DType::f32});
  for (const Json& scene : read_json_file(samples / "pictures" / "expected.json")) {
    const auto picture = Image::open(samples / "pictures" / scene.at("image").get<std::string>());
    INFO(scene.at("image"));
    const Prompt first{"User:", picture, "What is this?<end_of_utterance>", "\nAssistant:"};
    const std::string caption = answer(model, processor, first);
    CHECK(caption == scene.at("caption").get<std::string>());
    const Json& then = scene.at("questions").at(1);
    CHECK(answer(model, processor,
                 {"User:", picture, "What is this?<end_of_utterance>",
                  "\nAssistant: " + caption + "<end_of_utterance>",
                  "\nUser: " + then.at("q").get<std::string>() + "<end_of_utterance>",
                  "\nAssistant:"}) == then.at("a").get<std::string>());
  }
}
