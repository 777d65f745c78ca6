// The header of a safetensors file: a JSON object from tensor names to dtype, shape and byte range.
// It is parsed event by event and refused at the first rule that it breaks. A hostile header of the
// largest size that the format allows therefore costs bounded time, and memory in proportion to its
// valid entries only. docs/errors.md lists the errors.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/tensor_file.hpp>

namespace idefics { inline namespace v0 {

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in file order
  std::map<std::string, std::string> metadata;
};

namespace detail {

/// Validates a header against every rule of the format. `bytes` is the file, or all of it that
/// precedes the tensors; then `file_size` is its size. `file` is named in errors. Throws
/// `truncated_file`, `oversized_file`, `invalid_safetensors`, `unsupported_dtype`, `duplicate_key`,
/// `invalid_json` or `git_lfs_pointer`.
IDEFICS_ENGINE_INLINE SafetensorsHeader
parse_safetensors_header(std::span<const std::byte> bytes, const std::string& file,
                         std::optional<std::uint64_t> file_size = {});

/// The header of an open file, which is read into memory first: nothing can change it while it is
/// validated. Throws what parse_safetensors_header throws, and `file_changed`.
IDEFICS_ENGINE_INLINE SafetensorsHeader read_safetensors_header(const MappedFile& file);

}  // namespace detail

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/io/json.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline constexpr std::uint64_t max_header_bytes = 100'000'000;  // the format's own limit
inline constexpr std::string_view json_spaces = " \t\r\n";

/// Builds the entries of a header from the events of the JSON parser.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  /// The header's text begins at `text_begin` of the file, the bytes of tensors at `data_begin`.
  HeaderReader(const std::string& file, std::uint64_t text_begin, std::uint64_t data_begin)
      : file_(file), text_begin_(text_begin), data_begin_(data_begin) {}

  SafetensorsHeader take() {
    check_names();
    return std::move(header_);
  }

  bool null() override {
    if (place_ != Place::header || tensor_ != metadata_name) return is_ignored();
    start_metadata();  // the same as none
    return true;
  }
  bool boolean(bool) override { return is_ignored(); }
  bool number_integer(number_integer_t) override { return is_ignored(); }  // negative
  bool number_unsigned(number_unsigned_t value) override {
    if (!ignores()) add_integer(value);
    return true;
  }
  bool number_float(number_float_t, const string_t&) override { return is_ignored(); }
  bool binary(binary_t&) override { unexpected(); }
  bool string(string_t& value) override {
    if (ignores()) return true;
    if (place_ == Place::metadata)
      set_metadata(value);
    else if (place_ == Place::entry && field_ == Field::dtype)
      set_dtype(value);
    else
      unexpected();
    return true;
  }

  bool start_object(std::size_t) override {
    if (ignores()) return start_ignored();
    if (place_ == Place::outside)
      place_ = Place::header;
    else if (place_ == Place::header)
      start_entry();
    else
      unexpected();
    return true;
  }
  bool key(string_t& name) override {
    if (place_ == Place::header)
      tensor_ = std::move(name);
    else if (place_ == Place::metadata)
      metadata_key_ = std::move(name);
    else if (place_ == Place::entry)
      set_field(name);
    return true;
  }
  bool end_object() override {
    if (place_ == Place::ignored) return end_ignored();
    if (place_ == Place::entry) end_entry();
    place_ = place_ == Place::header ? Place::outside : Place::header;
    return true;
  }
  bool start_array(std::size_t) override {
    if (ignores()) return start_ignored();
    if (place_ != Place::entry || field_ == Field::dtype) unexpected();
    place_ = Place::list;
    return true;
  }
  bool end_array() override {
    if (place_ == Place::ignored) return end_ignored();
    place_ = Place::entry;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    fail_json(error, file_, text_begin_ + position - std::min<std::size_t>(position, 1));
  }

 private:
  enum class Place { outside, header, entry, metadata, list, ignored };
  enum class Field { dtype, shape, data_offsets, unknown };

  static constexpr std::string_view metadata_name = "__metadata__";
  static constexpr int max_depth = 125;  // of values in unknown fields, as in the format's reader

  [[noreturn]] void refuse(ErrorCode code, const std::string& why,
                           std::optional<std::uint64_t> limit = {}) const {
    fail(code, why, {.file = file_, .tensor = tensor_, .limit = limit});
  }
  [[noreturn]] void unexpected() const {
    if (place_ == Place::metadata)
      fail(ErrorCode::invalid_safetensors, "metadata must map names to strings",
           {.file = file_, .field = metadata_key_});
    if (place_ == Place::list)
      refuse(ErrorCode::invalid_safetensors, "a size must be an unsigned integer up to 2^48",
             max_integer);
    refuse(ErrorCode::invalid_safetensors,
           place_ == Place::entry ? "dtype must be a string, shape a list and data_offsets a pair"
                                  : "an entry must have dtype, shape and data_offsets");
  }

