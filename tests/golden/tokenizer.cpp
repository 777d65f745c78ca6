// Both forms of the tokenizer files give transformers' ids and texts.
#include "support/catch.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer.hpp>

using namespace idefics;

TEST_CASE("ids and texts equal the reference's, from either form of the files") {
  const std::filesystem::path root = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "tokenizer";
  for (const char* name : {"base", "instruct"})
    for (const auto format : {TokenizerFormat::json, TokenizerFormat::sentencepiece}) {
      const auto tokenizer = Tokenizer::from_pretrained(root / name, format);
      std::ifstream lines(root / name / "strings.jsonl");
      std::size_t cases = 0;
      for (std::string line; std::getline(lines, line); ++cases) {
        const Json expected = Json::parse(line);
        const auto text = expected.at("text").get<std::string>();
        const auto ids = expected.at("ids").get<std::vector<std::int32_t>>();
        CAPTURE(name, static_cast<int>(format), text);
        REQUIRE(tokenizer.encode(text) == ids);
        REQUIRE(tokenizer.decode(ids) == expected.at("decoded").get<std::string>());
        REQUIRE(tokenizer.decode(ids, {.skip_special_tokens = true}) ==
                expected.at("decoded_skip").get<std::string>());
      }
      REQUIRE(cases > 0);
    }
}
