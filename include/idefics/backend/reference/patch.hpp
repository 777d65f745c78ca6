// Cuts pictures into patches: the inputs of a convolution with kernel = stride = patch
// (IdeficsVisionEmbeddings). A linear layer applied to `out` completes that convolution.
//
//   out[i * P + row * columns + column] = pixels[i, :, row * patch + (0..patch-1),
//                                                       column * patch + (0..patch-1)]
//
// Letters: I pictures, C channels, Y height, X pixels, P patches.
#pragma once

#include <idefics/backend/reference/values.hpp>

namespace idefics { inline namespace v0 { namespace reference {

inline void unfold_patches(Tensor out /*[I*P,C*patch*patch]*/, const Tensor& pixels /*[I,C,Y,X]*/,
                           std::int64_t patch) {
  const std::int64_t channels = pixels.dim(1), height = pixels.dim(2), width = pixels.dim(3);
  std::int64_t begin = 0;  // `out` is written from front to back
  for (std::int64_t i = 0; i < pixels.dim(0); ++i)
    for (std::int64_t row = 0; row < height / patch; ++row)
      for (std::int64_t column = 0; column < width / patch; ++column)
        for (std::int64_t c = 0; c < channels; ++c)
          for (std::int64_t y = 0; y < patch; ++y, begin += patch) {
            const std::int64_t line = (i * channels + c) * height + row * patch + y;
            write(out, begin, read(pixels, line * width + column * patch, patch));
          }
}

}}}  // namespace idefics::v0::reference
