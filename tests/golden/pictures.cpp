// Every recorded picture, decoded, resized and normalised to the bits of the reference.
#include <cstdio>

#include <idefics/image/processor.hpp>
#include <idefics/io/safetensors.hpp>

#include "support/catch.hpp"
#include "support/hash.hpp"

using namespace idefics;

namespace {

const std::filesystem::path pictures = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "pictures";

/// Without libjpeg the pixels of a JPEG may differ by a few levels; the hash cannot say by how
/// many.
bool comparable(const std::string& name) {
#ifdef IDEFICS_NO_LIBJPEG
  if (name.ends_with(".jpg")) return false;
#endif
#ifdef IDEFICS_NO_WEBP
  if (name.ends_with(".webp")) return false;
#endif
  return !name.empty();
}

}  // namespace

TEST_CASE("pictures have the reference's pixels, bit for bit") {
  const auto corpus = SafetensorsFile::open(pictures / "corpus.safetensors");
  const Json expected = read_json_file(pictures / "expected.json");
  REQUIRE(expected.size() >= 300);
  std::size_t compared = 0;
  for (const Json& one : expected) {
    const auto name = one.at("name").get<std::string>();
    if (!comparable(name)) continue;
    INFO(name);
    const Tensor file = corpus.tensor(name);
    const Image image = Image::decode({file.raw(), file.bytes()}, name);
    CHECK(image.width == one.at("width").get<std::int64_t>());
    CHECK(image.height == one.at("height").get<std::int64_t>());
    CHECK(std::to_string(testing::fnv1a(std::as_bytes(std::span(image.rgb)))) ==
          one.at("rgb_hash").get<std::string>());
    for (const std::int64_t size : {30, 224}) {
      const auto key = "pixel_values_hash_" + std::to_string(size);
      if (!one.contains(key)) continue;
      std::vector<float> pixels(static_cast<std::size_t>(3 * size * size));
      ImageProcessor{}(image, pixels, size);
      CHECK(std::to_string(testing::fnv1a(std::as_bytes(std::span(pixels)))) ==
            one.at(key).get<std::string>());
    }
    ++compared;
  }
  std::printf("%zu pictures compared\n", compared);
}

TEST_CASE("every truncation of a picture is a picture or a typed error") {
  const auto corpus = SafetensorsFile::open(pictures / "corpus.safetensors");
  for (const TensorInfo& info : corpus.tensors()) {
    const Tensor file = corpus.tensor(info.name);
    if (file.bytes() > 2000) continue;
    for (std::size_t length = 0; length < file.bytes(); length += 1 + length / 7) {
      try {
        const std::vector<std::byte> part(file.raw(), file.raw() + length);
        (void)Image::decode(part, info.name);
      } catch (const Error& error) {
        CHECK(error.context().file == info.name);
      }
    }
  }
}
