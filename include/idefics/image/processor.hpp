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
  double rescale_factor = 1.0 / 255.0;

  /// Reads preprocessor_config.json; missing keys keep the published values. docs/checkpoint_keys.md
  /// lists all keys. Throws `invalid_config`.
  static ImageProcessor from_pretrained(const std::filesystem::path& directory);

  /// Writes [3,Y,X] f32, Y = X = `size`: float(double(u8) * rescale_factor), then (x - mean) / std
  /// in f32, the arithmetic of the reference, bit for bit.
  void operator()(const Image& image, std::span<float> out, std::int64_t size) const {
    const Image square = resize_bicubic(image, size, size);
    const auto area = static_cast<std::size_t>(size * size);
    require(out.size() == 3 * area, "out must be [3,Y,X]");
    for (std::size_t c = 0; c < 3; ++c) {
      std::array<float, 256> value{};
      for (std::size_t v = 0; v < 256; ++v) {
        const auto scaled = static_cast<float>(static_cast<double>(v) * rescale_factor);
        const float centred = scaled - mean[c];
        value[v] = centred / std[c];
      }
      for (std::size_t i = 0; i < area; ++i) out[c * area + i] = value[square.rgb[i * 3 + c]];
    }
  }
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <cmath>

#include <idefics/io/json.hpp>

namespace idefics { inline namespace v0 {

IDEFICS_ENGINE_INLINE ImageProcessor
ImageProcessor::from_pretrained(const std::filesystem::path& directory) {
  ImageProcessor processor;
  const auto path = directory / "preprocessor_config.json";
  if (!std::filesystem::exists(path)) return processor;
  const detail::JsonDocument document = detail::read_document(path);
  // as in the reference, settings may be in an object of this name
  const Json& whole = *document;
  const bool nested = whole.is_object() && whole.contains("image_processor");
  const Json& json = nested ? whole["image_processor"] : whole;
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
  const auto number = [](const Json& value) {  // as in Python, true counts as 1
    return value.is_boolean()  ? (value.get<bool>() ? 1.0 : 0.0)
           : value.is_number() ? value.get<double>()
                               : std::nan("");
  };
  auto triple = [&](const char* key, std::array<float, 3>& values) {
    if (!json.contains(key) || json[key].is_null()) return;  // as in the reference, null is unset
    const Json& list = json[key];
    if (list.is_array() && list.size() != 3) refuse(key, "must be three numbers, or one for all");
    for (std::size_t i = 0; i < 3; ++i) {
      const double value = number(list.is_array() ? list[i] : list);
      if (!std::isfinite(value)) refuse(key, "must be three numbers, or one for all");
      values[i] = static_cast<float>(value);
    }
  };
  triple("image_mean", processor.mean);
  triple("image_std", processor.std);
  for (const float deviation : processor.std)
    if (deviation == 0) refuse("image_std", "must not be zero");
  if (json.contains("rescale_factor")) {
    processor.rescale_factor = number(json["rescale_factor"]);
    if (!std::isfinite(processor.rescale_factor)) refuse("rescale_factor", "must be a number");
  }
  if (json.contains("image_num_channels") && json["image_num_channels"] != 3)
    refuse("image_num_channels", "must be 3: pictures are converted to RGB");
  for (const char* method : {"preprocess", "rescale", "normalize", "fetch_images"})
    if (json.contains(method)) refuse(method, "is the name of a step, not of a setting");
  return processor;
}

}}  // namespace idefics::v0

#endif
