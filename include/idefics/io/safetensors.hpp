// safetensors: eight bytes of length, a JSON header, then the bytes of all tensors without gaps.
// The whole header is validated (safetensors_header.hpp) before any tensor can be read.
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

namespace idefics { inline namespace v0 {

/// An open safetensors file; open() throws what parse_safetensors_header throws.
class SafetensorsFile : public TensorFile {
 public:
  /// Without `mmap`, each tensor is read from the file when it is requested.
  static SafetensorsFile open(const std::filesystem::path& path, bool mmap = true) {
    auto file = MappedFile::open(path, mmap);
    SafetensorsHeader header = detail::read_safetensors_header(*file);
    return {std::move(file), std::move(header.tensors), std::move(header.metadata)};
  }

 private:
  using TensorFile::TensorFile;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

namespace detail {

/// "name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}, ordered as by the reference writer.
IDEFICS_ENGINE_INLINE std::string header_entry(const NamedTensor& item, std::uint64_t begin);

}  // namespace detail

/// Writes a file as the reference writer does: sorted by descending width of dtype, then by name;
/// the header padded to a multiple of eight bytes. The file appears complete or not at all. Throws
/// `io_failure` or `duplicate_key`.
IDEFICS_ENGINE_INLINE void write_safetensors(
    const std::filesystem::path& path, std::vector<NamedTensor> tensors,
    const std::map<std::string, std::string>& metadata = {});

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/io/json.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

IDEFICS_ENGINE_INLINE std::string header_entry(const NamedTensor& item, std::uint64_t begin) {
  const auto* format =
      std::ranges::find(format_dtypes, std::optional(item.tensor.dtype()), &FormatDType::dtype);
  std::string shape = item.tensor.shape().to_string();
  std::erase(shape, ' ');
  return Json(item.name).dump() + R"(:{"dtype":")" + std::string(format->name) + R"(","shape":)" +
         shape + R"(,"data_offsets":[)" + std::to_string(begin) + "," +
         std::to_string(begin + item.tensor.bytes()) + "]}";
}

}  // namespace detail

IDEFICS_ENGINE_INLINE void write_safetensors(const std::filesystem::path& path,
                                             std::vector<NamedTensor> tensors,
                                             const std::map<std::string, std::string>& metadata) {
  std::ranges::sort(tensors, [](const NamedTensor& a, const NamedTensor& b) {
    const auto wide = [](const NamedTensor& t) { return size_of(t.tensor.dtype()); };
    return wide(a) != wide(b) ? wide(a) > wide(b) : a.name < b.name;
  });
  std::string text = "{";
  if (!metadata.empty())
    text += "\"__metadata__\":" + (*detail::JsonDocument(Json(metadata))).dump();
  std::set<std::string_view> names;
  std::uint64_t at = 0;
  for (const NamedTensor& item : tensors) {
    if (!names.insert(item.name).second)
      fail(ErrorCode::duplicate_key, "duplicate tensor name",
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

}}  // namespace idefics::v0

#endif
