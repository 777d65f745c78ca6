// Pictures of every format, distinguished by their first bytes; small limits keep the runs fast.
#pragma once

#include <idefics/image/decode.hpp>
#include <idefics/image/resize.hpp>

#include "fuzz/target.hpp"

namespace fuzz {

inline constexpr idefics::ImageLimits image_limits{.max_file_bytes = 1u << 20,
                                                   .max_pixels = 1u << 16,
                                                   .max_side = 1u << 12,
                                                   .max_decoded_bytes = 4u << 20};

inline void image(Bytes input) {
  const auto picture = idefics::Image::decode(input, "input", image_limits);
  expect(picture.width > 0 && picture.height > 0, "a picture without pixels");
  expect(picture.rgb.size() == static_cast<std::size_t>(picture.width * picture.height * 3),
         "sizes disagree");
  (void)resize_bicubic(picture, 8, 8);
}

}  // namespace fuzz
