// The directory of a zip archive as torch.save writes it: entries are stored, not compressed, and
// can be used in place. Sizes and offsets are taken only from the central directory at the end, in
// its 64-bit form if there is one. Entries must be inside the file and must not overlap.
//
//   {local header, name, extra, bytes}…  {directory entry}…  [zip64 end, locator]  end
//
// Source: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/core/error.hpp>
#include <idefics/io/file_bytes.hpp>

namespace idefics { inline namespace v0 { namespace detail {

struct ZipEntry {
  std::string name;
  std::uint64_t begin = 0, end = 0;  // byte range in the file
};

inline constexpr std::uint64_t max_zip_entries = 1 << 18;  // far above any real file

class ZipReader {
 public:
  ZipReader(const FileBytes& bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  /// The entries, in file order.
  std::vector<ZipEntry> entries() {
    const Directory directory = find_directory();
    if (directory.entries > max_zip_entries)
      refuse("the archive has too many entries", {}, {}, max_zip_entries);
    std::uint64_t at = directory.begin;
    for (std::uint64_t i = 0; i < directory.entries; ++i) at = read_entry(at);
    if (at - directory.begin != directory.size)
      refuse("the size of the directory is not that of its entries", {}, at);
    check_overlap(directory.begin);
    std::vector<ZipEntry> entries;
    entries.reserve(places_.size());
    for (Place& place : places_) entries.push_back(std::move(place.entry));
    return entries;
  }

 private:
  struct Directory {
    std::uint64_t entries, size, begin;
  };
  struct Place {
    std::uint64_t header;  // offset of the local header
    ZipEntry entry;
  };

  [[noreturn]] void refuse(const char* why, const std::string& entry = {},
                           std::optional<std::uint64_t> offset = {},
                           std::optional<std::uint64_t> limit = {},
                           ErrorCode code = ErrorCode::invalid_torch_file) const {
    fail(code, why, {.file = file_, .field = entry, .offset = offset, .limit = limit});
  }

  /// Valid until the next call.
  std::string_view text(std::uint64_t at, std::uint64_t size) const {
    if (at > bytes_.size() || size > bytes_.size() - at)
      fail(ErrorCode::truncated_file, "the file ends within the archive's directory",
           {.file = file_, .offset = at, .actual = bytes_.size()});
    return bytes_.text(at, size);
  }
  template <class T>
  std::uint64_t number(std::uint64_t at) const {
    static_assert(std::endian::native == std::endian::little, "the format is little-endian");
    T value;
    std::memcpy(&value, text(at, sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::uint64_t u16(std::uint64_t at) const { return number<std::uint16_t>(at); }
  std::uint64_t u32(std::uint64_t at) const { return number<std::uint32_t>(at); }
  std::uint64_t u64(std::uint64_t at) const { return number<std::uint64_t>(at); }

  void expect(std::uint64_t at, std::string_view signature, const char* what) const {
    if (text(at, 4) != signature) refuse(what, {}, at);
  }

  /// The end record is at the end of the file, followed only by a comment of at most 64 KiB.
  Directory find_directory() const {
    const std::uint64_t size = bytes_.size(), tail = std::min<std::uint64_t>(size, 22 + 0xffff);
    const auto found = text(size - tail, tail).rfind("PK\5\6");
    const std::uint64_t at = size - tail + found;
    if (found == std::string_view::npos || size - at < 22 || at + 22 + u16(at + 20) != size)
      fail(ErrorCode::truncated_file, "the file ends before the archive does",
           {.file = file_, .actual = size});
    if (at >= 20 && text(at - 20, 4) == "PK\6\7") {
      const std::uint64_t wide = u64(at - 12);
      expect(wide, "PK\6\6", "the 64-bit end record is not where its locator says");
      return {u64(wide + 32), u64(wide + 40), u64(wide + 48)};
    }
    return {u16(at + 10), u32(at + 12), u32(at + 16)};
  }

  /// Reads the directory entry at `at`; returns the offset of the next.
  std::uint64_t read_entry(std::uint64_t at) {
    expect(at, "PK\1\2", "a directory entry does not begin with its signature");
    const std::uint64_t name_size = u16(at + 28), extra_size = u16(at + 30);
    std::string name(text(at + 46, name_size));
    if (std::ranges::any_of(name, [](char c) { return c >= '\0' && c < ' '; }))
      refuse("the name of an entry contains control characters", {}, at);
    const std::uint64_t flags = u16(at + 8), method = u16(at + 10);
    if ((flags & 1u) != 0)
      refuse("the entry is encrypted", name, at, {}, ErrorCode::unsupported_torch_file);
    if (method != 0)
      refuse("the entry is compressed; only stored entries are supported", name, at, {},
             ErrorCode::unsupported_torch_file);
    std::uint64_t size = u32(at + 24), stored = u32(at + 20), header = u32(at + 42);
    widen(text(at + 46 + name_size, extra_size), name, {&size, &stored, &header});
    if (size != stored) refuse("the stored and uncompressed sizes of the entry differ", name, at);
    places_.push_back(located(std::move(name), header, size));
    return at + 46 + name_size + extra_size + u16(at + 32);
  }

  /// Fields that are all ones have 64-bit values in the extra field, in this order.
  void widen(std::string_view extra, const std::string& name,
             std::initializer_list<std::uint64_t*> fields) const {
    std::string_view wide;
    while (extra.size() >= 4 && wide.empty()) {
      std::uint16_t id, size;
      std::memcpy(&id, extra.data(), 2);
      std::memcpy(&size, extra.data() + 2, 2);
      extra.remove_prefix(4);
      if (id == 1) wide = extra.substr(0, size);
      extra.remove_prefix(std::min<std::size_t>(size, extra.size()));
    }
    for (std::uint64_t* field : fields) {
      if (*field != 0xffffffff) continue;
      if (wide.size() < 8) refuse("a 64-bit size or offset is missing", name);
      std::memcpy(field, wide.data(), 8);
      wide.remove_prefix(8);
    }
  }

  /// Finds the bytes of an entry, which follow its local header; the name there must be the same.
  Place located(std::string name, std::uint64_t header, std::uint64_t size) const {
    expect(header, "PK\3\4", "an entry is not where the directory says");
    const std::uint64_t name_size = u16(header + 26);
    if (text(header + 30, name_size) != name)
      refuse("the directory has another name for the entry", name, header);
    const std::uint64_t begin = header + 30 + name_size + u16(header + 28);
    if (begin > bytes_.size() || size > bytes_.size() - begin)
      fail(ErrorCode::truncated_file, "the file ends before the entry's bytes do",
           {.file = file_, .field = name, .actual = bytes_.size()});
    return {header, {std::move(name), begin, begin + size}};
  }

  void check_overlap(std::uint64_t directory) {
    std::ranges::sort(places_, {}, &Place::header);
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const std::uint64_t limit = i + 1 < places_.size() ? places_[i + 1].header : directory;
      const ZipEntry& entry = places_[i].entry;
      if (entry.end > limit)
        refuse("the bytes of the entry overlap what follows", entry.name, entry.begin, limit);
    }
  }

  const FileBytes& bytes_;
  const std::string& file_;
  std::vector<Place> places_;
};

/// The entries of an archive, in file order; `file` is named in errors. Throws `truncated_file`,
/// `invalid_torch_file`, or `unsupported_torch_file` for entries that are compressed or encrypted.
inline std::vector<ZipEntry> parse_zip(const FileBytes& bytes, const std::string& file) {
  return ZipReader(bytes, file).entries();
}

}}}  // namespace idefics::v0::detail