  /// The format's reader ignores fields of an entry that it does not know, whatever they hold.
  bool ignores() const {
    return place_ == Place::ignored || (place_ == Place::entry && field_ == Field::unknown);
  }
  bool is_ignored() const {
    if (!ignores()) unexpected();
    return true;
  }
  bool start_ignored() {
    if (++ignored_depth_ > max_depth)
      refuse(ErrorCode::invalid_safetensors, "an unknown field is nested too deeply", max_depth);
    place_ = Place::ignored;
    return true;
  }
  bool end_ignored() {
    if (--ignored_depth_ == 0) place_ = Place::entry;
    return true;
  }

  void start_metadata() {
    if (std::exchange(has_metadata_, true))
      refuse(ErrorCode::duplicate_key, "duplicate __metadata__");
  }
  void start_entry() {
    if (header_.tensors.size() == max_entries)
      refuse(ErrorCode::invalid_safetensors, "the header has too many entries", max_entries);
    const bool metadata = tensor_ == metadata_name;
    place_ = metadata ? Place::metadata : Place::entry;
    if (metadata) start_metadata();
    entry_ = TensorInfo{.name = tensor_, .dtype_name = {}, .dtype = {}, .dims = {}};
    seen_ = 0, bits_ = 0;
    offsets_.clear();
  }
  void set_field(const std::string& name) {
    static constexpr std::string_view names[] = {"dtype", "shape", "data_offsets"};
    const auto* known = std::ranges::find(names, std::string_view(name));
    const auto index = static_cast<unsigned>(known - names);
    field_ = static_cast<Field>(index);
    if (field_ == Field::unknown) return;
    if ((seen_ >> index & 1u) != 0) refuse(ErrorCode::duplicate_key, name + " is given twice");
    seen_ |= 1u << index;
  }
  void set_metadata(const std::string& value) {
    if (header_.metadata.size() == max_entries)
      refuse(ErrorCode::invalid_safetensors, "the metadata has too many entries", max_entries);
    if (!header_.metadata.emplace(metadata_key_, value).second)
      fail(ErrorCode::duplicate_key, "duplicate name in __metadata__",
           {.file = file_, .field = metadata_key_});
  }
  void set_dtype(const std::string& name) {
    const auto* known = std::ranges::find(format_dtypes, name, &FormatDType::name);
    if (known == std::end(format_dtypes))
      refuse(ErrorCode::unsupported_dtype, "unknown dtype \"" + name.substr(0, 64) + "\"");
    entry_.dtype_name = name;
    entry_.dtype = known->dtype;
    bits_ = known->bits;
  }
  void add_integer(std::uint64_t value) {
    if (place_ != Place::list || value > max_integer) unexpected();
    if (field_ == Field::data_offsets) {
      if (offsets_.size() == 2)
        refuse(ErrorCode::invalid_safetensors, "data_offsets has more than two numbers", 2);
      offsets_.push_back(value + data_begin_);
    } else {
      if (entry_.dims.size() == max_rank)
        refuse(ErrorCode::invalid_safetensors, "the shape has too many dimensions", max_rank);
      entry_.dims.push_back(static_cast<std::int64_t>(value));
    }
  }

  std::uint64_t bits_of_entry() const {
    Checked bits = bits_;
    try {
      for (const std::int64_t dim : entry_.dims) bits = bits * static_cast<std::uint64_t>(dim);
    } catch (const Error& error) {
      refuse(error.code(), "the shape needs more than 2^64 bits");
    }
    return bits.value();
  }
  void end_entry() {
    if (seen_ != 7 || offsets_.size() != 2)
      refuse(ErrorCode::invalid_safetensors,
             seen_ != 7 ? "an entry must have dtype, shape and data_offsets"
                        : "data_offsets must be a pair");
    entry_.begin = offsets_[0], entry_.end = offsets_[1];
    const std::uint64_t bits = bits_of_entry();
    if (entry_.end < entry_.begin || bits % 8 != 0 || bits / 8 != entry_.end - entry_.begin)
      refuse(ErrorCode::invalid_safetensors, "the shape needs " + std::to_string(bits / 8) +
                                                 " bytes, but data_offsets span another number");
    header_.tensors.push_back(std::move(entry_));
  }

