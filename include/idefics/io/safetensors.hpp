// safetensors: eight bytes of length, a JSON header, then the bytes of all tensors without a gap.
// The whole header is validated before any tensor is handed out; tensors are views into the
// mapping.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/core/tensor.hpp>
#include <idefics/io/json.hpp>
#include <idefics/io/mapped_file.hpp>

namespace idefics::inline v0 {

/// One entry of a header. `dtype` is empty for dtypes that the format knows and the engine does not
/// use.
struct TensorInfo {
  std::string name;
  std::string dtype_name;  // as the file spells it: "BF16"
  std::optional<DType> dtype;
  std::vector<std::int64_t> dims;
  std::uint64_t begin = 0, end = 0;  // bytes from the start of the file
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
};

namespace detail {

struct FormatDType {
  std::string_view name;
  unsigned bits;
  std::optional<DType> dtype;
};

inline constexpr FormatDType format_dtypes[] = {
    {"BOOL", 8, DType::boolean},
    {"U8", 8, DType::u8},
    {"I8", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"F4", 4, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"F16", 16, DType::f16},
    {"BF16", 16, DType::bf16},
    {"I32", 32, DType::i32},
    {"U32", 32, {}},
    {"F32", 32, DType::f32},
    {"C64", 64, {}},
    {"F64", 64, {}},
    {"I64", 64, DType::i64},
    {"U64", 64, {}},
};

inline constexpr std::uint64_t max_header_bytes = 100'000'000;  // the format's own limit
inline constexpr std::uint64_t max_integer = std::uint64_t{1} << 48;

/// An unsigned integer below 2^48, as the format's schema asks.
inline std::uint64_t header_integer(const Json& value, const std::string& file,
                                    const std::string& tensor) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > max_integer)
    fail(ErrorCode::invalid_safetensors, "a size is not an unsigned integer below 2^48",
         {.file = file, .tensor = tensor, .limit = max_integer});
  return value.get<std::uint64_t>();
}

inline TensorInfo parse_entry(const std::string& name, const Json& entry, const std::string& file,
                              std::uint64_t data_begin) {
  auto refuse = [&](ErrorCode code, const std::string& why) {
    fail(code, why, {.file = file, .tensor = name});
  };
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
      !entry.contains("shape") || !entry.contains("data_offsets"))
    refuse(ErrorCode::invalid_safetensors, "an entry holds exactly dtype, shape and data_offsets");
  const Json &dtype = entry["dtype"], &shape = entry["shape"], &offsets = entry["data_offsets"];
  if (!dtype.is_string() || !shape.is_array() || !offsets.is_array() || offsets.size() != 2)
    refuse(ErrorCode::invalid_safetensors, "dtype is a string, shape a list, data_offsets a pair");

  TensorInfo info{.name = name, .dtype_name = dtype.get<std::string>(), .dtype = {}, .dims = {}};
  const auto* known = std::ranges::find(format_dtypes, info.dtype_name, &FormatDType::name);
  if (known == std::end(format_dtypes))
    refuse(ErrorCode::unsupported_dtype,
           "dtype \"" + info.dtype_name.substr(0, 64) + "\" is not known");
  info.dtype = known->dtype;
  Checked bits = known->bits;
  for (const Json& dim : shape) {
    const std::uint64_t size = header_integer(dim, file, name);
    info.dims.push_back(static_cast<std::int64_t>(size));
    bits = bits * size;
  }
  info.begin = header_integer(offsets[0], file, name) + data_begin;
  info.end = header_integer(offsets[1], file, name) + data_begin;
  if (info.end < info.begin || bits.value() % 8 != 0 || bits.value() / 8 != info.end - info.begin)
    refuse(ErrorCode::invalid_safetensors, "its shape needs " + std::to_string(bits.value() / 8) +
                                               " bytes and its offsets span another number");
  return info;
}

/// Tensors must follow each other without a gap or an overlap and end where the file ends.
inline void check_coverage(std::vector<TensorInfo>& tensors, const std::string& file,
                           std::uint64_t data_begin, std::uint64_t file_size) {
  std::ranges::sort(tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = data_begin;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != at)
      fail(ErrorCode::invalid_safetensors,
           tensor.begin < at ? "its bytes overlap another tensor's"
                             : "there is a gap before its bytes",
           {.file = file, .tensor = tensor.name, .offset = tensor.begin, .limit = at});
    at = tensor.end;
    if (at > file_size)
      fail(ErrorCode::truncated_file, "the file ends before the tensor's bytes do",
           {.file = file, .tensor = tensor.name, .actual = file_size, .limit = at});
  }
  if (at != file_size)
    fail(ErrorCode::oversized_file, "there are bytes behind the last tensor",
         {.file = file, .offset = at, .actual = file_size, .limit = at});
}

}  // namespace detail

