// stb_image, compiled into this translation unit alone: PNG, GIF, BMP and JPEG from memory, nothing
// else, with an allocator that stops at a budget. Never its multi-frame GIF entry, which is not
// memory-safe.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace idefics::inline v0::detail {

/// Bytes that the decoder of this thread may still take. Each block remembers its size in front of
/// it.
class DecoderBudget {
 public:
  static constexpr std::size_t header = 16;
  static std::size_t& left() {
    thread_local std::size_t bytes = 0;
    return bytes;
  }
  static void* allocate(std::size_t size) {
    if (size > left()) return nullptr;
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

}  // namespace idefics::inline v0::detail

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_SIMD
#define STBI_ONLY_PNG
#define STBI_ONLY_GIF
#define STBI_ONLY_BMP
#define STBI_ONLY_JPEG
#define STBI_NO_THREAD_LOCALS
#define STBI_ASSERT(x) ((void)0)
#define STBI_MALLOC(size) idefics::detail::DecoderBudget::allocate(size)
#define STBI_FREE(memory) idefics::detail::DecoderBudget::release(memory)
#define STBI_REALLOC_SIZED(memory, old_size, new_size) \
  idefics::detail::DecoderBudget::reallocate(memory, old_size, new_size)
// stb_image asks for a plain STBI_REALLOC beside the sized one, and never calls it.
#define STBI_REALLOC(memory, new_size) idefics::detail::DecoderBudget::allocate(new_size)
#include <stb_image.h>
#undef STB_IMAGE_IMPLEMENTATION
