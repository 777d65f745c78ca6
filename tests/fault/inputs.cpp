// Texts, token ids, tokenizer files and prompt files with one fault each.
#include <idefics/io/json.hpp>
#include <idefics/prompt_file.hpp>
#include <idefics/text/chat_template.hpp>

#include "support/fault.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;
using enum ErrorCode;

namespace {

const std::filesystem::path source = IDEFICS_SOURCE_DIR, tiny = source / "samples/tiny";
const std::filesystem::path picture = source / "samples/pictures/pink-boat.png";

/// A fault that replaces one tokenizer file of the small checkpoint and loads the tokenizer.
testing::Fault tokenizer(const char* what, const char* name, std::string content,
                         const char* field = "", ErrorCode code = invalid_tokenizer,
                         const char* file = nullptr) {
  const auto act = [name, content = std::move(content)] {
    const testing::TempDir directory;
    for (const char* part : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"})
      std::filesystem::copy_file(tiny / part, directory.path() / part);
    if (std::string_view(name) == "tokenizer.model")
      std::filesystem::remove(directory.path() / "tokenizer.json");
    directory.write(name, content);
    (void)Tokenizer::from_pretrained(directory.path());
  };
  return {what, code, act, file == nullptr ? name : file, "", field};
}

/// A fault that writes a prompt file and reads it.
testing::Fault prompt(const char* what, ErrorCode code, std::string content, const char* field = "",
                      const char* file = "prompt.json") {
  const auto act = [content = std::move(content)] {
    const testing::TempDir directory;
    directory.write("cut.png", detail::read_file(picture, 1 << 20).substr(0, 300));
    (void)read_prompt_file(directory.write("prompt.json", content));
  };
  return {what, code, act, file, "", field};
}

std::string changed(const char* name, const std::function<void(Json&)>& change) {
  Json json = read_json_file(tiny / name);
  change(json);
  return json.dump();
}

}  // namespace

TEST_CASE("invalid tokenizer files are refused") {
  const auto vocab_twice = [](Json& json) { json["model"]["vocab"]["a"] = 0; };
  const auto config = [](const char* what, const char* key, const Json& value) {
    return tokenizer(what, "tokenizer_config.json",
                     changed("tokenizer_config.json", [&](Json& j) { j[key] = value; }), key);
  };
  const testing::Fault faults[] = {
      tokenizer("not JSON", "tokenizer.json", "{", "", invalid_json),
      tokenizer("a duplicate key", "tokenizer.json", R"({"model":1,"model":2})", "model",
                duplicate_key),
      tokenizer("no model", "tokenizer.json", "{}", "model"),
      tokenizer("another kind of model", "tokenizer.json",
                changed("tokenizer.json", [](Json& j) { j["model"]["type"] = "Unigram"; }),
                "model.type"),
      tokenizer("two pieces with one id", "tokenizer.json", changed("tokenizer.json", vocab_twice),
                "model.vocab"),
      tokenizer("a merge of one piece", "tokenizer.json",
                changed("tokenizer.json", [](Json& j) { j["model"]["merges"] = {"x"}; }),
                "model.merges"),
      tokenizer("a pre-tokenizer", "tokenizer.json",
                changed("tokenizer.json",
                        [](Json& j) {
                          j["pre_tokenizer"] = {{"type", "Split"}};
                        }),
                "pre_tokenizer.type"),
      tokenizer("a token that is longer than allowed", "tokenizer.json",
                changed("tokenizer.json",
                        [](Json& j) { j["model"]["vocab"][std::string(5000, 'x')] = 640; }),
                "model.vocab"),
      config("a special token that is a number", "bos_token", 7),
      config("no bos token, but one is added to texts", "bos_token", nullptr),
      tokenizer("a token by an id that is not a number", "tokenizer_config.json",
                R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})", "added_tokens_decoder.x"),
      config("another file as the vocabulary", "vocab_file", "/etc/passwd"),
      config("a GGUF file", "gguf_file", "model.gguf"),
      config("a side that is neither left nor right", "padding_side", "up"),
      tokenizer(
          "more special tokens than allowed", "tokenizer_config.json",
          Json{{"additional_special_tokens", std::vector<std::string>(140'000, "<x>")}}.dump(), "",
          invalid_tokenizer, "*"),
      tokenizer("an empty model", "tokenizer.model", ""),
      tokenizer("a text as a model", "tokenizer.model", "this is not a model"),
      tokenizer("a Git LFS pointer", "tokenizer.model",
                "version https://git-lfs.github.com/spec/v1\n", "", git_lfs_pointer),
  };
  for (const auto& fault : faults) testing::check(fault);
  testing::check({"no tokenizer", not_a_checkpoint,
                  [] {
                    const testing::TempDir directory;
                    (void)Tokenizer::from_pretrained(directory.path());
                  },
                  "*"});
}

TEST_CASE("invalid UTF-8 and ids out of range are refused") {
  const auto loaded = Tokenizer::from_pretrained(tiny);
  const auto processor = Processor::from_pretrained(tiny.string());
  try {
    (void)processor(std::vector<Prompt>{{"a"}, {"b", "  a\xff "}});
    FAIL_CHECK("no error");
  } catch (const Error& error) {
    CHECK(error.code() == invalid_utf8);
    CHECK(error.context().offset == 3u);
    CHECK(error.context().field == "prompts[1][1]");
  }
  const std::int32_t past_end = static_cast<std::int32_t>(loaded.size());
  try {
    (void)loaded.encode("abc\xff");
    FAIL_CHECK("no error");
  } catch (const Error& error) {
    CHECK(error.code() == invalid_utf8);
    CHECK(error.context().offset == 3u);
  }
  for (const std::int32_t id : {-1, past_end, INT32_MAX, INT32_MIN})
    testing::check({"an id out of range", invalid_token_id,
                    [&] { (void)loaded.decode(std::vector{id}); }, "*", "", "", true});
}

TEST_CASE("errors of prompt files name what is wrong in them") {
  const testing::Fault faults[] = {
      prompt("not JSON", invalid_json, "not json"),
      prompt("more after a zero byte", invalid_json, std::string("[\"a\"]\0 more", 11)),
      prompt("more after the end", invalid_json, R"(["a"] ["b"])"),
      prompt("NaN as a name", invalid_json, "{NaN: 1}"),
      prompt("a number", invalid_prompt, "7", "$"),
      prompt("an object", invalid_prompt, R"({"a":"b"})", "$"),
      prompt("an unknown key beside texts", invalid_prompt, R"({"text":"a","b":1})", "$.b"),
      prompt("images for other texts", invalid_prompt, R"({"text":["a"],"images":[]})", "$.images"),
      prompt("a message without content", invalid_prompt, R"([{"role":"user"}])", "$[0]"),
      prompt("an unknown part", invalid_prompt,
             R"({"messages":[{"role":"user","content":[{"type":"video"}]}]})",
             "$.messages[0].content[0].type"),
      prompt("base64 of nothing known", invalid_image,
             R"([{"role":"user","content":[{"type":"image","base64":"!"}]}])",
             "$[0].content[0].base64"),
      prompt("a number as an item", invalid_prompt, R"(["a",7])", "$[1]"),
      prompt("a picture without a name", invalid_prompt, R"([{"image":3}])", "$[0]"),
      prompt("an item of two kinds", invalid_prompt, R"([["a"],[{"image":"a","text":"b"}]])",
             "$[1][0]"),
      prompt("an unknown kind", invalid_prompt, R"([{"video":"a"}])", "$[0]"),
      prompt("rows and items mixed", invalid_prompt, R"([["a"],"b"])", "$[1]"),
      prompt("items and rows mixed", invalid_prompt, R"(["a",["b"]])", "$[1]"),
      prompt("a zero byte in a name", invalid_prompt, R"([{"image":"a\u0000b"}])", "$[0]"),
      prompt("a duplicate key", duplicate_key, R"([{"text":"a","text":"b"}])", "text"),
      prompt("a missing picture", file_not_found, R"([{"image":"none.png"}])", "", "none.png"),
      prompt("a damaged picture", invalid_image, R"([{"image":"cut.png"}])", "", "cut.png"),
  };
  for (const auto& fault : faults) testing::check(fault);
  const auto processor = Processor::from_pretrained(tiny.string());
  testing::check({"an empty batch", empty_prompt, [&] { (void)processor(std::vector<Prompt>{}); }});
  testing::check({"a text above the limit", oversized_file,
                  [] { (void)parse_json("[1]", "text", {.bytes = 2}); }, "text", "", "", true});
  testing::check({"an address of this machine", url_refused,
                  [&] { (void)processor({"http://127.0.0.1/a.png"}); }, "*"});
}

TEST_CASE("chat templates that cannot be rendered say why") {
  const auto rendering = [](const char* what, ErrorCode code, std::string text,
                            bool limit = false) -> testing::Fault {
    const auto act = [text = std::move(text)] {
      const OrderedJson variables{{"messages", {{{"role", "user"}, {"content", "a\nb"}}}}};
      (void)render_chat_template(text, variables);
    };
    return {what, code, act, "", "", "chat_template", limit};
  };
  std::string brackets = "{{ ", doubled = "{% set a = 'aaaaaaaa' %}";
  for (int i = 0; i < 1000; ++i) brackets += '(';
  for (int i = 0; i < 40; ++i) doubled += "{% set a = a + a %}";
  const testing::Fault faults[] = {
      rendering("an open tag", invalid_tokenizer, "{{ messages"),
      rendering("an open block", invalid_tokenizer, "{% if messages %}"),
      rendering("an unknown tag", invalid_tokenizer, "{% switch x %}"),
      rendering("an unknown filter", invalid_tokenizer, "{{ messages | nosuch }}"),
      rendering("what is not supported", invalid_tokenizer, "{% include 'x' %}"),
      rendering("bytes that are not UTF-8", invalid_tokenizer, "a\xff"),
      rendering("undefined text", template_failed, "{{ 'a' + messages[0].name }}"),
      rendering("undefined members", template_failed, "{{ system.text }}"),
      rendering("a number and a text", template_failed, "{{ 1 + 'a' }}"),
      rendering("a key that is quoted", template_failed, "{{ {}[messages[0].content] + 'a' }}"),
      rendering("a refusal", invalid_prompt, "{{ raise_exception('no\n' + messages[0].content) }}"),
      rendering("a long refusal", invalid_prompt, "{{ raise_exception('a' * 100000) }}"),
      rendering("nested brackets", template_limit, brackets, true),
      rendering("a text that doubles", template_limit, doubled, true),
      rendering("a template that is too long", template_limit, std::string(1 << 20, 'a'), true),
  };
  for (const auto& fault : faults) testing::check(fault);
  testing::check({"a number above 64 bits", invalid_tokenizer,
                  [] {
                    (void)render_chat_template("{{ x }}", {{"x", UINT64_MAX}});
                  },
                  "", "", "chat_template"});
  CHECK(render_chat_template("{{ x }}", {{"x", -3}}) == "-3");
  CHECK(render_chat_template("{{ strftime_now('%Y') }}", OrderedJson::object()).size() == 4);
  testing::check({"a message that is not UTF-8", invalid_utf8, [] {
                    (void)render_chat_template("a", {{"messages", {{{"content", "a\xff"}}}}});
                  }});
}
