// stb_image, compiled as static functions into each translation unit: PNG and JPEG from memory
// only, with an allocator that enforces a budget.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The bytes that this thread's decoder may still allocate. Each block is preceded by its size.
class DecoderBudget {
 public:
  static constexpr std::size_t header = 16;
  static std::size_t& left() {
    thread_local std::size_t bytes = 0;
    return bytes;
  }
  /// The total that the decoder would have held with the block that did not fit; 0 if all did.
  static std::size_t& refused() {
    thread_local std::size_t bytes = 0;
    return bytes;
  }
  static std::size_t& limit() {
    thread_local std::size_t bytes = 0;
    return bytes;
  }
  static void begin(std::size_t bytes) { limit() = left() = bytes, refused() = 0; }
  static void* allocate(std::size_t size) {
    if (size > left()) {
      refused() = limit() - left() + size;
      return nullptr;
    }
    auto* block = static_cast<unsigned char*>(std::malloc(size + header));
    if (block == nullptr) return nullptr;
    left() -= size;
    std::memcpy(block, &size, sizeof size);
    return block + header;
  }
  static void release(void* memory) {
    if (memory == nullptr) return;
    auto* block = static_cast<unsigned char*>(memory) - header;
    std::size_t size = 0;
    std::memcpy(&size, block, sizeof size);
    left() += size;
    std::free(block);
  }
  static void* reallocate(void* memory, std::size_t old_size, std::size_t new_size) {
    void* fresh = allocate(new_size);
    if (fresh == nullptr) return nullptr;
    if (memory != nullptr) std::memcpy(fresh, memory, old_size < new_size ? old_size : new_size);
    release(memory);
    return fresh;
  }
};

}}}  // namespace idefics::v0::detail

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_SIMD
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_THREAD_LOCALS
#define STBI_ASSERT(x) ((void)0)
#define STBI_MALLOC(size) idefics::detail::DecoderBudget::allocate(size)
#define STBI_FREE(memory) idefics::detail::DecoderBudget::release(memory)
#define STBI_REALLOC_SIZED(memory, old_size, new_size) \
  idefics::detail::DecoderBudget::reallocate(memory, old_size, new_size)
// stb_image requires a plain STBI_REALLOC in addition to the sized one, and never calls it.
#define STBI_REALLOC(memory, new_size) idefics::detail::DecoderBudget::allocate(new_size)
#include <stb_image.h>
#undef STB_IMAGE_IMPLEMENTATION
#undef STB_IMAGE_STATIC
#undef STBI_NO_STDIO
#undef STBI_NO_HDR
#undef STBI_NO_LINEAR
#undef STBI_NO_SIMD
#undef STBI_ONLY_PNG
#undef STBI_ONLY_JPEG
#undef STBI_NO_THREAD_LOCALS
#undef STBI_ASSERT
#undef STBI_MALLOC
#undef STBI_FREE
#undef STBI_REALLOC_SIZED
#undef STBI_REALLOC

namespace idefics { inline namespace v0 { namespace detail {

/// Values [Y,X,channels] decoded by one of stb_image's functions, within the budget. Throws
/// `invalid_image`, or `image_too_large` if the budget is exceeded.
template <class T>
class StbPixels {
 public:
  using Load = T* (*)(const stbi_uc*, int, int*, int*, int*, int);
  StbPixels(Load load, std::span<const std::byte> encoded, const std::string& name,
            const ImageLimits& limits, int channels)
      : channels_(channels) {
    constexpr std::size_t max_int = 0x7fffffff;
    if (encoded.size() > max_int)
      fail(ErrorCode::image_too_large, "the file is too large", {.file = name});
    DecoderBudget::begin(limits.max_decoded_bytes);
    int found = 0;
    values_.reset(load(reinterpret_cast<const stbi_uc*>(encoded.data()),
                       static_cast<int>(encoded.size()), &width_, &height_, &found, channels));
    if (values_) return;
    if (DecoderBudget::refused() != 0)
      fail(ErrorCode::image_too_large, "decoding needs too much memory",
           {.file = name, .actual = DecoderBudget::refused(), .limit = limits.max_decoded_bytes});
    const char* reason = stbi_failure_reason();
    const std::string why = reason == nullptr || *reason == '\0' ? "unknown" : reason;
    fail(ErrorCode::invalid_image, "damaged picture: " + why, {.file = name});
  }
  int width() const { return width_; }
  int height() const { return height_; }
  std::size_t size() const {
    return static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_) *
           static_cast<std::size_t>(channels_);
  }
  std::span<const T> values() const { return {values_.get(), size()}; }

 private:
  struct Release {
    void operator()(T* values) const { DecoderBudget::release(values); }
  };
  std::unique_ptr<T, Release> values_;
  int width_ = 0, height_ = 0, channels_;
};

inline Image decode_with_stb(std::span<const std::byte> encoded, const std::string& name,
                             const ImageLimits& limits, int channels) {
  const StbPixels<stbi_uc> pixels(stbi_load_from_memory, encoded, name, limits, channels);
  return Image::from_pixels(pixels.width(), pixels.height(), channels, pixels.values());
}

}}}  // namespace idefics::v0::detail
