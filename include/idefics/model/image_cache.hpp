// The latents of pictures already seen and, for every cross-attention layer, their keys and values.
// A picture is identified by its pixels, so it is encoded once even if it appears in many prompts
// and turns. Letters: L latents, H heads, E head width.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <utility>
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

  /// Begins a call. The pictures that it finds or inserts are kept until the next one begins.
  void begin() { begun_ = clock_; }

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

  /// Makes space for `count` pictures besides those that are kept, evicting the least recently used.
  /// Call before `insert`. Another number of latents per picture (another picture size) empties the
  /// cache. Throws `out_of_memory`, before allocating, if the pictures of one call do not fit.
  void reserve(std::int64_t count, std::int64_t latents) {
    if (latents != latents_) entries_.clear(), latents_ = latents, slots_ = 0;
    const auto needed =
        count + std::ranges::count_if(entries_, [this](const Entry& e) { return kept(e); });
    // at least one slot, so that there are tensors to attend to even if no picture is seen
    grow(std::max<std::int64_t>({1, needed, std::min(capacity_, std::ssize(entries_) + count)}));
  }

  /// Assigns a slot to a picture whose features are about to be written; never one that is kept.
  std::int32_t insert(std::span<const float> pixels) {
    std::size_t slot = entries_.size();
    if (slot < static_cast<std::size_t>(slots_))
      entries_.emplace_back();
    else
      slot = least_recently_used();
    entries_[slot] = {hash_of(pixels), {pixels.begin(), pixels.end()}, ++clock_, next_stamp(), 0};
    return static_cast<std::int32_t>(slot);
  }

  /// Protects a picture from eviction until `unpin` has been called as often.
  void pin(std::int32_t slot) { ++entries_[static_cast<std::size_t>(slot)].pins; }
  void unpin(std::int32_t slot) { --entries_[static_cast<std::size_t>(slot)].pins; }
  /// Forgets a picture whose features could not be written.
  void forget(std::int32_t slot) { entries_[static_cast<std::size_t>(slot)] = {}; }

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
  std::int64_t size() const {
    return std::ranges::count_if(entries_, [](const Entry& entry) { return entry.stamp != 0; });
  }

 private:
  struct Entry {
    std::uint64_t hash = 0;
    std::vector<float> pixels;              // compared in full, since hashes may collide
    std::uint64_t last_use = 0, stamp = 0;  // 0 if the entry has no picture
    std::int64_t pins = 0;
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

  bool kept(const Entry& entry) const { return entry.pins > 0 || entry.last_use > begun_; }

  std::size_t least_recently_used() const {
    const auto oldest = std::ranges::min_element(entries_, {}, [this](const Entry& entry) {
      return std::pair(kept(entry), entry.last_use);
    });
    require(oldest != entries_.end() && !kept(*oldest),
            "the picture cache is full: reserve before insert");
    return static_cast<std::size_t>(oldest - entries_.begin());
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
  std::int64_t capacity_ = 16, latents_ = 0, slots_ = 0;
  std::uint64_t clock_ = 0, begun_ = 0;
};

}}  // namespace idefics::v0
