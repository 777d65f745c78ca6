// Prompt files in every form: items, conversations, images with texts, base64, and pictures within
// texts; and what is refused, with its place.
#include <fstream>

#include <idefics/io/json.hpp>
#include <idefics/prompt_file.hpp>
#include <idefics/text/bad_words.hpp>
#include <idefics/text/markdown_pictures.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

const std::filesystem::path samples = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples";
const std::filesystem::path data = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "processor";

std::string base64_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j)
      text += i + j > bytes.size() ? '=' : digits[group >> (18 - 6 * j) & 63];
    if (i % 57 == 0) text += '\n';
  }
  return text;
}

/// A folder with boat.png, where prompt files are written.
class Folder {
 public:
  Folder() {
    std::filesystem::copy_file(samples / "pictures" / "pink-boat.png", dir_.path() / "boat.png");
  }
  std::filesystem::path write(const Json& json) const {
    std::ofstream(dir_.path() / "prompt.json") << json.dump();
    return dir_.path() / "prompt.json";
  }
  std::string base64() const { return base64_of(dir_.path() / "boat.png"); }

 private:
  testing::TempDir dir_;
};

/// Items as text: "words", "[url]" or "<32x32>".
std::vector<std::vector<std::string>> shown(const std::vector<Prompt>& batch) {
  std::vector<std::vector<std::string>> rows;
  for (const Prompt& prompt : batch) {
    auto& row = rows.emplace_back();
    for (const PromptItem& item : prompt)
      row.push_back(item.image() != nullptr             ? "<picture>"
                    : item.names_picture(item.string()) ? "[" + item.string().substr(0, 20) + "]"
                                                        : item.string());
  }
  return rows;
}

using Rows = std::vector<std::vector<std::string>>;

}  // namespace

TEST_CASE("prompt files have items, images with texts, or pictures as base64") {
  const Folder folder;
  const auto read = [&](const Json& json, bool markdown = false) {
    return shown(read_prompt_file(folder.write(json), {.markdown_pictures = markdown}));
  };
  CHECK(read({"a", {{"image", "boat.png"}}}) == Rows{{"a", "<picture>"}});
  CHECK(read({{{"image", folder.base64()}}}) == Rows{{"<picture>"}});
  CHECK(read({{{"image", "DATA:image/png;base64," + folder.base64()}}}) ==
        Rows{{"[DATA:image/png;base6]"}});
  CHECK(read(Json::array({Json::array({"a"}), Json::array({"b", "c"})})) ==
        Rows{{"a"}, {"b", "c"}});
  // as the reference pairs them: a picture before its text, a list of pictures after it
  CHECK(read({{"images", {"boat.png", "http://a/b"}}, {"text", {"x", "y"}}}) ==
        Rows{{"<picture>", "x"}, {"[http://a/b]", "y"}});
  CHECK(read({{"images", "boat.png"}, {"text", "x"}}) == Rows{{"<picture>", "x"}});
  CHECK(read({{"images", Json::array({{"boat.png", "boat.png"}, Json::array()})},
              {"text", {"x", "y"}}}) == Rows{{"x", "<picture>", "<picture>"}, {"y"}});
  CHECK(read({{"text", {"x", "y"}}}) == Rows{{"x", "y"}});
  CHECK(read({"see ![](http://a/b) this"}, true) == Rows{{"see ", "[http://a/b]", " this"}});
  CHECK(read({"see ![](http://a/b) this"}) == Rows{{"see ![](http://a/b) this"}});
  CHECK(read({{{"text", "see ![](http://a/b)"}}}, true) == Rows{{"see ![](http://a/b)"}});
}

