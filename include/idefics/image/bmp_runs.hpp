// Run-length encoded BMP as Pillow unpacks it, including its deviations from the format: the two
// bytes before those of a jump are skipped, and the last of an odd number of 4-bit literals is
// lost.
#pragma once

#include <cstdint>
#include <vector>

#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Reads pairs of bytes: a run, or a zero and a command.
class BmpRuns {
 public:
  BmpRuns(const ByteReader& in, std::uint64_t at, std::uint64_t width, std::uint64_t height,
          bool four_bits)
      : in_(in), at_(at), width_(width), count_(width * height), four_bits_(four_bits) {}

  /// Rows from the bottom up. Refuses data that ends before the last pixel.
  std::vector<std::uint8_t> unpack() {
    while (indices_.size() < count_ && !ended_ && at_ + 1 < in_.size()) {
      const std::uint64_t length = in_.byte(at_), value = in_.byte(at_ + 1);
      at_ += 2;
      length != 0 ? run(length, value) : command(value);
    }
    if (indices_.size() < count_) (void)in_.byte(in_.size());
    indices_.resize(count_);
    return std::move(indices_);
  }

 private:
  /// A run is cut off at the end of its row.
  void run(std::uint64_t length, std::uint64_t value) {
    length = std::min(length, width_ > x_ ? width_ - x_ : 0);
    for (std::uint64_t i = 0; i < length; ++i)
      push(!four_bits_ ? value : i % 2 == 0 ? value >> 4 : value & 15);
    x_ += length;
  }
  void command(std::uint64_t what) {
    if (what == 0) {  // the rest of the row has colour 0
      indices_.resize((indices_.size() + width_ - 1) / width_ * width_);
      x_ = 0;
    } else if (what == 1) {
      ended_ = true;
    } else if (what == 2) {
      const std::uint64_t right = in_.byte(at_ + 2), up = in_.byte(at_ + 3);
      at_ += 4;
      indices_.resize(indices_.size() + right + up * width_);
      x_ = indices_.size() % width_;
    } else {
      literals(what);
    }
  }
  /// Literal indices, padded to an even position in the file.
  void literals(std::uint64_t count) {
    const auto bytes = in_.part_within(at_, four_bits_ ? count / 2 : count);
    for (const std::byte byte : bytes) {
      const auto value = static_cast<std::uint64_t>(byte);
      if (four_bits_) push(value >> 4);
      push(four_bits_ ? value & 15 : value);
    }
    x_ += count;
    at_ += bytes.size();
    at_ += at_ % 2;
  }
  void push(std::uint64_t index) { indices_.push_back(static_cast<std::uint8_t>(index)); }

  const ByteReader& in_;
  std::uint64_t at_, x_ = 0, width_, count_;
  bool four_bits_, ended_ = false;
  std::vector<std::uint8_t> indices_;
};

/// Indices [Y,X] in file order.
inline std::vector<std::uint8_t> unpack_bmp_runs(const ByteReader& in, std::uint64_t at,
                                                 std::uint64_t width, std::uint64_t height,
                                                 bool four_bits) {
  return BmpRuns(in, at, width, height, four_bits).unpack();
}

}}}  // namespace idefics::v0::detail
