// 200,000 generated strings are encoded and decoded with both file forms and compared with hashes
// of the reference's ids and texts; also with LLaMA's own vocabulary, if support/test_data.hpp
// finds llama-tokenizer.model.
#include <cstdio>

#include <idefics/core/threads.hpp>
#include <idefics/io/json.hpp>
#include <idefics/text/tokenizer.hpp>

#include "support/catch.hpp"
#include "support/hash.hpp"
#include "support/temp_dir.hpp"
#include "support/test_data.hpp"

using namespace idefics;

namespace {

const std::filesystem::path data = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "tokenizer";

/// Vigna's splitmix64, as in tests/reference/common.py.
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t state) : state_(state) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

void append_utf8(std::string& text, std::uint32_t c) {
  auto byte = [&text](std::uint32_t value) { text.push_back(static_cast<char>(value)); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) return byte(0xc0 | c >> 6), byte(0x80 | (c & 0x3f));
  if (c < 0x10000)
    return byte(0xe0 | c >> 12), byte(0x80 | (c >> 6 & 0x3f)), byte(0x80 | (c & 0x3f));
  byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 0x3f)), byte(0x80 | (c >> 6 & 0x3f)),
      byte(0x80 | (c & 0x3f));
}

/// String `index` of the recorded generator; its seed, ranges and fragments are in the file.
std::string generated(const Json& about, std::uint64_t index) {
  SplitMix64 random(SplitMix64(about.at("seed").get<std::uint64_t>() + index).next());
  const Json &ranges = about.at("ranges"), &fragments = about.at("fragments");
  std::string text;
  for (auto left = random.next() % about.at("max_pieces").get<std::uint64_t>(); left > 0; --left) {
    const std::uint64_t choice = random.next();
    if ((choice & 1) != 0) {
      const Json& range = ranges[(choice >> 8) % ranges.size()];
      const auto low = range[0].get<std::uint64_t>(), high = range[1].get<std::uint64_t>();
      append_utf8(text, static_cast<std::uint32_t>(low + random.next() % (high - low + 1)));
    } else {
      text += fragments[(choice >> 8) % fragments.size()].get_ref<const std::string&>();
    }
  }
  return text;
}

struct ChunkBytes {
  std::vector<std::byte> ids, text, plain;
};

void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

ChunkBytes run_chunk(const Tokenizer& tokenizer, const Json& about, std::uint64_t first,
                     std::uint64_t count) {
  constexpr std::byte end{0xff};
  ChunkBytes chunk;
  for (std::uint64_t i = first; i < first + count; ++i) {
    auto ids = tokenizer.encode(generated(about, i));
    const auto text = tokenizer.decode(ids),
               plain = tokenizer.decode(ids, {.skip_special_tokens = true});
    ids.push_back(-1);
    append(chunk.ids, std::as_bytes(std::span(ids)));
    append(chunk.text, std::as_bytes(std::span(text))), chunk.text.push_back(end);
    append(chunk.plain, std::as_bytes(std::span(plain))), chunk.plain.push_back(end);
  }
  return chunk;
}

/// The number of chunks in which a hash differs.
int differing_chunks(const Tokenizer& tokenizer, const Json& about) {
  const auto size = about.at("chunk").get<std::uint64_t>(),
             chunks = about.at("count").get<std::uint64_t>() / size;
  std::vector<char> differs(chunks, 0);
  parallel_for(static_cast<std::int64_t>(chunks), [&](std::int64_t c) {
    const auto at = static_cast<std::size_t>(c);
    const ChunkBytes bytes = run_chunk(tokenizer, about, at * size, size);
    const Json& recorded = about.at("chunks")[at];
    auto same = [](const std::vector<std::byte>& b, const Json& hash) {
      char hex[17];
      std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(testing::fnv1a(b)));
      return hash.get<std::string>() == hex;
    };
    differs[at] = !(same(bytes.ids, recorded[0]) && same(bytes.text, recorded[1]) &&
                    same(bytes.plain, recorded[2]));
  });
  return static_cast<int>(std::ranges::count(differs, 1));
}

}  // namespace

TEST_CASE("200,000 strings have the reference's ids and texts, from both file forms") {
  for (const char* name : {"base", "instruct"}) {
    const Json about = read_json_file(data / name / "hashes.json");
    REQUIRE(about.at("count").get<int>() == 200000);
    for (const auto format : {TokenizerFormat::json, TokenizerFormat::sentencepiece}) {
      INFO(name);
      CHECK(differing_chunks(Tokenizer::from_pretrained(data / name, format), about) == 0);
    }
  }
}

TEST_CASE("200,000 strings have the reference's ids and texts with LLaMA's vocabulary") {
  const auto model = testing::test_data() / "llama-tokenizer.model";
  if (!std::filesystem::exists(model)) {
    std::printf("llama-tokenizer.model not found: not compared\n");
    return;
  }
  // with the added tokens of the small tokenizer, moved to ids 32000 and 32001
  const testing::TempDir folder;
  std::filesystem::copy_file(model, folder.path() / "tokenizer.model");
  folder.write("tokenizer_config.json", R"({"added_tokens_decoder": {
      "0": {"content": "<unk>", "special": true, "normalized": false},
      "1": {"content": "<s>", "special": true, "normalized": false},
      "2": {"content": "</s>", "special": true, "normalized": false},
      "32000": {"content": "<fake_token_around_image>", "special": true, "normalized": false},
      "32001": {"content": "<image>", "special": true, "normalized": false}}})");
  const Json about = read_json_file(data / "hashes_llama.json");
  REQUIRE(about.at("count").get<int>() == 200000);
  CHECK(differing_chunks(Tokenizer::from_pretrained(folder.path(), TokenizerFormat::sentencepiece),
                         about) == 0);
  const auto json = testing::test_data() / "llama-tokenizer.json";  // as transformers saves it
  if (!std::filesystem::exists(json)) return;
  std::filesystem::copy_file(json, folder.path() / "tokenizer.json");
  CHECK(differing_chunks(Tokenizer::from_pretrained(folder.path(), TokenizerFormat::json), about) ==
        0);
}
