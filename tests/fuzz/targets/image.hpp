// Pictures, distinguished by their first bytes: all formats, and those alone whose decoders are
// guarded most. Small limits keep the runs fast.
#pragma once

#include <idefics/image/decode.hpp>
#include <idefics/image/resize.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline constexpr idefics::ImageLimits image_limits{.max_file_bytes = 1u << 20,
                                                   .max_pixels = 1u << 16,
                                                   .max_side = 1u << 12,
                                                   .max_decoded_bytes = 4u << 20};

/// Half of the inputs are decoded as from a URL.
inline void image(Bytes input) {
  auto options =
      input.size() % 2 == 0 ? idefics::ImageOptions{} : idefics::ImageOptions::load_image();
  options.limits = image_limits;
  const auto picture = idefics::Image::decode(input, "input", options);
  expect(picture.width > 0 && picture.height > 0, "a picture without pixels");
  expect(picture.rgb.size() == static_cast<std::size_t>(picture.width * picture.height * 3),
         "sizes disagree");
  (void)resize_bicubic(picture, 8, 8);
}

inline void tiff(Bytes input) {
  if (idefics::detail::is_tiff(input)) image(input);
}

/// AVIF and HEIC.
inline void avif(Bytes input) {
  if (idefics::detail::is_avif(input) || idefics::detail::is_heif(input)) image(input);
}

}  // namespace fuzz
