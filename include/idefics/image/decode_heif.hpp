// HEIC, the pictures of telephones, through libheif: the primary picture, turned as the file says,
// like by the pillow-heif plugin.
#pragma once

#include <idefics/core/config.hpp>
#include <idefics/image/decode_avif.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline bool is_heif(std::span<const std::byte> file) {
  return has_brand(file, "heic", "hevc") || has_brand(file, "heix", "heim") ||
         has_brand(file, "heis", "hevx") || has_brand(file, "mif1", "msf1");
}

}}}  // namespace idefics::v0::detail

#ifndef IDEFICS_NO_HEIF

#include <cmath>
#include <memory>
#include <new>

#include <libheif/heif.h>

namespace idefics { inline namespace v0 { namespace detail {

inline void check_heif(const heif_error& error, const std::string& name) {
  if (error.code == heif_error_Ok) return;
  if (error.code == heif_error_Memory_allocation_error &&
      error.subcode == heif_suberror_Unspecified)
    throw std::bad_alloc();
  const bool large = error.subcode == heif_suberror_Security_limit_exceeded,
             feature = error.code == heif_error_Unsupported_feature ||
                       error.code == heif_error_Unsupported_filetype;
  fail(large     ? ErrorCode::image_too_large
       : feature ? ErrorCode::unsupported_image
                 : ErrorCode::invalid_image,
       (feature ? "unsupported HEIC: " : "damaged HEIC: ") + std::string(error.message),
       {.file = name});
}

inline Bitmap decode_heif(std::span<const std::byte> encoded, const std::string& name,
                          const ImageLimits& limits) {
  const std::unique_ptr<heif_context, void (*)(heif_context*)> context(heif_context_alloc(),
                                                                       heif_context_free);
  if (!context) throw std::bad_alloc();
  heif_context_set_maximum_image_size_limit(
      context.get(),
      static_cast<int>(
          std::clamp(std::ceil(std::sqrt(static_cast<double>(limits.max_pixels))), 1.0, 32768.0)));
  check_heif(heif_context_read_from_memory_without_copy(context.get(), encoded.data(),
                                                        encoded.size(), nullptr),
             name);
  heif_image_handle* found = nullptr;
  check_heif(heif_context_get_primary_image_handle(context.get(), &found), name);
  const std::unique_ptr<heif_image_handle, void (*)(const heif_image_handle*)> handle(
      found, heif_image_handle_release);
  const auto side = [](int value) { return static_cast<std::uint64_t>(std::max(value, 0)); };
  const std::uint64_t width = side(heif_image_handle_get_width(handle.get())),
                      height = side(heif_image_handle_get_height(handle.get()));
  check_size(width, height, limits, name);
  // planes in the decoder and outside of it, the picture, and a copy that is turned
  constexpr std::uint64_t bytes_per_pixel = 24;
  check_memory(bytes_per_pixel * width * height, limits, name);
  const std::size_t channels = heif_image_handle_has_alpha_channel(handle.get()) != 0 ? 4 : 3;
  const std::unique_ptr<heif_decoding_options, void (*)(heif_decoding_options*)> options(
      heif_decoding_options_alloc(), heif_decoding_options_free);
  if (!options) throw std::bad_alloc();
  options->convert_hdr_to_8bit = 1;
  heif_image* decoded = nullptr;
  check_heif(
      heif_decode_image(handle.get(), &decoded, heif_colorspace_RGB,
                        channels == 4 ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB,
                        options.get()),
      name);
  const std::unique_ptr<heif_image, void (*)(const heif_image*)> image(decoded, heif_image_release);
  int stride = 0;
  const std::uint8_t* from =
      heif_image_get_plane_readonly(image.get(), heif_channel_interleaved, &stride);
  Bitmap bitmap = blank_bitmap(side(heif_image_get_primary_width(image.get())),
                               side(heif_image_get_primary_height(image.get())), channels);
  check_size(bitmap.width, bitmap.height, limits, name);
  const std::size_t row = bitmap.width * channels;
  if (from == nullptr || side(stride) < row)
    fail(ErrorCode::invalid_image, "damaged HEIC: it has no pixels", {.file = name});
  for (std::size_t y = 0; y < bitmap.height; ++y)
    std::copy_n(from + y * side(stride), row, &bitmap.samples[y * row]);
  return bitmap;
}

}}}  // namespace idefics::v0::detail

#else

namespace idefics { inline namespace v0 { namespace detail {

inline Bitmap decode_heif(std::span<const std::byte>, const std::string& name, const ImageLimits&) {
  fail(ErrorCode::unsupported_image, "HEIC: this build has no libheif", {.file = name});
}

}}}  // namespace idefics::v0::detail

#endif
