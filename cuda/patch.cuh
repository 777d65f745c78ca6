// Cuts pictures into the patches that a convolution with kernel = stride = patch reads
// (IdeficsVisionEmbeddings). The linear layer that follows completes that convolution.
//
//   out[i * P + row * columns + column] = pixels[i, :, row * patch + (0..patch-1),
//                                                       column * patch + (0..patch-1)]
//
// Bound: the bytes of pixels and out. A block owns a patch and writes it sequentially; pixel rows
// of neighbouring patches share memory sectors, which stay in the L2 cache.
#pragma once

#include "quad.cuh"

namespace idefics { inline namespace v0 { namespace cuda {

inline constexpr int patch_threads = 256;

template <class T>
__global__ void unfold_patches_kernel(T* out, const T* pixels, int channels, int height, int width,
                                      int patch) {
  const int columns = width / patch, per_picture = (height / patch) * columns;
  const int picture = static_cast<int>(blockIdx.x) / per_picture;
  const int row = static_cast<int>(blockIdx.x) % per_picture / columns;
  const int column = static_cast<int>(blockIdx.x) % columns;
  const int count = channels * patch * patch;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += patch_threads) {
    const int channel = i / (patch * patch), y = i / patch % patch, x = i % patch;
    const std::int64_t line =
        (static_cast<std::int64_t>(picture) * channels + channel) * height + row * patch + y;
    out[static_cast<std::int64_t>(blockIdx.x) * count + i] =
        pixels[line * width + column * patch + x];
  }
}

/// out [I*P, C*patch*patch] from pixels [I,C,Y,X], without a remainder at the right and lower edge.
inline void unfold_patches(Stream& stream, float* out, const float* pixels, std::int64_t pictures,
                           std::int64_t channels, std::int64_t height, std::int64_t width,
                           std::int64_t patch) {
  const std::int64_t patches = pictures * (height / patch) * (width / patch);
  if (patches == 0) return;
  launch(stream, dim3(static_cast<unsigned>(patches)), patch_threads, 0,
         unfold_patches_kernel<float>, out, pixels, static_cast<int>(channels),
         static_cast<int>(height), static_cast<int>(width), static_cast<int>(patch));
}

}}}  // namespace idefics::v0::cuda
