// Four inks to RGB, by Pillow's arithmetic.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace idefics { inline namespace v0 { namespace detail {

/// Converts `count` pixels of cyan, magenta, yellow and key: the light that an ink leaves is scaled
/// by that of the key, and rounded. `inverted`: the bytes are light, not ink. `to` may be `from`.
inline void convert_cmyk(const std::uint8_t* from, std::uint8_t* to, std::size_t count,
                         bool inverted) {
  for (std::size_t i = 0; i < count; ++i, from += 4, to += 3) {
    const int flip = inverted ? 255 : 0, light = 255 - (from[3] ^ flip);
    for (std::size_t c = 0; c < 3; ++c) {
      const int product = (from[c] ^ flip) * light + 128;
      to[c] =
          static_cast<std::uint8_t>(std::clamp(light - (((product >> 8) + product) >> 8), 0, 255));
    }
  }
}

}}}  // namespace idefics::v0::detail
