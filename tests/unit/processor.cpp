// Pictures of a prompt from every source: pixels, a file, a URL, a data: URL.
#include <cstring>

#include <idefics/prompt_file.hpp>

#include "support/catch.hpp"
#include "support/http_server.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

const std::filesystem::path samples = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples";
const auto picture_file = samples / "pictures" / "pink-boat.png";

std::string picture_bytes() { return detail::read_text_file(picture_file, 1 << 20); }

testing::Reply site(const std::string& target, const std::string&) {
  if (target == "/boat.png") return testing::answer("200 OK", picture_bytes());
  if (target == "/moved") return testing::answer("302 Found", "", "Location: /boat.png\r\n");
  return testing::answer("200 OK", "<html>not a picture</html>");
}

/// Options that permit requests to the test's own server.
ProcessorOptions local() {
  for (const char* name :
       {"http_proxy", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"})
    ::unsetenv(name);
  return {.fetch = [](const std::string& url) { return fetch_url(url, {.allow_private = true}); }};
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

std::string refusal(const Processor& processor, const Prompt& prompt,
                    const ProcessorOptions& options) {
  try {
    processor(prompt, options);
  } catch (const Error& error) {
    return std::string(error.code_name());
  }
  return "accepted";
}

}  // namespace

TEST_CASE("one picture gives the same tensors from a file, pixels, a URL, bytes in a data: URL") {
  const testing::HttpServer server(site);
  const auto processor = Processor::from_pretrained((samples / "tiny").string());
  const Image file = Image::open(picture_file);
  const Inputs wanted = processor({file, "What is this?"});
  CHECK(wanted.image_attention_mask.dtype() == DType::i64);

  std::string escaped = "data:image/png,";
  for (const char c : picture_bytes()) {
    const auto byte = static_cast<unsigned char>(c);
    escaped.append({'%', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]});
  }
  for (const PromptItem& item :
       {PromptItem(Image::from_pixels(file.width, file.height, 3, file.rgb)),
        PromptItem(server.root() + "/boat.png"), PromptItem("  " + server.root() + "/moved "),
        PromptItem::image_url(server.root() + "/boat.png"), PromptItem::image_url(escaped)}) {
    const Inputs in = processor({item, "What is this?"}, local());
    CHECK(same(in.input_ids, wanted.input_ids));
    CHECK(same(in.pixel_values, wanted.pixel_values));
    CHECK(same(in.image_attention_mask, wanted.image_attention_mask));
  }
}

TEST_CASE("a picture at a URL is turned upright, and loses its transparency") {
  const auto processor = Processor::from_pretrained((samples / "tiny").string());
  const auto corpus = std::filesystem::path(IDEFICS_SOURCE_DIR) / "tests/fuzz/corpus/image";
  for (const char* name : {"jpeg_form_exif7", "png_rgba"}) {
    INFO(name);
    const std::string bytes = detail::read_text_file(corpus / name, 1 << 16);
    const auto encoded = std::as_bytes(std::span(bytes));
    const auto values = [&](const PromptItem& item, const ProcessorOptions& options = {}) {
      return processor({item}, options).pixel_values;
    };
    ProcessorOptions fetching{.fetch = [&](const std::string&) {
      return std::vector<std::byte>(encoded.begin(), encoded.end());
    }};
    const auto url = PromptItem::image_url("https://example.org/a");
    const Tensor loaded = values(Image::decode(encoded, "", ImageOptions::load_image())),
                 file = values(Image::decode(encoded));
    CHECK(same(values(url, fetching), loaded));
    CHECK(!same(loaded, file));
    fetching.image_options = {};
    CHECK(same(values(url, fetching), file));
  }
}

TEST_CASE("strings that are not URLs, or are marked as text, stay text") {
  const testing::HttpServer server(site);
  const auto processor = Processor::from_pretrained((samples / "tiny").string());
  const std::string url = server.root() + "/boat.png";
  for (const PromptItem& item : {PromptItem::text(url), PromptItem("see " + url),
                                 PromptItem("a://"), PromptItem("data:image/png;base64,iVBORw0K")})
    CHECK(processor({item}, local()).image_attention_mask.dtype() == DType::boolean);
  CHECK(server.requests() == 0);
}

TEST_CASE("URLs without a picture are typed errors, and loopback is refused by default") {
  const testing::HttpServer server(site);
  const auto processor = Processor::from_pretrained((samples / "tiny").string());
  CHECK(refusal(processor, {server.root() + "/page"}, local()) == "invalid_image");
  CHECK(refusal(processor, {"ftp://127.0.0.1/boat.png"}, local()) == "url_refused");
  CHECK(refusal(processor, {PromptItem::image_url("boat.png")}, local()) == "url_refused");
  CHECK(refusal(processor, {server.root() + "/boat.png"}, {}) == "url_refused");
}

TEST_CASE("a prompt file names pictures by path, URL or data: URL") {
  const testing::HttpServer server(site);
  const testing::TempDir directory;
  directory.write("boat.png", picture_bytes());
  const auto file =
      directory.write("prompt.json", R"([[{"image": "boat.png"}], [{"image": ")" + server.root() +
                                         R"(/boat.png"}], [{"image": "data:image/gif,not"}]])");
  const auto batch = read_prompt_file(file);
  REQUIRE(batch.size() == 3);
  const auto processor = Processor::from_pretrained((samples / "tiny").string());
  CHECK(same(processor(batch[0]).pixel_values, processor(batch[1], local()).pixel_values));
  CHECK(refusal(processor, batch[2], local()) == "invalid_image");
}