  void check_names() const {
    std::vector<std::string_view> names;
    for (const TensorInfo& tensor : header_.tensors) names.push_back(tensor.name);
    std::ranges::sort(names);
    if (const auto duplicate = std::ranges::adjacent_find(names); duplicate != names.end())
      fail(ErrorCode::duplicate_key, "duplicate tensor name",
           {.file = file_, .tensor = std::string(*duplicate)});
  }

  const std::string& file_;
  std::uint64_t text_begin_, data_begin_;
  SafetensorsHeader header_;
  Place place_ = Place::outside;
  std::string tensor_, metadata_key_;  // the names being read
  bool has_metadata_ = false;
  TensorInfo entry_;
  Field field_ = Field::dtype;
  int ignored_depth_ = 0;
  unsigned seen_ = 0;       // fields of the entry, one bit each
  std::uint64_t bits_ = 0;  // of one element
  std::vector<std::uint64_t> offsets_;
};

/// Sorts the tensors by offset. They must be adjacent, without gaps or overlaps, and end where the
/// file ends.
inline void check_coverage(std::vector<TensorInfo>& tensors, const std::string& file,
                           std::uint64_t data_begin, std::uint64_t file_size) {
  std::ranges::sort(tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = data_begin;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != at)
      fail(ErrorCode::invalid_safetensors,
           tensor.begin < at ? "the bytes overlap another tensor's"
                             : "there is a gap before the bytes",
           {.file = file, .tensor = tensor.name, .offset = tensor.begin, .limit = at});
    at = tensor.end;
    if (at > file_size)
      fail(ErrorCode::truncated_file, "the file ends before the tensor's bytes do",
           {.file = file, .tensor = tensor.name, .actual = file_size, .limit = at});
  }
  if (at != file_size)
    fail(ErrorCode::oversized_file, "there are bytes after the last tensor",
         {.file = file, .offset = at, .actual = file_size, .limit = at});
}

IDEFICS_ENGINE_INLINE SafetensorsHeader read_safetensors_header(const MappedFile& file) {
  const std::uint64_t size = file.size();
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::min<std::uint64_t>(size, 64)));
  file.read(0, bytes);
  std::uint64_t length = 0;
  if (size >= 8) std::memcpy(&length, bytes.data(), 8);
  if (size >= 8 && length <= std::min(max_header_bytes, size - 8)) {
    bytes.resize(static_cast<std::size_t>(8 + length));
    file.read(0, bytes);
  }
  return parse_safetensors_header(bytes, file.path().string(), size);
}

IDEFICS_ENGINE_INLINE SafetensorsHeader parse_safetensors_header(
    std::span<const std::byte> bytes, const std::string& file, std::optional<std::uint64_t> whole) {
  const std::uint64_t file_size = whole.value_or(bytes.size());
  if (is_git_lfs_pointer(bytes))
    fail(ErrorCode::git_lfs_pointer, "this is a Git LFS pointer, not the weights themselves",
         {.file = file});
  if (file_size < 8)
    fail(ErrorCode::truncated_file, "the file is too short for a header",
         {.file = file, .actual = file_size, .limit = 8});
  std::uint64_t length = 0;
  static_assert(std::endian::native == std::endian::little,
                "the format is little-endian, and so is this reader");
  std::memcpy(&length, bytes.data(), 8);
  if (length > detail::max_header_bytes)
    fail(ErrorCode::invalid_safetensors, "the header is larger than the format allows",
         {.file = file, .actual = length, .limit = detail::max_header_bytes});
  if (length > file_size - 8)
    fail(ErrorCode::truncated_file, "the file ends within its header",
         {.file = file, .actual = file_size, .limit = length + 8});
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  const std::size_t first = std::min(header.find_first_not_of(json_spaces), header.size());
  const std::size_t last = header.find_last_not_of(json_spaces);
  if (first == header.size() || header[first] != '{' || header[last] != '}')
    fail(ErrorCode::invalid_safetensors, "the header is not an object in braces",
         {.file = file, .offset = 8 + first});

  const std::uint64_t data_begin = 8 + length;
  detail::HeaderReader reader(file, 8 + first, data_begin);
  const std::string_view text = header.substr(first, last + 1 - first);
  sax_parse(text, file, reader);
  SafetensorsHeader read = reader.take();
  detail::check_coverage(read.tensors, file, data_begin, file_size);
  return read;
}

}}}  // namespace idefics::v0::detail

#endif