/// Validates a header against every rule of the format. `file` is named in errors. Throws
/// `truncated_file`, `oversized_file`, `invalid_safetensors`, `unsupported_dtype`, `duplicate_key`,
/// `invalid_json` or `git_lfs_pointer`.
inline SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes,
                                                  const std::string& file) {
  if (is_git_lfs_pointer(bytes))
    fail(ErrorCode::git_lfs_pointer, "this is a Git LFS pointer, not the weights it stands for",
         {.file = file});
  if (bytes.size() < 8)
    fail(ErrorCode::truncated_file, "the file is too short for a header",
         {.file = file, .actual = bytes.size(), .limit = 8});
  std::uint64_t length = 0;
  static_assert(std::endian::native == std::endian::little,
                "the format is little-endian, and so is this reader");
  std::memcpy(&length, bytes.data(), 8);
  if (length > detail::max_header_bytes)
    fail(ErrorCode::invalid_safetensors, "the header claims to be larger than the format allows",
         {.file = file, .actual = length, .limit = detail::max_header_bytes});
  if (length > bytes.size() - 8)
    fail(ErrorCode::truncated_file, "the file ends within its header",
         {.file = file, .actual = bytes.size(), .limit = length + 8});
  std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  if (!text.starts_with('{'))
    fail(ErrorCode::invalid_safetensors, "the header does not begin with a brace",
         {.file = file, .offset = 8});
  text.remove_suffix(text.size() - 1 -
                     text.find_last_not_of(' '));  // the only padding that is allowed
  if (!text.ends_with('}'))
    fail(ErrorCode::invalid_safetensors, "the header does not end with a brace and spaces",
         {.file = file, .offset = 7 + text.size()});

  const std::uint64_t data_begin = 8 + length;
  const Json json = parse_json(text, file, {.bytes = detail::max_header_bytes, .depth = 4});
  SafetensorsHeader header;
  for (const auto& [name, entry] : json.items()) {
    if (name != "__metadata__") {
      header.tensors.push_back(detail::parse_entry(name, entry, file, data_begin));
      continue;
    }
    if (!entry.is_object())
      fail(ErrorCode::invalid_safetensors, "metadata must be an object",
           {.file = file, .field = name});
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string())
        fail(ErrorCode::invalid_safetensors, "metadata must map names to strings",
             {.file = file, .field = key.substr(0, 200)});
      header.metadata.emplace(key, value.get<std::string>());
    }
  }
  detail::check_coverage(header.tensors, file, data_begin, bytes.size());
  return header;
}

class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::filesystem::path& path) {
    SafetensorsFile file;
    file.mapping_ = MappedFile::open(path);
    file.header_ = parse_safetensors_header(file.mapping_->bytes(), path.string());
    for (std::size_t i = 0; i < file.header_.tensors.size(); ++i)
      file.index_.emplace(file.header_.tensors[i].name, i);
    return file;
  }

  std::span<const TensorInfo> tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  const std::filesystem::path& path() const { return mapping_->path(); }

  const TensorInfo* find(std::string_view name) const {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &header_.tensors[it->second];
  }

  /// A view into the mapping, at whatever alignment. Throws `missing_tensor`, `unsupported_dtype`,
  /// or `shape_mismatch` for more than five dimensions.
  Tensor tensor(std::string_view name) const {
    const TensorInfo* info = find(name);
    const ErrorContext where{.file = path().string(), .tensor = std::string(name)};
    if (info == nullptr)
      fail(ErrorCode::missing_tensor, "the file holds no tensor of this name", where);
    if (!info->dtype)
      fail(ErrorCode::unsupported_dtype, "dtype " + info->dtype_name + " is not supported", where);
    if (info->dims.size() > Shape::max_rank)
      fail(ErrorCode::shape_mismatch, "more than five dimensions are not supported", where);
    return Tensor::view_of(*info->dtype, Shape(std::span<const std::int64_t>(info->dims)),
                           mapping_->bytes().data() + info->begin, mapping_);
  }

 private:
  std::shared_ptr<const MappedFile> mapping_;
  SafetensorsHeader header_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

namespace detail {

/// "name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}, as the reference writer orders it.
inline std::string header_entry(const NamedTensor& item, std::uint64_t begin) {
  const auto* format =
      std::ranges::find(format_dtypes, std::optional(item.tensor.dtype()), &FormatDType::dtype);
  const auto dims = item.tensor.shape().dims();
  return Json(item.name).dump() + R"(:{"dtype":")" + std::string(format->name) + R"(","shape":)" +
         Json(std::vector<std::int64_t>(dims.begin(), dims.end())).dump() + R"(,"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(begin + item.tensor.bytes()) + "]}";
}

}  // namespace detail

/// Writes a file as the reference writer does: wide dtypes first, then by name; header padded to
/// eight bytes; complete or not there at all. Throws `io_failure` or `duplicate_key`.
inline void write_safetensors(const std::filesystem::path& path, std::vector<NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  std::ranges::sort(tensors, [](const NamedTensor& a, const NamedTensor& b) {
    const auto wide = [](const NamedTensor& t) { return size_of(t.tensor.dtype()); };
    return wide(a) != wide(b) ? wide(a) > wide(b) : a.name < b.name;
  });
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + Json(metadata).dump();
  std::set<std::string_view> names;
  std::uint64_t at = 0;
  for (const NamedTensor& item : tensors) {
    if (!names.insert(item.name).second)
      fail(ErrorCode::duplicate_key, "two tensors have one name",
           {.file = path.string(), .tensor = item.name});
    if (text.size() > 1) text += ',';
    text += detail::header_entry(item, at);
    at += item.tensor.bytes();
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (const auto& [name, tensor] : tensors) file.write(std::span(tensor.raw(), tensor.bytes()));
  file.commit();
}

}  // namespace idefics::inline v0
