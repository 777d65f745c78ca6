// Conversations: the prompts that they build, what they remember, and that pictures are encoded
// once.
#include <idefics/chat.hpp>
#include <idefics/io/json.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

const std::string samples = std::string(IDEFICS_SOURCE_DIR) + "/samples/";

Image picture(const char* name) { return Image::open(samples + "pictures/" + name); }

/// The texts of a prompt in brackets, and # for each picture.
std::string described(const Prompt& prompt) {
  std::string text;
  for (const PromptItem& item : prompt)
    text += item.image() != nullptr ? "#" : "[" + item.string() + "]";
  return text;
}

struct Scene {
  Processor processor = Processor::from_pretrained(samples + "tiny");
  Model model = Model::from_pretrained(samples + "tiny");
  Chat chat{model, processor, {.max_new_tokens = 40}};
};

}  // namespace

TEST_CASE("turns become the prompts that instruct checkpoints were trained with") {
  Scene scene;
  const Image dot = Image::from_pixels(1, 1, 1, std::vector<std::uint8_t>{0});
  const auto& tokenizer = scene.processor.tokenizer();
  CHECK(described(chat_prompt({{.role = "user", .text = "Hello!"}}, tokenizer)) ==
        "[User: Hello!<end_of_utterance>\nAssistant:]");
  CHECK(described(chat_prompt({{"user", {dot}, "What is this?"},
                               {.role = "assistant", .text = "a dot"},
                               {"user", {dot, dot}, "And these?"}},
                              tokenizer)) ==
        "[User:]#[What is this?<end_of_utterance>\nAssistant: a dot<end_of_utterance>\nUser:]##"
        "[And these?<end_of_utterance>\nAssistant:]");
}

TEST_CASE("a chat answers, remembers and forgets") {
  Scene scene;
  std::string streamed;
  CHECK(scene.chat.ask("What is this?", {picture("blue-cat-and-pink-fish.png")},
                       [&streamed](const std::string& piece) {
                         streamed += piece;
                         return true;
                       }) == "a blue cat left of a pink fish");
  CHECK(streamed == "a blue cat left of a pink fish");
  CHECK(scene.model.cached_pictures() == 1);
  CHECK(scene.chat.ask("What colour is the fish?") == "pink");
  CHECK(scene.model.cached_pictures() == 1);
  REQUIRE(scene.chat.messages().size() == 4);
  CHECK(scene.chat.messages()[3].text == "pink");

  CHECK(scene.chat.ask("What is this?", {picture("pink-boat.png")}) == "a pink boat");
  CHECK(scene.model.cached_pictures() == 2);
  scene.chat.reset();
  CHECK(scene.chat.messages().empty());
  CHECK(scene.chat.ask("What is this?", {picture("pink-boat.png")}) == "a pink boat");
  CHECK(scene.model.cached_pictures() == 2);
}

TEST_CASE("a chat reads no token twice, and its answers keep their bits") {
  Scene scene;
  scene.chat.ask("What is this?", {picture("blue-cat-and-pink-fish.png")});
  const std::int64_t first = scene.chat.output().timings.prefill_tokens;
  scene.chat.ask("What colour is the fish?");
  const std::int64_t second = scene.chat.output().timings.prefill_tokens;
  const Inputs all = scene.processor(
      chat_prompt({scene.chat.messages().begin(), scene.chat.messages().begin() + 3},
                  scene.processor.tokenizer()),
      {.add_end_of_utterance_token = false});
  CHECK(first > 10);
  CHECK(second < all.input_ids.dim(1) - first);  // the first question and its answer are cached
  const auto alone = scene.model.generate(all, scene.chat.config);
  CHECK(alone.sequences == scene.chat.output().sequences);
  CHECK(alone.timings.prefill_tokens == all.input_ids.dim(1));
}

TEST_CASE("a past is used as far as its tokens and pictures are the same") {
  Scene scene;
  PastKeyValues past;
  const auto ask = [&scene, &past](const char* name, const char* text) {
    const Inputs in =
        scene.processor({"User:", picture(name), text}, {.add_end_of_utterance_token = false});
    const auto with = scene.model.generate(in, scene.chat.config, {.past_key_values = &past});
    const auto without = scene.model.generate(in, scene.chat.config);
    CHECK(with.sequences == without.sequences);
    CHECK(with.timings.prefill_tokens > 0);
    return in.input_ids.dim(1) - with.timings.prefill_tokens;  // tokens not read again
  };
  const char* question = "What is this?<end_of_utterance>\nAssistant:";
  const char* other = "What is this?<end_of_utterance>\nAssistant: a";
  CHECK(ask("pink-boat.png", question) == 0);
  const auto all = ask("pink-boat.png", question);
  CHECK(all > 10);
  CHECK(ask("pink-boat.png", other) >= all);
  // the same tokens about another picture: only those before the picture are the same
  const auto before = ask("blue-cat-and-pink-fish.png", question);
  CHECK(before > 0);
  CHECK(before < 6);
  CHECK(ask("blue-cat-and-pink-fish.png", question) == all);
}

TEST_CASE("a chat template must place every picture") {
  const testing::TempDir directory;
  for (const char* file : {"tokenizer.json", "special_tokens_map.json"})
    std::filesystem::copy_file(samples + "tiny/" + file, directory.path() / file);
  Json about = read_json_file(samples + "tiny/tokenizer_config.json");
  const auto with_template = [&](const std::string& text) {
    about["chat_template"] = text;
    directory.write("tokenizer_config.json", about.dump());
    return Tokenizer::from_pretrained(directory.path());
  };
  const Image dot = Image::from_pixels(1, 1, 1, std::vector<std::uint8_t>{0});
  const std::vector<ChatMessage> two{{"user", {dot, dot}, "And these?"}};
  CHECK(described(
            chat_prompt(two, with_template("{% for m in messages %}{% for c in m.content %}"
                                           "{% if c.type == 'image' %}<image>{% else %}"
                                           "{{ c.text }}{% endif %}{% endfor %}{% endfor %}"))) ==
        "##[And these?]");
  for (const auto& [text, placed] : {std::pair{"<image>{{ messages[0].content[2].text }}", 1},
                                     std::pair{"{{ messages[0].content[2].text }}", 0}}) {
    try {
      chat_prompt(two, with_template(text));
      FAIL("accepted: " << text);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::image_count_mismatch);
      CHECK(error.context().field == "chat_template");
      CHECK(error.context().actual == placed);
      CHECK(error.context().limit == 2);
    }
  }
}

TEST_CASE("a failed question is not remembered, an interrupted answer is") {
  Scene scene;
  scene.chat.config.max_new_tokens = 0;
  CHECK_THROWS_AS(scene.chat.ask("What is this?"), Error);
  CHECK(scene.chat.messages().empty());
  scene.chat.config.max_new_tokens = 40;
  const auto answer = scene.chat.ask("What is this?", {picture("pink-boat.png")},
                                     [](const std::string&) { return false; });
  CHECK(answer == "a");
  CHECK(scene.chat.messages().size() == 2);
}