TEST_CASE("prompt files have conversations as processors and OpenAI's interface have them") {
  const Folder folder;
  const auto tokenizer = Tokenizer::from_pretrained(samples / "tiny");
  const auto read = [&](const Json& json) {
    return shown(read_prompt_file(folder.write(json), {.tokenizer = &tokenizer}));
  };
  const Json plain{{{"role", "user"},
                    {"content",
                     {{{"type", "image"}, {"path", "boat.png"}},
                      {{"type", "text"}, {"text", "What is "}},
                      {{"type", "text"}, {"text", "this?"}}}}},
                   {{"role", "assistant"}, {"content", "A boat."}},
                   {{"role", "user"}, {"content", "Sure?"}}};
  const Image boat = Image::open(samples / "pictures" / "pink-boat.png");
  const Rows expected = shown({chat_prompt(
      {{"user", {boat}, "What is this?"}, {"assistant", {}, "A boat."}, {"user", {}, "Sure?"}},
      tokenizer)});
  CHECK(read(plain) == expected);
  CHECK(read({{"messages", plain}}) == expected);
  CHECK(read(Json::array({plain, {{"messages", plain}}})) == Rows{expected[0], expected[0]});
  const std::string url = "data:image/png;base64," + folder.base64();
  for (const Json& picture :
       {Json{{"type", "image_url"}, {"image_url", {{"url", url}}}},
        Json{{"type", "image_url"}, {"image_url", url}}, Json{{"type", "image"}, {"url", url}},
        Json{{"type", "image"}, {"base64", folder.base64()}},
        Json{{"type", "image"}, {"image", folder.base64()}},
        Json{{"type", "input_image"}, {"image_url", url}}}) {
    Json changed = plain;
    changed[0]["content"][0] = picture;
    INFO(picture.dump().substr(0, 60));
    CHECK(read(changed) == expected);
  }
}

TEST_CASE("what a prompt file lacks is named with its place") {
  const Folder folder;
  const auto tokenizer = Tokenizer::from_pretrained(samples / "tiny");
  const auto place = [&](const Json& json) {
    try {
      (void)read_prompt_file(folder.write(json), {.tokenizer = &tokenizer});
    } catch (const Error& error) {
      return std::string(error.code_name()) + " " + error.context().field;
    }
    return std::string("accepted");
  };
  const auto user = [](const Json& content) {
    return Json::array({{{"role", "user"}, {"content", content}}});
  };
  CHECK(place(7) == "invalid_prompt $");
  CHECK(place({{"text", "x"}, {"pictures", "y"}}) == "invalid_prompt $.pictures");
  CHECK(place({{"images", {"boat.png"}}, {"text", {"x", "y"}}}) == "invalid_prompt $.images");
  CHECK(place({{"images", {7}}, {"text", {"x"}}}) == "invalid_prompt $.images[0]");
  CHECK(place({{"text", 7}}) == "invalid_prompt $.text");
  CHECK(place({{"text", "x"}, {"images", 7}}) == "invalid_prompt $.images");
  CHECK(place({{"messages", Json::array()}}) == "invalid_prompt $.messages");
  CHECK(place({{"messages", user("x")}, {"model", "y"}}) == "invalid_prompt $.model");
  CHECK(place(user(7)) == "invalid_prompt $[0].content");
  CHECK(place(user({{{"type", "video"}}})) == "invalid_prompt $[0].content[0].type");
  CHECK(place(user({{{"type", "image"}}})) == "invalid_prompt $[0].content[0]");
  CHECK(place(user({{{"type", "text"}}})) == "invalid_prompt $[0].content[0]");
  CHECK(place(user({{{"type", "image"}, {"base64", "?"}}})) ==
        "invalid_image $[0].content[0].base64");
  CHECK(place(Json::array({{{"role", "user"}}})) == "invalid_prompt $[0]");
  CHECK(place(Json::array({{{"role", "user"}, {"content", "x"}, {"name", "y"}}})) ==
        "invalid_prompt $[0].name");
  CHECK(place({{{"image", "none.png"}}}) == "file_not_found ");
  CHECK(place({{{"image", "none"}}}) == "file_not_found ");
  CHECK(place({{{"image", std::string(400, 'A')}}}) == "invalid_image $[0]");
}

TEST_CASE("texts are split at pictures as text-generation-inference splits them") {
  for (const Json& one : read_json_file(data / "markdown.json")) {
    Json parts = Json::array();
    for (const auto& part : split_markdown_pictures(one[0].get<std::string>()))
      parts.push_back({part.text, part.is_url});
    CHECK(parts == one[1]);
  }
}

TEST_CASE("bad words have the ids of the reference, after a space and within a word") {
  const Json file = read_json_file(data / "bad_words.json");
  for (const auto& [name, words] : file.items()) {
    const auto tokenizer =
        Tokenizer::from_pretrained(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "tokenizer" / name);
    for (const Json& one : words) {
      std::vector<std::vector<std::int32_t>> expected{one[1].get<std::vector<std::int32_t>>()};
      if (one[2] != one[1]) expected.push_back(one[2].get<std::vector<std::int32_t>>());
      const std::vector<std::string> word{one[0].get<std::string>()};
      CHECK(bad_words_ids(tokenizer, word) == expected);
    }
  }
}
