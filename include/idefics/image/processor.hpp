// Turns a picture into the model's pixels: resize, scale to [0,1], normalize per channel. Source:
// transformers' IdeficsImageProcessor; preprocessor_config.json.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include <idefics/image/decode.hpp>
#include <idefics/image/resize.hpp>

namespace idefics { inline namespace v0 {

struct ImageProcessor {
  std::int64_t image_size = 224;
  std::array<float, 3> mean{0.48145466f, 0.4578275f, 0.40821073f};
  std::array<float, 3> std{0.26862954f, 0.26130258f, 0.27577711f};

  /// Reads preprocessor_config.json; missing keys keep the published values. Throws
  /// `invalid_config`.
  static ImageProcessor from_pretrained(const std::filesystem::path& directory);

  /// Writes [3,Y,X] f32, Y = X = `size`: float(double(u8) * (1 / 255)), then (x - mean) / std in
  /// f32, the arithmetic of the reference, bit for bit.
  void operator()(const Image& image, std::span<float> out, std::int64_t size) const {
    const Image square = resize_bicubic(image, size, size);
    const auto area = static_cast<std::size_t>(size * size);
    require(out.size() == 3 * area, "out must be [3,Y,X]");
    for (std::size_t c = 0; c < 3; ++c) {
      std::array<float, 256> value{};
      for (std::size_t v = 0; v < 256; ++v) {
        const auto scaled = static_cast<float>(static_cast<double>(v) * (1.0 / 255.0));
        const float centred = scaled - mean[c];
        value[v] = centred / std[c];
      }
      for (std::size_t i = 0; i < area; ++i) out[c * area + i] = value[square.rgb[i * 3 + c]];
    }
  }
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/io/json.hpp>

namespace idefics { inline namespace v0 {

IDEFICS_ENGINE_INLINE ImageProcessor
ImageProcessor::from_pretrained(const std::filesystem::path& directory) {
  ImageProcessor processor;
  const auto path = directory / "preprocessor_config.json";
  if (!std::filesystem::exists(path)) return processor;
  const detail::JsonDocument document = detail::read_document(path);
  const Json& json = *document;
  auto refuse = [&path](const char* key, const char* why) {
    fail(ErrorCode::invalid_config, why, {.file = path.string(), .field = key});
  };
  if (!json.is_object()) refuse("", "must be an object");
  if (json.contains("image_size")) {
    constexpr std::int64_t max_size = 1 << 13;
    const Json& size = json["image_size"];
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() == 0 ||
        size.get<std::uint64_t>() > max_size)
      refuse("image_size", "must be an integer from 1 to 8192");
    processor.image_size = size.get<std::int64_t>();
  }
  auto triple = [&](const char* key, std::array<float, 3>& values) {
    if (!json.contains(key)) return;
    const Json& list = json[key];
    if (!list.is_array() || list.size() != 3) refuse(key, "must be three numbers");
    for (std::size_t i = 0; i < 3; ++i) {
      if (!list[i].is_number()) refuse(key, "must be three numbers");
      values[i] = static_cast<float>(list[i].get<double>());
    }
  };
  triple("image_mean", processor.mean);
  triple("image_std", processor.std);
  for (const float deviation : processor.std)
    if (!(deviation > 0)) refuse("image_std", "must be above zero");
  return processor;
}

}}  // namespace idefics::v0

#endif
