// Selects the pictures of a batch that are needed, and encodes those that are not cached yet.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <idefics/core/progress.hpp>
#include <idefics/model/idefics.hpp>
#include <idefics/model/sequences.hpp>

namespace idefics { inline namespace v0 {

/// For each row of the batch, whether each of its pictures is needed.
using PicturesNeeded = std::vector<std::vector<bool>>;
/// For each row of the batch, the cache slots of its pictures; -1 for those that are not needed.
using PictureSlots = std::vector<std::vector<std::int32_t>>;

namespace detail {

inline PicturesNeeded all_pictures(const Inputs& in) {
  return PicturesNeeded(static_cast<std::size_t>(in.pixel_values.dim(0)),
                        std::vector<bool>(static_cast<std::size_t>(in.pixel_values.dim(1)), true));
}

/// The pictures that some token sees: the empty slots of a ragged batch cost nothing.
inline PicturesNeeded seen_pictures(const Inputs& in, const std::vector<Sequence>& sequences) {
  PicturesNeeded needed(sequences.size(),
                        std::vector<bool>(static_cast<std::size_t>(in.pixel_values.dim(1)), false));
  for (std::size_t row = 0; row < sequences.size(); ++row)
    for (const PictureRun& run : sequences[row].runs)
      for (const std::int32_t picture : run.pictures)
        needed[row][static_cast<std::size_t>(picture)] = true;
  return needed;
}

/// The pixels of one picture of a batch.
inline std::span<const float> pixels_of(const Tensor& pixels /*[B,I,3,Y,X]*/, std::int64_t row,
                                        std::int64_t picture) {
  const auto size = static_cast<std::size_t>(pixels.dim(2) * pixels.dim(3) * pixels.dim(4));
  const auto index = static_cast<std::size_t>(row * pixels.dim(1) + picture);
  return pixels.as<float>().subspan(index * size, size);
}

struct NewPicture {
  std::span<const float> pixels;
  std::int32_t slot;
};

/// Encodes a few pictures per pass, which bounds the memory of the vision tower.
inline void encode_new(const Idefics& model, Backend& backend, ImageCache& cache,
                       std::span<const NewPicture> pictures, Shape picture, bool interpolate,
                       const ProgressCallback& progress) {
  constexpr std::size_t per_pass = 4;
  const std::int64_t l = cache.latents();
  for (std::size_t i = 0; i < pictures.size(); i += per_pass) {
    const auto group = pictures.subspan(i, std::min(per_pass, pictures.size() - i));
    const auto n = std::ssize(group);
    Tensor pixels = Tensor::empty(DType::f32, {n, picture[0], picture[1], picture[2]});
    auto out = pixels.as_mutable<float>().begin();
    for (const NewPicture& one : group) out = std::ranges::copy(one.pixels, out).out;
    const Tensor features = model.encode_pictures(backend, backend.upload(pixels), interpolate);
    for (std::int64_t j = 0; j < n; ++j) {
      const std::int32_t slot = group[static_cast<std::size_t>(j)].slot;
      backend.scatter_rows(cache.features(slot), iota_rows(0, l),
                           features.slice(j * l, (j + 1) * l));
      model.project_picture(backend, cache, slot);
    }
    report(progress, {"pictures", static_cast<std::int64_t>(i) + n, std::ssize(pictures)});
  }
}

/// The cache slots of all needed pictures (-1 for others); encodes those that are not cached.
inline PictureSlots encode_pictures(const Idefics& model, Backend& backend, ImageCache& cache,
                                    const Inputs& in, const PicturesNeeded& needed,
                                    bool interpolate, const ProgressCallback& progress) {
  const Tensor& pixels = in.pixel_values;
  const std::int64_t l = model.features_per_picture(pixels.dim(3), pixels.dim(4));
  PictureSlots slots;
  std::vector<std::pair<std::span<const float>, std::int32_t*>> unknown;  // pixels, and their slot
  cache.begin();
  for (std::size_t row = 0; row < needed.size(); ++row) {
    slots.emplace_back(needed[row].size(), -1);
    for (std::size_t n = 0; n < needed[row].size(); ++n) {
      if (!needed[row][n]) continue;
      const auto picture =
          pixels_of(pixels, static_cast<std::int64_t>(row), static_cast<std::int64_t>(n));
      slots[row][n] = cache.find(picture, l);
      if (slots[row][n] < 0) unknown.emplace_back(picture, &slots[row][n]);
    }
  }
  cache.reserve(std::ssize(unknown), l);
  std::vector<NewPicture> fresh;
  fresh.reserve(unknown.size());
  try {
    for (const auto& [picture, slot] : unknown) {
      *slot = cache.find(picture, l);  // a picture may occur twice in one batch
      if (*slot < 0) fresh.push_back({picture, *slot = cache.insert(picture)});
    }
    encode_new(model, backend, cache, fresh, Shape{pixels.dim(2), pixels.dim(3), pixels.dim(4)},
               interpolate, progress);
  } catch (...) {
    for (const NewPicture& picture : fresh) cache.forget(picture.slot);
    throw;
  }
  return slots;
}

/// Latents of all pictures of a batch, [B,I,L,Dv]; `width` is Dv.
inline Tensor gather_image_hidden_states(Backend& backend, const ImageCache& cache,
                                         const PictureSlots& slots, std::int64_t width) {
  const auto rows = std::ssize(slots), pictures = std::ssize(slots.front());
  Tensor result = Tensor::empty(DType::f32, {rows, pictures, cache.latents(), width});
  std::byte* out = result.raw_mutable();
  for (const auto& row : slots)
    for (const std::int32_t slot : row) {
      const Tensor features = backend.download(cache.features(slot));
      std::memcpy(out, features.raw(), features.bytes());
      out += features.bytes();
    }
  return result;
}

}  // namespace detail

}}  // namespace idefics::v0
