// A file of named tensors in any format: the list of its tensors, and views of its mapping. Formats
// differ in how the list is read: safetensors_header.hpp, torch_file.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/core/tensor.hpp>
#include <idefics/io/mapped_file.hpp>

namespace idefics { inline namespace v0 {

/// One tensor of a file. `dtype` is empty for dtypes that the format knows but the engine does not
/// support.
struct TensorInfo {
  std::string name;
  std::string dtype_name;  // as safetensors spells it: "BF16"
  std::optional<DType> dtype;
  std::vector<std::int64_t> dims;
  std::uint64_t begin = 0, end = 0;     // byte range in the file
  std::vector<std::int64_t> strides{};  // in elements; empty: row-major without gaps
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
    {"I8", 8, DType::i8},
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

inline constexpr std::uint64_t max_integer = std::uint64_t{1} << 48;
inline constexpr std::size_t max_entries = 1 << 18, max_rank = 64;  // far above any real file

/// A dense copy of elements that are `strides` apart, beginning at `from`.
inline Tensor gathered(DType dtype, const Shape& shape, std::span<const std::int64_t> strides,
                       const std::byte* from) {
  Tensor out = Tensor::empty(dtype, shape);
  const std::size_t size = size_of(dtype);
  std::byte* to = out.raw_mutable();
  std::array<std::int64_t, Shape::max_rank> at{};
  std::int64_t offset = 0;
  for (std::int64_t left = shape.count(); left > 0; --left, to += size) {
    std::memcpy(to, from + static_cast<std::size_t>(offset) * size, size);
    for (int d = shape.rank() - 1; d >= 0; --d) {  // next index, innermost dimension first
      const auto i = static_cast<std::size_t>(d);
      offset += strides[i];
      if (++at[i] < shape[d]) break;
      offset -= strides[i] * shape[d];
      at[i] = 0;
    }
  }
  return out;
}

}  // namespace detail

class TensorFile {
 public:
  TensorFile(std::shared_ptr<const MappedFile> file, std::vector<TensorInfo> tensors,
             std::map<std::string, std::string> metadata = {})
      : file_(std::move(file)), tensors_(std::move(tensors)), metadata_(std::move(metadata)) {
    for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
  }

  std::span<const TensorInfo> tensors() const { return tensors_; }
  /// The __metadata__ of a safetensors file.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return file_->path(); }
  bool is_mapped() const { return file_->is_mapped(); }

  const TensorInfo* find(std::string_view name) const {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &tensors_[it->second];
  }

  /// A view of the mapping, at any alignment; a copy if the elements are not row-major, or if the
  /// file is not mapped. Throws `missing_tensor`, `unsupported_dtype`, or `shape_mismatch` for more
  /// than five dimensions, and for a copy `file_changed`.
  Tensor tensor(std::string_view name) const {
    const TensorInfo& info = require_info(name);
    const Shape shape = outline(name).shape();
    if (info.strides.empty()) return stored(info, *info.dtype, shape);
    if (is_mapped()) require_readable(name);
    return detail::gathered(*info.dtype, shape, info.strides, stored_bytes(info).raw());
  }
  /// The dtype and shape of a tensor, without its bytes. Throws what `tensor` throws.
  Tensor outline(std::string_view name) const {
    const TensorInfo& info = require_info(name);
    const ErrorContext where{.file = path().string(), .tensor = info.name};
    if (!info.dtype)
      fail(ErrorCode::unsupported_dtype, "dtype " + info.dtype_name + " is not supported", where);
    if (info.dims.size() > Shape::max_rank)
      fail(ErrorCode::shape_mismatch, "more than five dimensions are not supported", where);
    static constexpr std::byte none{};
    return Tensor::view_of(*info.dtype, Shape{std::span<const std::int64_t>(info.dims)}, &none);
  }
  /// The bytes of a tensor of any dtype, u8 [bytes]. Throws `missing_tensor`, and what `tensor`
  /// throws if the elements are not row-major.
  Tensor bytes(std::string_view name) const {
    const TensorInfo& info = require_info(name);
    if (info.strides.empty()) return stored_bytes(info);
    const auto copy = std::make_shared<const Tensor>(tensor(name));
    return Tensor::view_of(DType::u8, {static_cast<std::int64_t>(copy->bytes())}, copy->raw(),
                           copy);
  }
  /// To be called before a tensor, if the file contains it, is read from the mapping. Throws
  /// `file_changed`.
  void require_readable(std::string_view name) const {
    if (const TensorInfo* info = find(name)) file_->require_readable(info->begin, info->end);
  }
  /// Throws `file_changed` if the file was written to since it was opened.
  void check_unchanged() const { file_->check_unchanged(); }
  /// Starts reading a tensor from disk, if the file contains it, without waiting.
  void prefetch(std::string_view name) const {
    if (const TensorInfo* info = find(name)) file_->prefetch(info->begin, info->end);
  }
  /// Releases the memory of a tensor that was read, if the file contains it.
  void release(std::string_view name) const {
    if (const TensorInfo* info = find(name)) file_->release(info->begin, info->end);
  }
  /// Releases the memory of the whole file.
  void release() const { file_->release(0, file_->size()); }

 private:
  const TensorInfo& require_info(std::string_view name) const {
    const TensorInfo* info = find(name);
    if (info == nullptr)
      fail(ErrorCode::missing_tensor, "the file contains no tensor of this name",
           {.file = path().string(), .tensor = std::string(name)});
    return *info;
  }

  /// What the file has between the first and the last byte of a tensor.
  Tensor stored(const TensorInfo& info, DType dtype, const Shape& shape) const {
    if (is_mapped())
      return Tensor::view_of(dtype, shape, file_->bytes().data() + info.begin, file_);
    Tensor read = Tensor::empty(dtype, shape);
    file_->read(info.begin, {read.raw_mutable(), read.bytes()});
    return read;
  }
  Tensor stored_bytes(const TensorInfo& info) const {
    return stored(info, DType::u8, {static_cast<std::int64_t>(info.end - info.begin)});
  }

  std::shared_ptr<const MappedFile> file_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

}}  // namespace idefics::v0
