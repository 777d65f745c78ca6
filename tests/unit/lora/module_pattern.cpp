// Expressions of rank_pattern and alpha_pattern match as re.match(rf"(.*\.)?({key})$", path) does.
#include <string>
#include <vector>

#include <idefics/lora/lora_config.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

TEST_CASE("expressions match the paths that Python's match") {
  const std::vector<std::string> paths{"model.layers.0.self_attn.q_proj",
                                       "model.layers.1.self_attn.k_proj",
                                       "model.layers.10.mlp.gate_proj",
                                       "model.layers.12.cross_attn.q_proj",
                                       "q_proj",
                                       "lm_head"};
  struct Row {
    const char* expression;
    const char* matched;  // by path, as Python 3.11 finds it
  };
  const Row rows[] = {{"q_proj", "100110"},
                      {"q_pro.", "100110"},
                      {"proj", "000000"},
                      {".q_proj", "000000"},
                      {"layers.1.self_attn.k_proj", "010000"},
                      {"layers.1..mlp.gate_proj", "001000"},
                      {"model.layers.10.mlp.gate_proj.", "000000"},
                      {"^model.*", "111100"},
                      {"^q_proj", "000010"},
                      {"layers\\.\\d+\\.self_attn", "000000"},
                      {"layers\\.\\d+\\.self_attn\\..*", "110000"},
                      {"(q|k)_proj", "110110"},
                      {"self_attn\\.(?:q|k)_proj", "110000"},
                      {"model\\.layers\\.[01]\\..*", "110000"},
                      {"layers\\.(1|10)\\..*?_proj", "011000"},
                      {"layers\\.\\d{2}\\..*", "001100"},
                      {"[^.]+_proj", "111110"},
                      {"layers\\.[\\w.]+", "111100"},
                      {"mlp\\.gate_proj|lm_head", "001001"},
                      {"layers.\\d+\\.(mlp|cross_attn)\\.\\w+_proj", "001100"}};
  for (const auto& [expression, matched] : rows) {
    const auto pattern = detail::ModulePattern::of(expression);
    REQUIRE(pattern);
    for (std::size_t i = 0; i < paths.size(); ++i) {
      INFO(expression << ", " << paths[i]);
      CHECK(pattern->matches(paths[i]) == (matched[i] == '1'));
    }
  }
  for (const char* other : {"(?!mlp).*", "(a)\\1", "\\bq_proj", "a{1,300}", "a{9}b{9}", "(ab){9}",
                            "a*{9}", "(", "[a", "[a[b]]", "a**", "\xc3\xa9", "a\\"}) {
    INFO(other);
    CHECK_FALSE(detail::ModulePattern::of(other));
  }
  CHECK_FALSE(detail::ModulePattern::of(std::string(1000, '(')));
}

TEST_CASE("the first pattern of the file that matches counts") {
  const testing::TempDir folder;
  const auto read = [&](const char* patterns) {
    return LoraConfig::from_file(folder.write(
        "adapter_config.json",
        std::string(R"({"peft_type": "LORA", "r": 8, "rank_pattern": )") + patterns + "}"));
  };
  const char *own = R"({"q_proj": 2, "layers\\.0.*": 4})",
             *other = R"({"layers\\.0.*": 4, "q_proj": 2})";
  CHECK(read(own).rank("model.layers.0.self_attn.q_proj") == 2);
  CHECK(read(other).rank("model.layers.0.self_attn.q_proj") == 4);
  CHECK(read(other).rank("model.layers.1.self_attn.k_proj") == 8);
}
