// Every key that the reference asks a checkpoint's files for has a row in docs/checkpoint_keys.md,
// and every value that was tried has the effect that the row promises:
//
//   followed  what the reference makes of it, or an error where the reference fails
//   refused   the same, or an error that names the key
//   ignored   what the reference makes of it; where it fails, nothing
//
// The page's departures are not compared.
#include "support/catch.hpp"

#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>

#include <idefics/checkpoint_keys.hpp>
#include <idefics/processor.hpp>

#include "support/tokenizer_variants.hpp"
#include "support/variants.hpp"

using namespace idefics;

namespace {

using Rows = std::map<std::string, std::map<std::string, std::string>>;  // status by file and key

/// The rows of the page: "| `key`, `other` | status | … |" under "## file".
Rows documented() {
  Rows rows;
  std::string file;
  std::ifstream page(IDEFICS_SOURCE_DIR "/docs/checkpoint_keys.md");
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("## ")) file = line.substr(3);
    if (file == "Departures" || !line.starts_with("| `")) continue;
    const auto end = line.find(" | "), next = line.find(" | ", end + 3);
    const std::string keys = line.substr(2, end - 2), status = line.substr(end + 3, next - end - 3);
    for (std::size_t at = 0; (at = keys.find('`', at)) != std::string::npos;) {
      const auto close = keys.find('`', at + 1);
      const bool fresh = rows[file].emplace(keys.substr(at + 1, close - at - 1), status).second;
      if (!fresh) FAIL_CHECK("two rows for " << keys.substr(at));
      at = close + 1;
    }
  }
  return rows;
}

/// The values that the page lists as departures: "| `file` | `key` | `value`, … |".
bool is_departure(const std::string& file, const std::string& key, const Json& value) {
  std::ifstream page(IDEFICS_SOURCE_DIR "/docs/checkpoint_keys.md");
  for (std::string line; std::getline(page, line);)
    if (line.starts_with("| `" + file + "` | `" + key + "` |") &&
        line.find('`' + value.dump() + '`') != std::string::npos)
      return true;
  return false;
}

/// What the test sees of an object, or none and the error.
struct Outcome {
  std::optional<std::string> difference;  // "" for the reference's result
  std::string field{};                    // of the error
};

template <class F>
Outcome outcome(const F& load) {
  try {
    return {.difference = load()};
  } catch (const Error& error) {
    return {.difference = std::nullopt, .field = error.context().field};
  }
}

std::string difference(const Processor& processor, const Json& seen) {
  std::vector<std::uint8_t> rgb;
  for (int i = 0; i < 24; ++i)
    for (const int value : {i * 9 % 256, i * 40 % 256, 255 - i * 10})
      rgb.push_back(static_cast<std::uint8_t>(value));
  const Image picture = Image::from_pixels(6, 4, 3, rgb);
  const Inputs in = processor(std::vector<Prompt>{{"User: a", picture, "cat"}, {"b"}});
  auto rows = [](const Tensor& tensor) {
    Json all = Json::array();
    const auto values = tensor.as<std::int64_t>();
    const auto width = static_cast<std::size_t>(tensor.shape()[1]);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i % width == 0) all.push_back(Json::array());
      all.back().push_back(values[i]);
    }
    return all;
  };
  Json shape = Json::array(), pixels = Json::array();
  for (int i = 0; i < 5; ++i) shape.push_back(in.pixel_values.shape()[i]);
  const auto area =
      static_cast<std::size_t>(in.pixel_values.shape()[3] * in.pixel_values.shape()[4]);
  const auto side = static_cast<std::size_t>(in.pixel_values.shape()[4]);
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t x = 0; x < std::min<std::size_t>(2, side); ++x)
      pixels.push_back(static_cast<double>(in.pixel_values.as<float>()[c * area + x]));
  const Json ours{{"ids", rows(in.input_ids)},
                  {"mask", rows(in.attention_mask)},
                  {"shape", shape},
                  {"pixels", pixels}};
  return seen.is_null() || ours == seen ? "" : ours.dump() + " is not " + seen.dump();
}

