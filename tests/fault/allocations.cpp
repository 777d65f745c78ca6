// Makes every allocation of a loader fail, first alone, then together with all that follow: each
// failure is an exception, nothing leaks, and the same call succeeds afterwards. Not tested with
// lossless WebP, where libwebp 1.2.4 crashes.
#include "support/counting_malloc.hpp"

#include <idefics/chat.hpp>
#include <idefics/generation/options/read_config.hpp>
#include <idefics/image/decode.hpp>
#include <idefics/io/json.hpp>
#include <idefics/io/safetensors.hpp>
#include <idefics/io/torch_file.hpp>
#include <idefics/lora/lora_config.hpp>
#include <idefics/model/config.hpp>
#include <idefics/prompt_file.hpp>
#include <idefics/text/tokenizer.hpp>
#include <idefics/text/tokenizer/sentencepiece_model.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace idefics;

namespace {

const std::filesystem::path corpus =
    std::filesystem::path(IDEFICS_SOURCE_DIR) / "tests/fuzz/corpus";

/// Makes the n-th allocation of `load` fail, for every n until none fails.
template <class Load>
void fail_every_allocation(const char* what, const Load& load) {
  load();  // what is allocated once per program stays
  for (const bool once : {true, false}) {
    std::int64_t failures = 0, leaks = 0, n = 0;
    for (bool failed = true; failed; ++n) {
      failed = false;
      const heap::Peak memory;
      heap::refuse_once = once;
      heap::refuse_at = heap::count.load() + n;
      try {
        load();
        // the load may succeed although an allocation failed: it was optional
        failed = heap::count.load() > heap::refuse_at.load();
      } catch (const std::bad_alloc&) {
        failed = true;
      } catch (const Error&) {
        failed = true;
      }
      heap::refuse_at = -1;
      failures += failed;
      leaks += memory.left() != 0;
    }
    INFO(what << ": " << failures << " allocations");
    CHECK(failures > 0);
    CHECK(leaks == 0);
  }
  load();
}

}  // namespace

TEST_CASE("files of a checkpoint: every failed allocation is an exception") {
  fail_every_allocation("safetensors",
                        [&] { (void)SafetensorsFile::open(corpus / "safetensors/two_tensors"); });
  fail_every_allocation("pytorch_model.bin",
                        [&] { (void)detail::open_torch_file(corpus / "torch_file/good"); });
  fail_every_allocation("JSON that is built", [&] {
    detail::JsonDocument document;
    (*document)["object"]["list"].push_back("a text that does not fit into a short string");
  });
  fail_every_allocation("tokenizer.model", [&] {
    (void)detail::parse_sentencepiece_model(
        detail::read_text_file(corpus / "sentencepiece_model/small", 4096), "");
  });
}

TEST_CASE("configurations: every failed allocation is an exception") {
  const testing::TempDir directory;
  const auto adapter = directory.path() / "adapter_config.json";
  AtomicFile file(adapter);
  file.write(R"({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "v_proj"],
    "rank_pattern": {"q_proj": 2}, "modules_to_save": ["lm_head"]})");
  file.commit();
  fail_every_allocation("config.json", [] {
    const auto json = detail::parse_document(
        R"({"model_type": "idefics", "eos_token_id": [2, 3], "bad_words_ids": [[1]],
      "vision_config": {"image_size": 30, "patch_size": 15}, "perceiver_config": {}})",
        "");
    (void)Config::from_json(*json, "config.json");
  });
  fail_every_allocation("generation_config.json", [] {
    const auto json = detail::parse_document(R"({"bad_words_ids": [[1, 2]], "eos_token_id": [2, 3],
      "force_words_ids": [[3, 4], [[5], [6]]], "sequence_bias": [[[1], -1.5]],
      "watermarking_config": {"bias": 2.0}, "stop_strings": ["a", "b"]})",
                                             "");
    (void)generation_config_from_json(*json, "generation_config.json");
  });
  fail_every_allocation("adapter_config.json", [&] { (void)LoraConfig::from_file(adapter); });
}

