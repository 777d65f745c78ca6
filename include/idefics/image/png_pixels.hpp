// The pixels of a PNG: inflated row by row, unfiltered, and put into place, in one pass or in the
// seven of Adam7. Data may end early where it ends with a row: the rest is zero, as in Pillow.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <idefics/image/bitmap.hpp>
#include <idefics/image/inflate.hpp>
#include <idefics/image/png_chunks.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Undoes the filter of a row, which `row` begins with the number of, given the previous row.
/// False for an unknown filter.
inline bool unfilter_png_row(std::span<std::uint8_t> row, std::span<const std::uint8_t> previous,
                             std::size_t step) {
  const auto add = [&row](std::size_t i, int value) {
    row[i] = static_cast<std::uint8_t>(row[i] + value);
  };
  const std::size_t size = row.size();
  switch (row[0]) {
    case 0: return true;
    case 1:
      for (std::size_t i = 1 + step; i < size; ++i) add(i, row[i - step]);
      return true;
    case 2:
      for (std::size_t i = 1; i < size; ++i) add(i, previous[i]);
      return true;
    case 3:
      for (std::size_t i = 1; i < size; ++i)
        add(i, ((i > step ? row[i - step] : 0) + previous[i]) / 2);
      return true;
    case 4:
      for (std::size_t i = 1; i < size; ++i) {
        const int left = i > step ? row[i - step] : 0, up = previous[i],
                  corner = i > step ? previous[i - step] : 0;
        const int to_left = std::abs(up - corner), to_up = std::abs(left - corner),
                  to_corner = std::abs(left + up - 2 * corner);
        add(i, to_left <= to_up && to_left <= to_corner ? left : to_up <= to_corner ? up : corner);
      }
      return true;
    default: return false;
  }
}

/// Decodes the pixels of `box` into a canvas of `info`'s size.
class PngPixels {
 public:
  PngPixels(const PngInfo& info, const PngBox& box, const std::string& name)
      : depth_(info.depth),
        grey16_(info.colour_type == 0 && info.depth == 16),
        interlaced_(info.interlaced),
        box_(box),
        canvas_(blank_bitmap(info.width, info.height, channels_of(info.colour_type))),
        bits_(info.depth * canvas_.channels),
        row_(1 + (bits_ * width() + 7) / 8),
        previous_(row_.size()),
        name_(name) {
    if (interlaced_) y_ = passes[0].y0;
  }

  /// Decodes a piece of the data. Returns whether the picture is complete.
  bool feed(std::span<const std::byte> data) {
    stream_.set_input(data);
    while (stream_.has_input()) {
      const std::size_t size = 1 + row_bytes();
      filled_ += stream_.read(std::span(row_).subspan(filled_, size - filled_));
      if (stream_.damaged()) refuse("the pixels of the PNG are damaged: " + stream_.message());
      if (filled_ < size) break;
      filled_ = 0;
      if (!unfilter_png_row(std::span(row_).first(size), previous_,
                            std::max<std::size_t>(1, bits_ / 8)))
        refuse("the PNG has an unknown filter");
      interlaced_ ? put_pass_row() : put_row();
      if (y_ >= height() || stream_.ended()) return true;
      std::swap(row_, previous_);
    }
    return false;
  }

  /// Levels [Y,X,channels] of 8 bits; those of fewer bits as they are in the file.
  Bitmap take() { return std::move(canvas_); }

 private:
  struct Pass {
    std::uint64_t x0, y0, dx, dy;
  };
  static constexpr std::array<Pass, 7> passes{{{0, 0, 8, 8},
                                               {4, 0, 8, 8},
                                               {0, 4, 4, 8},
                                               {2, 0, 4, 4},
                                               {0, 2, 2, 4},
                                               {1, 0, 2, 2},
                                               {0, 1, 1, 2}}};

  static std::size_t channels_of(unsigned colour_type) {
    constexpr std::array<std::size_t, 7> channels{1, 0, 3, 1, 2, 0, 4};
    return channels[colour_type];
  }
  std::uint64_t width() const { return box_.x1 - box_.x0; }
  std::uint64_t height() const { return box_.y1 - box_.y0; }
  std::uint64_t pass_width() const {
    const Pass& pass = passes[pass_];
    return (width() + pass.dx - 1 - pass.x0) / pass.dx;
  }
  std::size_t row_bytes() const {
    return interlaced_ ? (bits_ * pass_width() + 7) / 8 : row_.size() - 1;
  }
  [[noreturn]] void refuse(const std::string& why) const {
    fail(ErrorCode::invalid_image, why, {.file = name_});
  }

  /// Sample `i` of the row, reduced to 8 bits: the high byte of 16 but for levels of grey alone,
  /// which saturate.
  std::uint8_t sample(std::size_t i) const {
    const std::uint8_t* bytes = &row_[1];
    if (depth_ == 8) return bytes[i];
    if (depth_ == 16) return grey16_ && bytes[2 * i] != 0 ? 255 : bytes[2 * i + (grey16_ ? 1 : 0)];
    const std::size_t shift = 8 - depth_ * (i % (8 / depth_) + 1);
    return static_cast<std::uint8_t>(bytes[i * depth_ / 8] >> shift & ((1u << depth_) - 1));
  }

  void put_row() {
    const std::size_t count = width() * canvas_.channels;
    std::uint8_t* to =
        &canvas_.samples[((box_.y0 + y_) * canvas_.width + box_.x0) * canvas_.channels];
    if (depth_ == 8)
      std::copy_n(&row_[1], count, to);
    else
      for (std::size_t i = 0; i < count; ++i) to[i] = sample(i);
    ++y_;
  }

  /// Puts a row of a pass into place, and finds the next row that has pixels. The place of `box` on
  /// the canvas does not count, as in Pillow.
  void put_pass_row() {
    const Pass& pass = passes[pass_];
    for (std::size_t i = 0; i < pass_width(); ++i) {
      const std::size_t x = pass.x0 + i * pass.dx;
      std::uint8_t* to = &canvas_.samples[(y_ * canvas_.width + x) * canvas_.channels];
      for (std::size_t c = 0; c < canvas_.channels; ++c) to[c] = sample(i * canvas_.channels + c);
    }
    y_ += pass.dy;
    while (y_ >= height() || row_bytes() == 0) {
      if (++pass_ == passes.size()) {
        y_ = height();
        return;
      }
      y_ = passes[pass_].y0;
      std::ranges::fill(row_, std::uint8_t{0});  // becomes the previous row
    }
  }

  unsigned depth_;
  bool grey16_, interlaced_;
  PngBox box_;
  Bitmap canvas_;
  std::size_t bits_;                          // of a pixel
  std::vector<std::uint8_t> row_, previous_;  // with the number of the filter
  std::size_t filled_ = 0, pass_ = 0;         // bytes of `row_`; the pass of Adam7
  std::uint64_t y_ = 0;
  Inflate stream_;
  const std::string& name_;
};

}}}  // namespace idefics::v0::detail