/// The files in which `key` has this value, as tests/reference/make_checkpoint_keys.py has them.
Json changes(const std::string& file, const std::string& key, const Json& value) {
  const Json set{{"op", "add"}, {"path", "/" + key}, {"value", value}};
  Json files{{file, Json::array({set})}};
  const Json small{{"op", "add"}, {"path", "/image_size"}, {"value", 4}};
  if (file == "special_tokens_map.json")  // where it counts
    files["tokenizer_config.json"] =
        Json::parse(R"([{"op": "remove", "path": "/added_tokens_decoder"}])");
  if (file == "processor_config.json") files[file] = Json{{key, value}};
  if (file == "processor_config.json") files["preprocessor_config.json"] = Json::array({small});
  if (file == "preprocessor_config.json") files[file] = Json::array({small, set});
  return files;
}

/// Whether an outcome is what the status promises.
bool as_promised(const std::string& status, const std::string& key, const Outcome& ours,
                 const Json& theirs) {
  if (ours.difference && !theirs.is_null()) return ours.difference->empty();
  if (!ours.difference && theirs.is_null()) return true;
  if (!ours.difference) return status == "refused" && ours.field.starts_with(key);
  return status == "ignored";
}

}  // namespace

TEST_CASE("every key that the reference asks for has a row, and every row is known") {
  const Json about = read_json_file(IDEFICS_GOLDEN_DIR "/checkpoint_keys.json", {.depth = 64});
  const Rows rows = documented();
  for (const auto& [file, keys] : about["keys"].items())
    for (const Json& key : keys) {
      INFO(file << ": " << key);
      CHECK((rows.contains(file) && rows.at(file).contains(key.get<std::string>())));
    }
  for (const auto& [file, keys] : rows)
    for (const auto& [key, status] : keys) {
      INFO(file << ": " << key << ", " << status);
      CHECK((status == "followed" || status == "refused" || status == "ignored"));
    }
  for (const detail::KnownKeys& known : detail::known_keys) {
    INFO(known.file);
    std::set<std::string> listed(known.keys.begin(), known.keys.end()), wanted;
    for (const auto& [key, status] : rows.at(known.file)) wanted.insert(key);
    CHECK(listed == wanted);
  }
}

TEST_CASE("every value of every key has the effect that its row promises") {
  const Json about = read_json_file(IDEFICS_GOLDEN_DIR "/checkpoint_keys.json", {.depth = 64});
  const Rows rows = documented();
  std::map<std::string, int> compared;
  for (const Json& variant : about["variants"]) {
    const std::string file = variant[0], key = variant[1], status = rows.at(file).at(key);
    if (is_departure(file, key, variant[2])) continue;
    INFO(file << ", " << key << ": " << variant[2] << ", " << variant[3]);
    const testing::TempDir folder;
    testing::write_variant(folder, variant[3], changes(file, key, variant[2]),
                           {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"});
    if (!variant[4].is_null()) {
      const Json& seen = about["seen"][variant[4].get<std::size_t>()];
      const Outcome ours = outcome(
          [&] { return testing::difference(Tokenizer::from_pretrained(folder.path()), seen); });
      INFO("tokenizer: " << ours.difference.value_or("refused: " + ours.field));
      CHECK(as_promised(status, key, ours, seen));
    }
    const Json& seen = about["seen"][variant[5].get<std::size_t>()];
    const Outcome ours = outcome([&] {
      const Tokenizer tokenizer = Tokenizer::from_pretrained(folder.path());
      const bool whole = variant[4].is_null();
      return difference(whole ? Processor::from_pretrained(folder.path().string())
                              : Processor(tokenizer, ImageProcessor{.image_size = 4}),
                        seen);
    });
    INFO("processor: " << ours.difference.value_or("refused: " + ours.field));
    CHECK(as_promised(status, key, ours, seen));
    ++compared[file];
  }
  CHECK(compared["tokenizer_config.json"] > 900);
}
