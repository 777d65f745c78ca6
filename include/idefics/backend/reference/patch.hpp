// Cutting pictures into patches: what a convolution with kernel = stride = patch reads
// (IdeficsVisionEmbeddings). The linear layer behind it is then that convolution.
//
//   out[n * P + row * columns + column] = pixels[n, :, row * patch + (0..patch-1),
//                                                       column * patch + (0..patch-1)]
#pragma once

#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

inline void unfold_patches(Tensor out /*[N*P, C*patch*patch]*/, const Tensor& pixels /*[N,C,S,S]*/,
                           std::int64_t patch) {
  const std::int64_t channels = pixels.dim(1), height = pixels.dim(2), width = pixels.dim(3);
  std::int64_t at = 0;  // out is written from front to back
  for (std::int64_t n = 0; n < pixels.dim(0); ++n)
    for (std::int64_t row = 0; row < height / patch; ++row)
      for (std::int64_t column = 0; column < width / patch; ++column)
        for (std::int64_t c = 0; c < channels; ++c)
          for (std::int64_t y = 0; y < patch; ++y, at += patch) {
            const std::int64_t line = (n * channels + c) * height + row * patch + y;
            write(out, at, read(pixels, line * width + column * patch, patch));
          }
}

}}}  // namespace idefics::v0::reference
