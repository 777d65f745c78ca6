// The costliest input of each parser within its limits: how long it takes and how much memory. Prints
// the rows of the table in docs/security.md, and fails above three times what the table says.
#include <cstdio>
#include <ctime>

#include <idefics/generation/options/read_config.hpp>
#include <idefics/image/decode.hpp>
#include <idefics/image/processor.hpp>
#include <idefics/io/checkpoint.hpp>
#include <idefics/io/data_url.hpp>
#include <idefics/io/torch_file.hpp>
#include <idefics/model/idefics.hpp>
#include <idefics/plan/require_fit.hpp>
#include <idefics/prompt_file.hpp>

#include "support/catch.hpp"
#include "support/counting_malloc.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

std::string repeated(const std::string& part, std::size_t bytes) {
  std::string text;
  text.reserve(bytes + part.size());
  while (text.size() + part.size() < bytes) text += part;
  return text;
}
/// A list of as many of these elements as fit into `bytes`.
std::string list_of(const std::string& element, std::size_t bytes) {
  return "[" + repeated(element + ",", bytes - element.size() - 2) + element + "]";
}

/// Runs `act`, which may throw an Error, and checks its CPU time and peak memory.
template <class Act>
void measure(const char* what, double seconds, double mebibytes, const Act& act) {
  std::string result = "accepted";
  const heap::Peak peak;
  const std::clock_t begin = std::clock();
  try {
    act();
  } catch (const Error& error) {
    result = error.code_name();
  }
  const double s = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  const double m = static_cast<double>(peak.bytes()) / (1 << 20);
  std::printf("| %s | %.2f s | %.0f MiB | %s |\n", what, s, m, result.c_str());
  CAPTURE(what, s, m);
  CHECK(s < 3 * seconds + 0.1);
  CHECK(m < 1.5 * mebibytes + 1);
}

constexpr std::size_t MiB = 1 << 20;

/// `entries` of a safetensors header with names of `width` characters.
std::string safetensors_with(std::size_t entries, std::size_t width) {
  std::string header = "{";
  for (std::size_t i = 0; i < entries; ++i) {
    std::string name = std::to_string(i);
    name.insert(0, width - std::min(width, name.size()), 'x');
    header.append(i == 0 ? "\"" : ",\"").append(name);
    header += R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  header += '}';
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header;
}

}  // namespace

TEST_CASE("JSON at its limits") {
  const auto parse = [](const std::string& text) { (void)parse_json(text, "f"); };
  const std::string numbers = list_of("0", 16 * MiB - 1), objects = list_of("{}", 16 * MiB - 1),
                    infinities = list_of("NaN", 16 * MiB - 1);
  measure("JSON, 16 MiB of numbers", 0.7, 260, [&] { parse(numbers); });
  measure("JSON, 16 MiB of objects", 0.8, 520, [&] { parse(objects); });
  measure("JSON, 16 MiB of NaN", 0.4, 220, [&] { parse(infinities); });
  std::string names = "{";
  for (int i = 0; names.size() < 15 * MiB; ++i)
    names.append(i == 0 ? "\"" : ",\"").append(std::to_string(i)).append("\":0");
  names += '}';
  measure("JSON, 15 MiB of names", 0.6, 140, [&] { parse(names); });
}

TEST_CASE("headers of weights at their limits") {
  const std::string many = safetensors_with(1 << 18, 300), one_more = safetensors_with(1 << 18, 1);
  const auto parse = [](const std::string& file) {
    (void)detail::parse_safetensors_header(std::as_bytes(std::span(file)), "f");
  };
  measure("safetensors, 262,144 entries in 88 MiB", 0.6, 125, [&] { parse(many); });
  measure("safetensors, 262,144 short entries", 0.2, 55, [&] { parse(one_more); });
  std::string index = R"({"weight_map":{"a":"1.safetensors")";
  for (int i = 0; index.size() < 63 * MiB; ++i)
    index.append(",\"").append(std::to_string(i)).append(R"(":"1.safetensors")");
  index += "}}";
  measure("index of shards, 63 MiB", 2.5, 580, [&] { (void)detail::parse_index(index, "f"); });
}

TEST_CASE("configurations at their limits") {
  const testing::TempDir directory;
  std::string config = detail::read_file(
      std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples/tiny/config.json", MiB);
  const auto json = [&] {
    Json value = parse_json(config, "config.json");
    value["num_hidden_layers"] = 4096;
    value["vision_config"]["num_hidden_layers"] = 4096;
    return value;
  }();
  measure("config.json, 4096 layers twice, with the plan of every form", 0.2, 70, [&] {
    const auto read = Config::from_json(json, "config.json");
    WeightTable table;
    const Idefics layers(table, read);
    for (const auto& form : weight_forms())
      (void)plan_memory(read, table.requests(), nullptr, form.options).total_bytes();
  });
  const std::string words = R"({"bad_words_ids":)" + list_of("[1]", 15 * MiB) + "}";
  measure("generation_config.json, 15 MiB of bad words", 0.9, 440,
          [&] { (void)generation_config_from_json(parse_json(words, "f"), "f"); });
  const std::string prompt = list_of(R"("")", 16 * MiB - 1);
  const auto path = directory.write("prompt.json", prompt);
  measure("prompt file, 16 MiB of items", 1.6, 1320, [&] { (void)read_prompt_file(path); });
}

TEST_CASE("a data: URL at its limit") {
  const std::string url = "data:image/png;base64," + repeated("AAAA", 85 * MiB);
  measure("data: URL of a picture of 64 MiB", 0.3, 65,
          [&] { (void)decode_data_url(url, 64 * MiB); });
}