TEST_CASE("conversations and prompt files: every failed allocation is an exception") {
  const auto samples = std::filesystem::path(IDEFICS_SOURCE_DIR) / "samples";
  const testing::TempDir directory;
  for (const auto& entry : std::filesystem::directory_iterator(samples / "tiny"))
    if (entry.path().filename().string().starts_with("tokenizer"))
      std::filesystem::copy_file(entry.path(), directory.path() / entry.path().filename());
  AtomicFile file(directory.path() / "chat_template.jinja");
  file.write(
      "{% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}"
      "{% for p in m.content %}{{ '<image>' if p.type == 'image' else p.text }}{% endfor %}"
      "{% endif %}{% endfor %}");
  file.commit();
  const auto tokenizer = Tokenizer::from_pretrained(directory.path());
  const Image dot = Image::from_pixels(1, 1, 1, std::vector<std::uint8_t>{0});
  fail_every_allocation("chat template", [&] {
    (void)chat_prompt({{.role = "system", .text = "Answer briefly."},
                       {"user", {dot}, "What is this?"},
                       {.role = "assistant", .text = "a dot"}},
                      tokenizer);
  });
  for (const char* text :
       {R"([{"role": "user", "content": [{"type": "text", "text": "What is this?"}]}])",
        R"({"messages": [{"role": "user", "content": "What is this?"}]})",
        R"({"text": "What is this?", "images": "https://example.com/a.png"})",
        R"({"text": ["a", "b"], "images": [["https://example.com/a.png"], []]})",
        R"(["What is ![](https://example.com/a.png) this?", {"text": "b"}])"})
    fail_every_allocation(text, [&] {
      (void)parse_prompts(text, "prompts.json",
                          {.tokenizer = &tokenizer, .markdown_pictures = true});
    });
}

TEST_CASE("tokenizers: every failed allocation is an exception") {
  const testing::TempDir directory;
  const auto put = [&](const char* name, std::string_view text) {
    AtomicFile file(directory.path() / name);
    file.write(text);
    file.commit();
  };
  const std::string vocabulary = R"({"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4, "ab": 5})";
  put("tokenizer.json", R"({"version": "1.0", "truncation": {"direction": "Left", "max_length": 9,
    "strategy": {"Fixed": [1]}}, "padding": {"direction": "Right", "pad_token": "<unk>"},
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "a"}]},
    "decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"}]}, "added_tokens": [],
    "model": {"type": "BPE", "vocab": )" +
                            vocabulary + R"(, "merges": [["a", "b"]]}})");
  put("tokenizer_config.json", R"({"bos_token": {"__type": "AddedToken", "content": "<s>"},
    "additional_special_tokens": ["<image>"], "extra_special_tokens": {"x": "<x>"},
    "padding": [["longest"]], "init_inputs": [], "chat_template": [{"name": "default",
    "template": "{{ messages }}"}], "tokenizer_class": "LlamaTokenizer", "padding_side": "left"})");
  put("special_tokens_map.json", R"({"eos_token": {"content": "</s>", "lstrip": false},
    "additional_special_tokens": ["<image>", {"content": "<fake>"}]})");
  put("added_tokens.json", R"({"<image>": 6})");
  fail_every_allocation("tokenizer", [&] { (void)Tokenizer::from_pretrained(directory.path()); });
}

TEST_CASE("pictures of every format: every failed allocation is an exception") {
  for (const char* name :
       {"png_rgb", "png_p", "png_depth_16", "jpeg_2", "jpeg_progressive", "jpeg_cmyk", "gif",
        "bmp_p", "webp", "tiff_form_28_II", "tiff_form_63_IIpb", "tga_form_1None1",
        "pnm_form_p2_256", "ico_form_i4_16x", "qoi_form_r0"})
    fail_every_allocation(name, [&] { (void)Image::open(corpus / "image" / name); });
}
