// Every recorded picture is decoded, resized and normalised to the bits of the reference; files
// that the reference refuses are refused.
#include <cstdio>
#include <cstdlib>

#include <idefics/image/processor.hpp>
#include <idefics/io/json.hpp>
#include <idefics/io/safetensors.hpp>

#include "support/catch.hpp"
#include "support/hash.hpp"
#include "support/test_data.hpp"

using namespace idefics;

namespace {

const std::filesystem::path pictures = std::filesystem::path(IDEFICS_GOLDEN_DIR) / "pictures";

/// Whether this build has the library of the format.
bool comparable(const std::string& name) {
  const auto is = [&name](std::string_view kind) {
    return name.starts_with(std::string(kind) + "_") || name.ends_with("." + std::string(kind));
  };
#ifdef IDEFICS_NO_LIBJPEG
  if (is("jpg") || is("jpeg")) return false;
#endif
#ifdef IDEFICS_NO_WEBP
  if (is("webp")) return false;
#endif
#ifdef IDEFICS_NO_TIFF
  if (is("tiff")) return false;
#endif
#ifdef IDEFICS_NO_AVIF
  if (is("avif")) return false;
#endif
#ifdef IDEFICS_NO_HEIF
  if (is("heic")) return false;
#endif
  return !is("");
}

std::string hash(std::span<const std::byte> bytes) { return std::to_string(testing::fnv1a(bytes)); }

void compare(const Image& image, const Json& expected) {
  CHECK(image.width == expected.at("width").get<std::int64_t>());
  CHECK(image.height == expected.at("height").get<std::int64_t>());
  CHECK(hash(std::as_bytes(std::span(image.rgb))) == expected.at("rgb_hash").get<std::string>());
  for (const std::int64_t size : {30, 224}) {
    const auto key = "pixel_values_hash_" + std::to_string(size);
    if (!expected.contains(key)) continue;
    std::vector<float> pixels(static_cast<std::size_t>(3 * size * size));
    ImageProcessor{}(image, pixels, size);
    CHECK(hash(std::as_bytes(std::span(pixels))) == expected.at(key).get<std::string>());
  }
}

/// The picture, or nothing where decoding throws one of the expected errors.
std::optional<Image> decoded(const SafetensorsFile& files, const std::string& name,
                             const ImageOptions& options = {}) {
  const Tensor file = files.tensor(name);
  try {
    return Image::decode({file.raw(), file.bytes()}, name, options);
  } catch (const Error& error) {
    CHECK(
        (error.code() == ErrorCode::invalid_image || error.code() == ErrorCode::unsupported_image ||
         error.code() == ErrorCode::image_too_large || error.code() == ErrorCode::git_lfs_pointer));
    CHECK(error.context().file == name);
    return {};
  }
}

/// How many pictures were compared, and how many files were refused.
std::pair<int, int> compare_all(const std::string& file, const std::string& answers) {
  const auto files = SafetensorsFile::open(pictures / file);
  std::pair<int, int> count;
  for (const Json& one : read_json_file(pictures / answers)) {
    const auto name = one.at("name").get<std::string>();
    if (!comparable(name)) continue;
    INFO(name);
    const auto image = decoded(files, name);
    const bool refused = one.contains("error");
    CHECK(image.has_value() != refused);
    if (image && !refused) compare(*image, one), ++count.first;
    if (!image) ++count.second;
  }
  return count;
}

/// Compares what becomes of recorded files, as from files and as from URLs; the numbers of pictures
/// that are the same and of those that are refused.
std::pair<int, int> compare_both_ways(const std::string& recording) {
  const auto files = SafetensorsFile::open(pictures / (recording + ".safetensors"));
  int same = 0, refused = 0;
  for (const Json& one : read_json_file(pictures / (recording + "_expected.json"))) {
    const auto name = one.at("name").get<std::string>();
    if (!comparable(name)) continue;
    INFO(name);
    for (const char* way : {"on_white", "loaded"}) {
      INFO(way);
      const bool at_url = std::string_view(way) == "loaded";
      const auto image = decoded(files, name, at_url ? ImageOptions::load_image() : ImageOptions{});
      const auto expected = one.at(way).get<std::string>();
      CHECK(image.has_value() == !expected.empty());
      if (!image) ++refused;
      if (!image || expected.empty()) continue;
      CHECK(std::to_string(image->width) + "x" + std::to_string(image->height) + " " +
                hash(std::as_bytes(std::span(image->rgb))) ==
            expected);
      ++same;
    }
  }
  return {same, refused};
}

}  // namespace

TEST_CASE("pictures have the reference's pixels, bit for bit") {
  const auto [same, refused] = compare_all("corpus.safetensors", "expected.json");
  std::printf("%d pictures compared\n", same);
  CHECK(refused == 0);
#if !defined(IDEFICS_NO_LIBJPEG) && !defined(IDEFICS_NO_WEBP)
  CHECK(same >= 300);
#endif
}

TEST_CASE("rare pictures have the reference's pixels, and damaged ones are refused") {
  const auto [same, refused] = compare_all("rare.safetensors", "rare_expected.json");
  std::printf("%d rare pictures compared, %d refused\n", same, refused);
  CHECK(same >= 120);
  CHECK(refused >= 40);
}

TEST_CASE("files of every kind become what Pillow makes of them, also from URLs") {
  const auto [same, refused] = compare_both_ways("kinds");
  std::printf("%d pictures of all kinds compared, %d refused\n", same, refused);
  CHECK(same >= 200);
  CHECK(refused >= 50);
}

TEST_CASE("damaged files that fuzzing found become what Pillow makes of them") {
  const auto [same, refused] = compare_both_ways("damaged");
  std::printf("%d damaged pictures compared, %d refused\n", same, refused);
  CHECK(same >= 30);
  CHECK(refused >= 300);
}

TEST_CASE("every truncation of a picture decodes or is a typed error") {
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

TEST_CASE("a picture above the memory limit is too large, not damaged") {
  const auto corpus = SafetensorsFile::open(pictures / "corpus.safetensors");
  for (const TensorInfo& info : corpus.tensors()) {
    if (!info.name.ends_with("rgba.png")) continue;
    const Tensor file = corpus.tensor(info.name);
    INFO(info.name);
    try {
      (void)Image::decode({file.raw(), file.bytes()}, info.name,
                          {.limits = {.max_decoded_bytes = 50}});
      FAIL("decoded");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::image_too_large);
      CHECK(error.context().limit == 50u);
      CHECK(error.context().actual > 50u);
    }
  }
}

TEST_CASE("photographs have the reference's pixels") {
  const auto folder = testing::test_data();
  for (const Json& one : read_json_file(pictures / "photographs.json")) {
    const auto path = folder / one.at("name").get<std::string>();
    if (folder.empty() || !std::filesystem::exists(path)) {
      std::printf("%s not found: not compared\n", path.filename().c_str());
      continue;
    }
    if (!comparable(path.string())) continue;
    INFO(path);
    compare(Image::open(path), one);
  }
}
