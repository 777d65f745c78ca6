// Chat templates against transformers' apply_chat_template; unsupported syntax is refused.
#include <idefics/io/json.hpp>
#include <idefics/text/chat_template.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

const Json& recorded() {
  static const Json data =
      read_json_file(std::filesystem::path(IDEFICS_GOLDEN_DIR) / "chat_templates.json");
  return data;
}

/// The rendered text, or the code of the error.
std::string outcome(const std::string& source, const Json& messages, bool generation) {
  try {
    return render_chat_template(source, {{"messages", messages},
                                         {"add_generation_prompt", generation},
                                         {"bos_token", "<s>"},
                                         {"eos_token", "</s>"}});
  } catch (const Error& error) {
    return std::string(error.code_name());
  }
}

}  // namespace

TEST_CASE("templates render the same texts as in transformers") {
  REQUIRE(recorded()["cases"].size() > 40);
  for (const Json& one : recorded()["cases"]) {
    const auto name = one["template"].get<std::string>();
    INFO(name << " " << one["messages"].dump());
    const Json& result = one["result"];
    CHECK(outcome(recorded()["templates"][name].get<std::string>(), one["messages"],
                  one["add_generation_prompt"].get<bool>()) ==
          (result.is_string() ? result.get<std::string>() : "invalid_prompt"));
  }
}

TEST_CASE("unsupported templates are errors, and no template recurses without bound") {
  const Json messages = recorded()["cases"][0]["messages"];
  for (const Json& source : recorded()["unsupported"]) {
    INFO(source.get<std::string>());
    CHECK(outcome(source.get<std::string>(), messages, true) == "invalid_tokenizer");
  }
  std::string deep, blocks;
  for (int i = 0; i < 100000; ++i) deep += '(', blocks += "{% if true %}";
  CHECK(outcome("{{ " + deep, messages, true) == "invalid_tokenizer");
  CHECK(outcome(blocks, messages, true) == "invalid_tokenizer");
  CHECK(outcome("{{ " + std::string(100000, '-') + "1 }}", messages, true) == "1");
  std::string nots;
  for (int i = 0; i < 100000; ++i) nots += "not ";
  CHECK(outcome("{{ " + nots + "1 }}", messages, true) == "True");
  std::string large = "{% set x = 'aaaaaaaaaaaaaaaa' %}";
  for (int i = 0; i < 40; ++i) large += "{% set x = x + x %}";
  CHECK(outcome(large + "{{ x }}", messages, true) == "invalid_tokenizer");
}
