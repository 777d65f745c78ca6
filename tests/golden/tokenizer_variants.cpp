// Random variants of the embedded tokenizer's files load, encode and decode as in the reference, or
// are refused where it refuses them. IDEFICS_TOKENIZER_VARIANTS names a file of others.
#include "support/catch.hpp"

#include <cstdlib>
#include <optional>
#include <string>

#include <idefics/text/tokenizer.hpp>

#include "support/tokenizer_variants.hpp"
#include "support/variants.hpp"

using namespace idefics;

TEST_CASE("variants of the tokenizer's files are what the reference makes of them") {
  const char* other = std::getenv("IDEFICS_TOKENIZER_VARIANTS");
  const std::string path = other != nullptr ? other : IDEFICS_GOLDEN_DIR "/tokenizer/variants.json";
  const Json about = read_json_file(path, {.bytes = 1u << 30});
  int loaded = 0, refused = 0;
  for (const Json& variant : about["variants"]) {
    const testing::TempDir folder;
    testing::write_variant(folder, variant["form"], variant["files"],
                           {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"});
    INFO("variant " << loaded + refused << ", " << variant["form"] << ": " << variant["files"]);
    std::optional<Tokenizer> tokenizer;
    try {
      tokenizer = Tokenizer::from_pretrained(folder.path());
    } catch (const Error& error) {
      INFO(error.what());
      CHECK(variant["seen"].is_null());
      ++refused;
      continue;
    }
    ++loaded;
    REQUIRE(!variant["seen"].is_null());
    CHECK(testing::difference(*tokenizer, variant["seen"]) == "");
  }
  CHECK(refused * 8 < loaded);
  CHECK(loaded > 100);
}
