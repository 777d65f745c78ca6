// Every allocation of a loader fails once, and then all from there on: an exception each time,
// nothing kept, and the same call succeeds afterwards. Not tried on JSON documents, since nlohmann's
// destructor itself allocates and ends the program when it cannot, nor on lossless WebP, where
// libwebp 1.2.4 crashes.
#include "support/counting_malloc.hpp"

#include <idefics/image/decode.hpp>
#include <idefics/io/safetensors.hpp>
#include <idefics/io/torch_file.hpp>
#include <idefics/text/sentencepiece_model.hpp>

#include "support/catch.hpp"

using namespace idefics;

namespace {

const std::filesystem::path corpus =
    std::filesystem::path(IDEFICS_SOURCE_DIR) / "tests/fuzz/corpus";

/// Lets the n-th allocation of `load` fail, for every n until none does.
template <class Load>
void fail_every_allocation(const char* what, const Load& load) {
  load();  // what is made once stays
  for (const bool once : {true, false}) {
    std::int64_t failures = 0, kept = 0, n = 0;
    for (bool failed = true; failed; ++n) {
      failed = false;
      const heap::Peak memory;
      heap::refuse_once = once;
      heap::refuse_at = heap::count.load() + n;
      try {
        load();
        failed = heap::count.load() > heap::refuse_at.load();  // it may have been an optional one
      } catch (const std::bad_alloc&) {
        failed = true;
      } catch (const Error&) {
        failed = true;
      }
      heap::refuse_at = -1;
      failures += failed;
      kept += memory.left() != 0;
    }
    INFO(what << ": " << failures << " allocations");
    CHECK(failures > 0);
    CHECK(kept == 0);
  }
  load();
}

}  // namespace

#ifndef IDEFICS_HEARS_MALLOC

TEST_CASE("files of a checkpoint") {
  fail_every_allocation("safetensors",
                        [&] { (void)SafetensorsFile::open(corpus / "safetensors/two_tensors"); });
  fail_every_allocation("pytorch_model.bin",
                        [&] { (void)detail::open_torch_file(corpus / "torch_file/good"); });
  fail_every_allocation("tokenizer.model", [&] {
    (void)detail::parse_sentencepiece_model(
        detail::read_text_file(corpus / "sentencepiece_model/small", 4096), "");
  });
}

TEST_CASE("pictures of every format") {
  for (const char* name : {"png_rgb", "png_p", "png_depth_16", "jpeg_2", "jpeg_progressive",
                           "jpeg_cmyk", "gif", "bmp_p", "webp"})
    fail_every_allocation(name, [&] { (void)Image::open(corpus / "image" / name); });
}

#endif
