// The cost of encoding, and what tells a caller about unusual files.
#include "support/catch.hpp"

#include <algorithm>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer.hpp>
#include <idefics/text/tokenizer/word_finder.hpp>

#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

const std::filesystem::path tiny = IDEFICS_SOURCE_DIR "/samples/tiny";

template <class F>
double milliseconds(const F& f) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const std::clock_t begin = std::clock();
    f();
    best = std::min(best, static_cast<double>(std::clock() - begin) * 1000 / CLOCKS_PER_SEC);
  }
  return best;
}

/// The embedded tokenizer with more tokens.
Tokenizer with_tokens(const std::vector<std::string>& contents, bool normalized, bool strip) {
  const testing::TempDir folder;
  Json json = read_json_file(tiny / "tokenizer.json", {.depth = 64});
  for (std::size_t i = 0; i < contents.size(); ++i)
    json["added_tokens"].push_back({{"id", 643 + i},
                                    {"content", contents[i]},
                                    {"single_word", false},
                                    {"lstrip", strip},
                                    {"rstrip", strip},
                                    {"normalized", normalized},
                                    {"special", false}});
  folder.write("tokenizer.json", json.dump());
  return Tokenizer::from_pretrained(folder.path());
}

}  // namespace

TEST_CASE("10 KB against 4,000 long tokens take less than 50 ms, whatever the text") {
  std::vector<std::string> contents;
  for (int i = 0; i < 4000; ++i)  // alike but for their ends
    contents.push_back(std::string(1000, 'a') + std::to_string(i));
  for (const bool normalized : {false, true}) {
    const Tokenizer tokenizer = with_tokens(contents, normalized, true);
    std::string almost;
    while (almost.size() < 10'000) almost += std::string(1000, 'a') + "x";
    for (const std::string& text :
         {std::string(10'000, 'a'), std::string(10'000, ' '), almost, contents[3999] + almost}) {
      CAPTURE(normalized, text.substr(0, 10));
      CHECK(milliseconds([&] { (void)tokenizer.encode(text); }) < 50);
    }
    CHECK(tokenizer.encode(contents[17]) == std::vector<std::int32_t>{643 + 17});
  }
}

TEST_CASE("white space around tokens is measured once") {
  const Tokenizer tokenizer = with_tokens({"<t>"}, false, true);
  std::string text;
  for (int i = 0; i < 20; ++i) text.append(50'000, ' ').append(i % 2 == 0 ? "<t>" : "<u>");
  CHECK(milliseconds([&] { (void)tokenizer.encode(text); }) < 5000);
  CHECK(tokenizer.encode("a \t<t>\n<t> b") ==
        std::vector<std::int32_t>{tokenizer.encode("a")[0], 643, 643, tokenizer.encode("b")[0]});
}

TEST_CASE("white space of every kind is stripped around tokens, and nothing else is") {
  const Tokenizer tokenizer = with_tokens({"<t>"}, false, true);
  const auto stripped = [&](const std::string& space) {
    return tokenizer.encode("a" + space + "<t>" + space + "b") == tokenizer.encode("a<t>b");
  };
  for (const char* space :
       {"\t", "\n", "\r", " ", "\u0085", "\u00a0", "\u1680", "\u2000", "\u2005", "\u200a", "\u2028",
        "\u2029", "\u202f", "\u205f", "\u3000", " \u2003\t"}) {
    INFO(space);
    CHECK(stripped(space));
  }
  for (const char* other : {"\x08", "\x0e", "\u0084", "\u1fff", "\u200b", "\u3001"}) {
    INFO(other);
    CHECK_FALSE(stripped(other));
  }
  CHECK(tokenizer.encode(" \u3000<t> ") == tokenizer.encode("<t>"));
}

TEST_CASE("words are found as by trying each at each position") {
  std::mt19937 random(5);
  auto text = [&random](std::size_t most) {
    std::string result(1 + random() % most, 'a');
    for (char& c : result) c = static_cast<char>('a' + random() % 3);
    return result;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> words;
    for (auto left = random() % 12; left > 0; --left) words.push_back(text(5));
    const detail::WordFinder finder(words);
    const std::string in = text(60);
    std::size_t at = 0;
    for (const auto& [begin, end, word] : finder.find(in)) {
      for (; at < begin; ++at)
        for (const std::string& w : words) REQUIRE_FALSE(in.substr(at).starts_with(w));
      REQUIRE(in.substr(begin, end - begin) == words[word]);
      for (const std::string& w : words)
        REQUIRE_FALSE((w.size() > end - begin && in.substr(at).starts_with(w)));
      at = end;
    }
    for (; at < in.size(); ++at)
      for (const std::string& w : words) REQUIRE_FALSE(in.substr(at).starts_with(w));
  }
}

TEST_CASE("unusual settings are in the tokenizer's warnings, with file and key") {
  const testing::TempDir folder;
  std::filesystem::copy_file(tiny / "tokenizer.json", folder.path() / "tokenizer.json");
  CHECK(Tokenizer::from_pretrained(folder.path()).warnings().empty());
  folder.write("tokenizer_config.json", R"({
      "tokenizer_class": "OtherTokenizer", "model_max_length": "long",
      "added_tokens_decoder": {"9000": {"content": "<far>", "special": true}}})");
  const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
  std::vector<std::string> fields;
  for (const Warning& warning : tokenizer.warnings()) {
    CHECK(warning.file.ends_with("tokenizer_config.json"));
    CHECK(warning.text().ends_with("[field: " + warning.field + "]"));
    fields.push_back(warning.field);
  }
  std::ranges::sort(fields);
  CHECK(fields ==
        std::vector<std::string>{"added_tokens_decoder", "model_max_length", "tokenizer_class"});
  CHECK(tokenizer.token_to_id("<far>") == 643);
}
