// Pictures of what each word looked at: the picture under a tint from blue (the word's least
// attention to a patch) to yellow (its most).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <idefics/attention_rollout.hpp>
#include <idefics/image/image.hpp>

namespace cli {

/// The words of an answer to some pictures, and what they looked at.
struct AttendedWords {
  std::vector<idefics::Image> pictures;
  std::vector<idefics::WordSpan> words;
  idefics::AttentionRollout looks;  // of words
};

/// What a word looked at in a picture. The shares are of its attention to all pictures.
struct Look {
  double share = 0, patches = 0, class_token = 0, learned_latents = 0;
  double most = 0;                   // of one patch
  std::int64_t row = 0, column = 0;  // of that patch, counted from 1
};
Look look_of(const AttendedWords& all, std::size_t word, std::size_t picture);
/// "62%"
std::string percent(double share);
/// "100% of its attention, 62% on patches, most at row 3, column 5", or "not seen".
std::string summary(const Look& look);

/// A picture in memory, 3 or 4 channels of 8 bits.
struct Canvas {
  std::int64_t width = 0, height = 0, channels = 3;
  std::vector<std::uint8_t> samples{};
};

/// As a PNG file.
std::string png_file(const Canvas& canvas);
/// As a PNG file in a data: URL.
std::string png_url(const Canvas& canvas);

/// The picture, scaled to fit in a tile.
Canvas tile_of(const idefics::Image& picture);
/// The tint of a word over a picture, one pixel with alpha per patch.
Canvas tint_of(const AttendedWords& all, std::size_t word, std::size_t picture);

/// Where tiles go: a line of up to `words_per_line` words has their labels and, below, a row of
/// tiles for each picture.
struct SheetLayout {
  static constexpr std::int64_t gap = 12, label = 24;
  std::vector<Canvas> tiles;  // by picture
  std::int64_t tile_width = 0, line_height = 0, words_per_line = 6, width = 0, height = 0;

  explicit SheetLayout(const AttendedWords& all);
  /// The upper left corner of a word's label.
  std::array<std::int64_t, 2> label_at(std::size_t word) const;
  /// The upper left corner of a word's tile.
  std::array<std::int64_t, 2> tile_at(std::size_t word, std::size_t picture) const;
};

/// A tile for each word and picture, as a PNG or SVG file; a page on which words are chosen with the
/// pointer or the keyboard. The files need no others.
std::string heat_png(const AttendedWords& all);
std::string heat_svg(const AttendedWords& all);
std::string heat_html(const AttendedWords& all);

}  // namespace cli
