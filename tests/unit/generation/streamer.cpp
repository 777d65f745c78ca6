// Streams: the joined pieces are the decoded text, no piece ends within a character, and a reader
// that leaves early or fails ends the generation.
#include <idefics/generation/run/streamer.hpp>
#include <idefics/io/json.hpp>
#include <idefics/model.hpp>
#include <idefics/processor.hpp>
#include <idefics/text/utf8.hpp>

#include <random>

#include "support/catch.hpp"

using namespace idefics;

namespace {

const std::string tiny = std::string(IDEFICS_SOURCE_DIR) + "/samples/tiny";
const std::string tokenizers = std::string(IDEFICS_GOLDEN_DIR) + "/tokenizer/";

using Ids = std::vector<std::int32_t>;

/// Random ids with frequent special tokens and runs of byte tokens, valid or not.
Ids random_ids(std::mt19937& random, const Tokenizer& tokenizer) {
  auto pick = [&random](std::size_t below) {
    return static_cast<std::int32_t>(
        std::uniform_int_distribution<std::size_t>(0, below - 1)(random));
  };
  const auto first_byte = *tokenizer.token_to_id("<0x00>");
  Ids ids;
  for (int i = pick(24); i > 0; --i) {
    const auto kind = pick(8);
    if (kind == 0) ids.push_back(pick(3));
    if (kind == 1) ids.push_back(first_byte + pick(256));
    if (kind == 2)
      for (const char byte :
           std::string_view("\xe6\xbc\xa2\xf0\x9f\x98\x80").substr(0, pick(2) == 0 ? 3 : 7))
        ids.push_back(first_byte + static_cast<unsigned char>(byte));
    if (kind > 2) ids.push_back(pick(static_cast<std::size_t>(tokenizer.size())));
  }
  return ids;
}

struct Scene {
  Processor processor = Processor::from_pretrained(tiny);
  Model model = Model::from_pretrained(tiny);
  Inputs inputs =
      processor({Image::open(std::string(IDEFICS_SOURCE_DIR) + "/samples/pictures/pink-boat.png")});
  GenerationConfig config{.max_new_tokens = 20};

  std::string text() {
    return processor.batch_decode(model.generate(inputs, config).new_tokens,
                                  {.skip_special_tokens = true})[0];
  }
};

}  // namespace

TEST_CASE("joined pieces are the decoded text, and each piece has complete characters") {
  for (const char* name : {"base", "instruct"}) {
    const auto tokenizer = Tokenizer::from_pretrained(tokenizers + name);
    std::mt19937 random(7);
    for (int i = 0; i < 3000; ++i) {
      const Ids ids = random_ids(random, tokenizer);
      const DecodeOptions options{.skip_special_tokens = i % 2 == 0};
      std::string joined;
      bool complete = true;
      TextStreamer streamer(
          tokenizer,
          [&](const std::string& piece) {
            joined += piece;
            complete =
                complete && !piece.empty() && detail::valid_utf8_prefix(piece) == piece.size();
            return true;
          },
          options);
      for (const auto id : ids) streamer.push(id);
      streamer.finish();
      INFO(Json(ids).dump());
      CHECK(complete);
      REQUIRE(joined == tokenizer.decode(ids, options));
    }
  }
}

TEST_CASE("text is returned as soon as it is certain") {
  const auto tokenizer = Tokenizer::from_pretrained(tokenizers + "base");
  TextDecoder decoder(tokenizer);
  std::vector<std::string> pieces;
  for (const auto id : tokenizer.encode(" a漢b")) pieces.push_back(decoder.push(id));
  CHECK(pieces.front().empty());  // the space that decoding removes
  CHECK(pieces.back() == "漢b");  // three byte tokens, held back until their run ends
  CHECK(decoder.finish().empty());
  decoder.push(*tokenizer.token_to_id("<0xE6>"));
  CHECK(decoder.finish() == "\xEF\xBF\xBD");
}

TEST_CASE("a generation streams the text that it returns, by callback and as a range") {
  Scene scene;
  const std::string text = scene.text();
  std::string called;
  TextStreamer streamer(scene.processor.tokenizer(), [&called](const std::string& piece) {
    called += piece;
    return true;
  });
  scene.model.generate(scene.inputs, scene.config, {}, std::ref(streamer));
  streamer.finish();
  CHECK(called == text);

  std::string ranged;
  auto stream = stream_text(scene.model, scene.processor.tokenizer(), scene.inputs, scene.config);
  for (const std::string& piece : stream) ranged += piece;
  CHECK(ranged == text);
  CHECK(stream.output().new_tokens == scene.model.generate(scene.inputs, scene.config).new_tokens);
}

TEST_CASE("a reader that stops ends the generation") {
  Scene scene;
  scene.config = {.max_new_tokens = 4000, .min_new_tokens = 4000};
  int pieces = 0;
  TextStreamer streamer(scene.processor.tokenizer(), [&pieces](auto&) { return ++pieces < 3; });
  const auto cut = scene.model.generate(scene.inputs, scene.config, {}, std::ref(streamer));
  CHECK(pieces == 3);
  CHECK(cut.new_tokens[0].size() < 20);
  for (const std::string& piece :
       stream_text(scene.model, scene.processor.tokenizer(), scene.inputs, scene.config)) {
    CHECK_FALSE(piece.empty());
    break;  // the stream then joins its thread: 4,000 tokens would take a while
  }
}

TEST_CASE("errors reach the reader, and several rows are refused") {
  Scene scene;
  scene.config = {.max_new_tokens = 0};
  auto stream = stream_text(scene.model, scene.processor.tokenizer(), scene.inputs, scene.config);
  CHECK_THROWS_AS(stream.begin(), Error);

  const Inputs two = scene.processor({Prompt{"a red"}, Prompt{"a blue"}});
  TextStreamer streamer(scene.processor.tokenizer(), [](auto&) { return true; });
  CHECK_THROWS_AS(scene.model.generate(two, {.max_new_tokens = 2}, {}, std::ref(streamer)), Error);
  CHECK_THROWS_AS(scene.model.generate(scene.inputs, {.max_new_tokens = 2, .num_beams = 2}, {},
                                       std::ref(streamer)),
                  Error);
}
