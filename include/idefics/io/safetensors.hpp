// safetensors: eight bytes of length, a JSON header, then the bytes of all tensors without a gap.
// The whole header is validated (safetensors_header.hpp) before any tensor is handed out; tensors
// are views into the mapping.
#pragma once

#include <algorithm>
#include <cstdint>
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
#include <idefics/io/safetensors_header.hpp>

namespace idefics::inline v0 {

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
  /// The bytes of a tensor of any dtype, u8 [bytes]. Throws `missing_tensor`.
  Tensor bytes(std::string_view name) const {
    const TensorInfo* info = find(name);
    if (info == nullptr)
      fail(ErrorCode::missing_tensor, "the file holds no tensor of this name",
           {.file = path().string(), .tensor = std::string(name)});
    return Tensor::view_of(DType::u8, {static_cast<std::int64_t>(info->end - info->begin)},
                           mapping_->bytes().data() + info->begin, mapping_);
  }
  /// Gives back the memory that reading a tensor took, if the file holds it.
  void release(std::string_view name) const {
    if (const TensorInfo* info = find(name)) mapping_->release(info->begin, info->end);
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
