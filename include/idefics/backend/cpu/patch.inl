// Cuts one patch out of a picture: out [C,patch,patch] from pixels [C,Y,X], both f32.
// Source: the strided convolution of transformers' IdeficsVisionEmbeddings, computed as a product;
// docs/kernels/patch.md. Parallel over patches, no arithmetic. Bound: bytes.

inline void unfold_patch(float* out, const float* pixels, std::int64_t channels,
                         std::int64_t height, std::int64_t width, std::int64_t patch) {
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t y = 0; y < patch; ++y, out += patch)
      std::memcpy(out, pixels + (c * height + y) * width,
                  static_cast<std::size_t>(patch) * sizeof(float));
}
