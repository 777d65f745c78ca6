// The latents of pictures already seen and, for every cross-attention layer, their keys and values.
// A picture is identified by its pixels, so it is encoded once even if it appears in many prompts
// and turns. Letters: L latents, H heads, E head width.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <idefics/backend/backend.hpp>
#include <idefics/core/available_memory.hpp>
#include <idefics/model/config.hpp>
#include <idefics/nn/attention.hpp>

namespace idefics { inline namespace v0 {

class ImageCache {
 public:
  struct Layer {
    Tensor k, v;  // [slots*L,H,E]
  };

  /// Keeps `capacity` pictures, or those of one call if more, for `layers` cross-attention layers.
  ImageCache(std::shared_ptr<Backend> backend, const Config& config, std::int64_t layers,
             std::int64_t capacity = 16)
      : backend_(std::move(backend)),
        config_(config),
        layers_(static_cast<std::size_t>(layers)),
        capacity_(capacity) {}

  /// The slot of the picture with these pixels, or -1. A hit becomes the most recently used.
  std::int32_t find(std::span<const float> pixels, std::int64_t latents) {
    const std::uint64_t hash = hash_of(pixels);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      Entry& entry = entries_[i];
      if (entry.hash == hash && latents == latents_ && std::ranges::equal(entry.pixels, pixels)) {
        entry.last_use = ++clock_;
        return static_cast<std::int32_t>(i);
      }
    }
    return -1;
  }

  /// Makes space for `count` pictures besides those in `keep`, evicting the least recently used.
  /// Call before `insert`. Another number of latents per picture (another picture size) empties the
  /// cache. Throws `out_of_memory`, before allocating, if the pictures of one call do not fit.
  void reserve(std::int64_t count, std::int64_t latents, std::span<const std::int32_t> keep) {
    if (latents != latents_) {
      entries_.clear();
      latents_ = latents;
      slots_ = 0;
    }
    const auto needed = static_cast<std::int64_t>(keep.size()) + count;
    // at least one slot, so that there are tensors to attend to even if no picture is seen
    grow(std::max<std::int64_t>({1, needed, std::min(capacity_, std::ssize(entries_) + count)}));
    keep_.assign(keep.begin(), keep.end());
  }

  /// Assigns a slot to a picture whose features are about to be written; never one that is kept.
  std::int32_t insert(std::span<const float> pixels) {
    std::size_t slot = entries_.size();
    if (slot < static_cast<std::size_t>(slots_)) {
      entries_.emplace_back();
    } else {
      slot = least_recently_used();
    }
    entries_[slot] = {hash_of(pixels), {pixels.begin(), pixels.end()}, ++clock_, next_stamp()};
    keep_.push_back(static_cast<std::int32_t>(slot));
    return static_cast<std::int32_t>(slot);
  }

  std::int64_t latents() const { return latents_; }
  const Layer& operator[](std::size_t layer) const { return layers_[layer]; }
  /// A number that no other entry of any cache has or had: equal stamps mean equal features.
  std::uint64_t stamp(std::int32_t slot) const {
    return entries_[static_cast<std::size_t>(slot)].stamp;
  }
  /// Features [L,Dv] of one slot.
  Tensor features(std::int32_t slot) const { return slice(features_, slot); }
  /// Keys and values [L,H,E] of one slot.
  Layer layer(std::size_t layer, std::int32_t slot) const {
    return {slice(layers_[layer].k, slot), slice(layers_[layer].v, slot)};
  }
  std::int64_t size() const { return std::ssize(entries_); }
  void clear() { entries_.clear(); }

 private:
  struct Entry {
    std::uint64_t hash = 0;
    std::vector<float> pixels;  // compared in full, since hashes may collide
    std::uint64_t last_use = 0, stamp = 0;
  };

  static std::uint64_t next_stamp() {
    static std::atomic<std::uint64_t> stamps{0};
    return ++stamps;
  }

  static std::uint64_t hash_of(std::span<const float> pixels) {
    std::uint64_t hash = 14695981039346656037u;  // FNV-1a over words instead of bytes, for speed
    for (const float pixel : pixels)
      hash = (hash ^ std::bit_cast<std::uint32_t>(pixel)) * 1099511628211u;
    return hash;
  }

  Tensor slice(const Tensor& rows, std::int32_t slot) const {
    return rows.slice(slot * latents_, (slot + 1) * latents_);
  }

  std::size_t least_recently_used() const {
    std::size_t oldest = entries_.size();
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (std::ranges::find(keep_, static_cast<std::int32_t>(i)) != keep_.end()) continue;
      if (oldest == entries_.size() || entries_[i].last_use < entries_[oldest].last_use) oldest = i;
    }
    require(oldest < entries_.size(), "the picture cache is full: reserve before insert");
    return oldest;
  }

  /// For pixels, features, keys and values.
  Checked bytes_per_picture() const {
    const auto size = [](std::int64_t n) { return Checked(static_cast<std::uint64_t>(n)); };
    const Checked side = size(config_.vision.image_size);
    const Checked row =
        size(config_.vision.embed_dim) + size(config_.hidden_size) * 2 * layers_.size();
    return (side * side * 3 + row * size(latents_)) * sizeof(float);
  }

  void grow(std::int64_t slots) {
    if (slots <= slots_) return;
    detail::require_memory(bytes_per_picture() * static_cast<std::uint64_t>(slots - slots_),
                           std::to_string(slots) + " pictures", "pixel_values");
    const std::int64_t used = std::ssize(entries_) * latents_, rows = slots * latents_;
    const Shape heads{rows, config_.num_attention_heads, config_.head_dim()};
    const auto moved = iota_rows(0, used);
    auto enlarge = [&](Tensor& tensor, Shape shape) {
      Tensor larger = backend_->empty(DType::f32, shape);
      if (used > 0) backend_->scatter_rows(larger, moved, tensor.slice(0, used));
      tensor = larger;
    };
    enlarge(features_, {rows, config_.vision.embed_dim});
    for (Layer& layer : layers_) {
      enlarge(layer.k, heads);
      enlarge(layer.v, heads);
    }
    slots_ = slots;
  }

  std::shared_ptr<Backend> backend_;
  Config config_;
  std::vector<Layer> layers_;
  Tensor features_;  // [slots*L,Dv]
  std::vector<Entry> entries_;
  std::vector<std::int32_t> keep_;
  std::int64_t capacity_ = 16, latents_ = 0, slots_ = 0;
  std::uint64_t clock_ = 0;
};

}}  // namespace idefics::v0
