// Uncompressed TIFF data: strips or tiles, each at an offset of its own, as Pillow reads them. What
// no strip covers is zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <idefics/image/tiff_directory.hpp>
#include <idefics/image/tiff_layout.hpp>
#include <idefics/image/tiff_samples.hpp>

namespace idefics { inline namespace v0 { namespace detail {

[[noreturn]] inline void refuse_tiff(const std::string& what, const std::string& name) {
  fail(ErrorCode::unsupported_image, "unsupported TIFF: " + what, {.file = name});
}

/// A TIFF whose tags are read.
struct TiffPicture {
  std::uint64_t width = 0, height = 0;
  std::int64_t planes = 1;  // 2: each sample in a plane of its own
  TiffForm form{};
  TiffMode mode{};
};

/// A strip or tile: its part of the picture, where its data is, and how that is stored.
struct TiffTile {
  std::uint64_t x = 0, y = 0, width = 0, height = 0, at = 0, stride = 0;
  std::string raw{};

  bool same_but_offset(const TiffTile& other) const {
    return x == other.x && y == other.y && width == other.width && height == other.height &&
           stride == other.stride && raw == other.raw;
  }
};

/// The tiles in the order of their offsets in the list of tags.
class TiffTiles {
 public:
  TiffTiles(const TiffDirectory& tags, const TiffPicture& picture, const std::string& name)
      : picture_(picture), name_(name) {
    const bool strips = tags.contains(273);
    auto offsets = tags.integers(strips ? 273 : 324);
    if (!offsets) fail(ErrorCode::invalid_image, "the TIFF has no pixels", {.file = name});
    width_ = strips ? picture.width : side(tags.integer(322, -1));
    height_ = strips ? side(tags.integer(278, static_cast<std::int64_t>(picture.height)))
                     : side(tags.integer(323, -1));
    if (width_ == picture.width && height_ == picture.height && picture.planes != 2)
      offsets->erase(offsets->begin(),
                     offsets->end() - 1);  // each covers all: only the last counts
    for (const std::int64_t offset : *offsets) add(side(offset));
  }

  /// In the order of decoding: by offset, and of equal ones in a row only the last.
  std::vector<TiffTile> sorted() {
    std::ranges::stable_sort(tiles_, {}, &TiffTile::at);
    std::vector<TiffTile> kept;
    for (TiffTile& tile : tiles_) {
      if (!kept.empty() && kept.back().same_but_offset(tile)) kept.pop_back();
      kept.push_back(std::move(tile));
    }
    return kept;
  }

 private:
  std::uint64_t side(std::int64_t value) const {
    if (value < 0)
      fail(ErrorCode::invalid_image, "the strips or tiles of the TIFF are damaged",
           {.file = name_});
    return static_cast<std::uint64_t>(value);
  }

  void add(std::uint64_t offset) {
    const std::uint64_t whole_width = picture_.width, whole_height = picture_.height;
    TiffTile tile{.x = x_,
                  .y = y_,
                  .width = std::min(width_, whole_width - x_),
                  .height = std::min(height_, whole_height - y_),
                  .at = offset,
                  .raw = picture_.mode.raw};
    double stride = 0;
    if (x_ + width_ > whole_width) {
      double bits = 0;
      for (const std::int64_t b : picture_.form.bits) bits += static_cast<double>(b);
      stride = static_cast<double>(width_) * bits / 8;
    }
    if (picture_.planes == 2) {
      if (layer_ >= tile.raw.size()) refuse_tiff("more planes than samples", name_);
      tile.raw = tile.raw.substr(layer_, 1);
      stride /= static_cast<double>(planes_of_form());
    }
    tile.stride = static_cast<std::uint64_t>(stride);
    if (tile.x == 0 && tile.width == 0)
      tile.y = 0, tile.width = whole_width, tile.height = whole_height;
    count_pixels(tile);
    tiles_.push_back(std::move(tile));
    x_ += width_;
    if (x_ < whole_width) return;
    x_ = 0, y_ += height_;
    if (y_ >= whole_height) y_ = 0, ++layer_;
  }

  std::size_t planes_of_form() const {
    const std::int64_t photometric = picture_.form.photometric;
    const std::size_t colours = photometric == 2 || photometric == 6 || photometric == 8 ? 3
                                : photometric == 5                                       ? 4
                                                                                         : 1;
    return colours + picture_.form.extra.size();
  }

  /// Limits the work: tiles that cover the picture several times.
  void count_pixels(const TiffTile& tile) {
    constexpr std::uint64_t most = 16;  // of a plane of each of six samples, and some more
    pixels_ += tile.width * tile.height;
    if (pixels_ > most * picture_.width * picture_.height)
      fail(ErrorCode::unsupported_image, "unsupported TIFF: its strips cover it again and again",
           {.file = name_, .limit = most});
  }

  const TiffPicture& picture_;
  const std::string& name_;
  std::uint64_t width_ = 0, height_ = 0, x_ = 0, y_ = 0, pixels_ = 0;
  std::size_t layer_ = 0;
  std::vector<TiffTile> tiles_;
};

/// Decodes one tile into its part of `to`.
inline void read_tiff_tile(const ByteReader& in, const TiffTile& tile, const std::string& mode,
                           Bitmap& to) {
  const auto unpack = TiffUnpacker::find(mode, tile.raw);
  if (!unpack) refuse_tiff(mode + " from " + tile.raw, in.name());
  if (tile.width == 0 || tile.height == 0)
    fail(ErrorCode::invalid_image, "a tile of the TIFF has no pixels", {.file = in.name()});
  const std::uint64_t row = (tile.width * unpack->bits() + 7) / 8,
                      stride = tile.stride == 0 ? row : tile.stride;
  if (stride < row)
    fail(ErrorCode::invalid_image, "the rows of the TIFF are too short", {.file = in.name()});
  const auto data = in.part(tile.at, stride * (tile.height - 1) + row);
  for (std::uint64_t y = 0; y < tile.height; ++y)
    (*unpack)(reinterpret_cast<const std::uint8_t*>(data.data()) + y * stride,
              &to.samples[((tile.y + y) * to.width + tile.x) * to.channels], tile.width);
}

inline void read_plain_tiff(const ByteReader& in, const TiffDirectory& tags,
                            const TiffPicture& picture, Bitmap& to) {
  for (const TiffTile& tile : TiffTiles(tags, picture, in.name()).sorted())
    read_tiff_tile(in, tile, picture.mode.mode, to);
}

}}}  // namespace idefics::v0::detail
