// The directories of a TIFF file, and of EXIF data, which has the same structure: numbered tags
// with values of a type and a count. Read as Pillow reads them: a directory that is cut off has the
// tags up to there, and values that are not numbers are bytes.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <idefics/image/guards.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct TiffHeader {
  bool big_endian = false, big = false;  // of the bytes of a number; BigTIFF
  std::uint64_t first = 0;               // offset of the first directory
};

/// The header at the start of `in`, or nothing if it is not one.
inline std::optional<TiffHeader> read_tiff_header(const ByteReader& in) {
  if (in.size() < 8) return {};
  const std::array<std::uint64_t, 4> magic{in.byte(0), in.byte(1), in.byte(2), in.byte(3)};
  const bool intel = magic[0] == 'I' && magic[1] == 'I',
             motorola = magic[0] == 'M' && magic[1] == 'M';
  if (!intel && !motorola) return {};
  const std::uint64_t low = magic[intel ? 2 : 3], high = magic[intel ? 3 : 2];
  // 42, or with its bytes in the wrong order; 43 for BigTIFF
  if (!(low == 42 && high == 0) && !(low == 0 && high == 42) && !(low == 43 && high == 0))
    return {};
  TiffHeader header{.big_endian = motorola, .big = magic[2] == 43};
  if (header.big && in.size() < 16) return {};
  // As in Pillow, which looks for the version in the first of its two bytes only: BigTIFF in
  // Motorola's order is read like TIFF.
  const std::uint64_t at = header.big ? 8 : 4;
  header.first = in.number(at, header.big ? 8 : 4, header.big_endian);
  return header;
}

/// One tag: a type, a number of values, and where they are.
struct TiffTag {
  std::uint64_t type = 0, count = 0, at = 0;
};

/// Bytes of a value by type; 0 for types that are skipped.
constexpr std::uint64_t tiff_type_bytes(std::uint64_t type) {
  constexpr std::array<std::uint8_t, 17> bytes{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};
  return type < bytes.size() ? bytes[type] : 0;
}

class TiffDirectory {
 public:
  /// Reads the directory at `offset` of `in`, which must outlive this object.
  TiffDirectory(const ByteReader& in, const TiffHeader& header, std::uint64_t offset)
      : in_(&in), header_(header), offset_(offset) {
    const std::uint64_t wide = header.big ? 8 : 2, entry = header.big ? 20 : 12;
    if (!in.has(offset, wide)) return;
    const std::uint64_t count = number(offset, wide);
    std::uint64_t at = offset + wide;
    for (std::uint64_t i = 0; i < count && in.has(at, entry); ++i, at += entry)
      if (!read_entry(at)) return;
  }

  bool contains(std::uint64_t tag) const { return tags_.contains(tag); }
  std::uint64_t offset() const { return offset_; }
  const TiffHeader& header() const { return header_; }

  /// The values of a tag whose type is one of integers: bytes do not count, as in Pillow. Nothing
  /// if it is absent or has another type. At most `limit` values are read.
  std::optional<std::vector<std::int64_t>> integers(std::uint64_t tag,
                                                    std::uint64_t limit = 1u << 20) const {
    const auto found = tags_.find(tag);
    if (found == tags_.end()) return {};
    const auto& [type, count, at] = found->second;
    const bool is_signed = type == 6 || type == 8 || type == 9;
    if (!is_signed && type != 3 && type != 4 && type != 13 && type != 16) return {};
    const std::uint64_t bytes = tiff_type_bytes(type);
    std::vector<std::int64_t> values;
    for (std::uint64_t i = 0; i < std::min(count, limit); ++i) {
      std::uint64_t value = number(at + i * bytes, bytes);
      if (is_signed && bytes < 8 && value >> (8 * bytes - 1) != 0) value -= 1ull << (8 * bytes);
      values.push_back(static_cast<std::int64_t>(value));
    }
    return values;
  }
  /// The first value of a tag, or `missing` if it is absent. Throws `unsupported_image` if it is
  /// not an integer.
  std::int64_t integer(std::uint64_t tag, std::int64_t missing) const {
    if (!contains(tag)) return missing;
    const auto values = integers(tag, 1);
    if (!values || values->empty())
      fail(ErrorCode::unsupported_image,
           "unsupported TIFF: tag " + std::to_string(tag) + " is not an integer",
           {.file = in_->name(), .offset = tags_.at(tag).at});
    return values->front();
  }
  /// The bytes of a tag of any type.
  std::span<const std::byte> bytes(std::uint64_t tag) const {
    const auto found = tags_.find(tag);
    if (found == tags_.end()) return {};
    return in_->part(found->second.at, found->second.count * tiff_type_bytes(found->second.type));
  }
  /// The EXIF orientation, 1 to 8, if the tag has one of these numbers in any numeric type.
  std::optional<unsigned> orientation() const {
    const auto found = tags_.find(274);
    if (found == tags_.end()) return {};
    const double value = first_number(found->second);
    for (unsigned i = 1; i <= 8; ++i)
      if (value == i) return i;
    return 0;
  }

 private:
  std::uint64_t number(std::uint64_t at, std::uint64_t bytes) const {
    return in_->number(at, static_cast<unsigned>(bytes), header_.big_endian);
  }

  /// Whether reading goes on: a value that is not within the file ends the directory.
  bool read_entry(std::uint64_t at) {
    const std::uint64_t tag = number(at, 2), type = number(at + 2, 2), wide = header_.big ? 8 : 4,
                        count = number(at + 4, wide), bytes = tiff_type_bytes(type);
    if (bytes == 0 || count == 0) return true;
    if (count > in_->size()) return false;
    std::uint64_t where = at + 4 + wide;
    if (count * bytes > wide) where = number(where, wide);
    if (!in_->has(where, count * bytes)) return false;
    tags_[tag] = {type, count, where};
    return true;
  }

  double first_number(const TiffTag& tag) const {
    const std::uint64_t type = tag.type;
    if (type == 1 || type == 2 || type == 7) return 0;  // bytes
    if (type == 11)
      return double{std::bit_cast<float>(static_cast<std::uint32_t>(number(tag.at, 4)))};
    if (type == 12) return std::bit_cast<double>(number(tag.at, 8));
    if (type == 5 || type == 10) {
      const auto part = [&](std::uint64_t at) {
        const auto value = static_cast<std::uint32_t>(number(at, 4));
        return type == 5 ? static_cast<double>(value)
                         : static_cast<double>(static_cast<std::int32_t>(value));
      };
      const double denominator = part(tag.at + 4);
      return denominator == 0 ? 0 : part(tag.at) / denominator;
    }
    const std::uint64_t bytes = tiff_type_bytes(type), value = number(tag.at, bytes);
    return static_cast<double>(value);
  }

  const ByteReader* in_;
  TiffHeader header_;
  std::uint64_t offset_;
  std::map<std::uint64_t, TiffTag> tags_;
};

}}}  // namespace idefics::v0::detail
