// pytorch_model.bin: a dict of tensors as torch.save writes it, a zip archive with one folder:
//
//   FOLDER/data.pkl      a pickle: name -> (storage, offset, size, stride)
//   FOLDER/data/0, 1, …  the bytes of storages; tensors may share them, with strides of their own
//   FOLDER/byteorder     "little"
//
// Storages are used in place. Source: torch/serialization.py (2.11.0).
#pragma once

#include <algorithm>
#include <cstdint>
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

#include <idefics/io/pickle.hpp>
#include <idefics/io/tensor_file.hpp>
#include <idefics/io/zip.hpp>

namespace idefics { inline namespace v0 { namespace detail {

inline constexpr std::uint64_t max_pickle_bytes = 16 << 20;  // a thousand tensors need 250 KB

class TorchReader {
 public:
  TorchReader(const FileBytes& bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  /// The tensors, in the order of the pickle.
  std::vector<TensorInfo> tensors() {
    check_kind();
    std::string pickle_name;
    for (detail::ZipEntry& entry : parse_zip(bytes_, file_)) {
      const auto slash = entry.name.find('/');
      if (slash != std::string::npos && entry.name.substr(slash) == "/data.pkl") {
        if (!pickle_name.empty()) refuse("the archive has two pickles", {.field = entry.name});
        pickle_name = entry.name, folder_ = entry.name.substr(0, slash + 1);
      }
      const auto [it, inserted] = entries_.emplace(entry.name, entry);
      if (!inserted)
        fail(ErrorCode::duplicate_key, "duplicate entry name",
             {.file = file_, .field = entry.name});
    }
    if (pickle_name.empty()) refuse("the archive has no data.pkl", {.field = "data.pkl"});
    check_byte_order();
    const detail::ZipEntry& entry = entries_.at(pickle_name);
    if (const std::uint64_t size = entry.end - entry.begin; size > max_pickle_bytes)
      fail(ErrorCode::oversized_file, "the pickle is too large",
           {.file = file_, .field = entry.name, .actual = size, .limit = max_pickle_bytes});
    pickle_text_ = bytes_.text(entry.begin, entry.end - entry.begin);
    pickle_ = parse_pickle(pickle_text_, {.file = file_, .field = entry.name}, entry.begin);
    return read_root();
  }

 private:
  using Kind = detail::PickleValue::Kind;

  struct Storage {
    const FormatDType* dtype;
    std::uint64_t begin, count;  // first byte in the file, elements
  };

  [[noreturn]] void refuse(const std::string& why, ErrorContext where = {}) const {
    where.file = file_;
    fail(ErrorCode::invalid_torch_file, why, where);
  }
  /// Refuses the tensor that is being read.
  [[noreturn]] void refuse_tensor(const std::string& why, const std::string& field = {},
                                  std::optional<std::uint64_t> actual = {},
                                  std::optional<std::uint64_t> limit = {}) const {
    refuse(why, {.tensor = tensor_, .field = field, .actual = actual, .limit = limit});
  }

  /// Refuses other kinds of file that occur under this file name, each with its own message.
  void check_kind() const {
    const std::string_view start = bytes_.text(0, std::min<std::uint64_t>(bytes_.size(), 64));
    if (is_git_lfs_pointer(std::as_bytes(std::span(start))))
      fail(ErrorCode::git_lfs_pointer, "this is a Git LFS pointer, not the weights themselves",
           {.file = file_});
    if (start.starts_with("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8P\x19."))
      fail(ErrorCode::unsupported_torch_file,
           "the file has the format of torch before 1.6: load it with torch and save it again, "
           "or as safetensors",
           {.file = file_});
    if (bytes_.size() < 4)
      fail(ErrorCode::truncated_file, "the file is too short for an archive",
           {.file = file_, .actual = bytes_.size(), .limit = 22});
    if (!start.starts_with("PK"))
      refuse("the file is not an archive written by torch.save", {.offset = 0});
  }
  void check_byte_order() const {
    constexpr std::string_view little = "little";
    const auto order = entries_.find(folder_ + "byteorder");
    if (order == entries_.end()) return;
    const detail::ZipEntry& entry = order->second;
    if (entry.end - entry.begin != little.size() ||
        bytes_.text(entry.begin, little.size()) != little)
      fail(ErrorCode::unsupported_torch_file, "numbers are not stored in little-endian order",
           {.file = file_, .field = order->first});
  }

  std::vector<TensorInfo> read_root() {
    if (pickle_.root.kind != Kind::dict) refuse("the pickle is not a dict of tensors");
    const auto& items = pickle_.items(pickle_.root);
    if (items.size() / 2 > max_entries)
      refuse("the dict has too many tensors", {.actual = items.size() / 2, .limit = max_entries});
    std::vector<TensorInfo> tensors;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      if (items[i].kind != Kind::text || !is_name(items[i].text))
        refuse("a name is not a string of printable ASCII characters");
      tensor_ = items[i].text;
      if (items[i + 1].kind != Kind::tensor)
        refuse_tensor("the value of this name is not a tensor");
      tensors.push_back(read_tensor(pickle_.items(items[i + 1])));
    }
    std::vector<std::string_view> names;
    names.reserve(tensors.size());
    for (const TensorInfo& tensor : tensors) names.push_back(tensor.name);
    std::ranges::sort(names);
    if (const auto duplicate = std::ranges::adjacent_find(names); duplicate != names.end())
      fail(ErrorCode::duplicate_key, "duplicate tensor name",
           {.file = file_, .tensor = std::string(*duplicate)});
    return tensors;
  }
  static bool is_name(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
  }

  /// (storage, offset, size, stride, …): torch._utils._rebuild_tensor.
  TensorInfo read_tensor(const std::vector<detail::PickleValue>& arguments) const {
    if (arguments.size() < 4 || arguments[0].kind != Kind::storage)
      refuse_tensor("a tensor needs a storage, an offset, a size and a stride");
    const Storage storage = read_storage(pickle_.items(arguments[0]));
    const std::uint64_t offset = size_of_value(arguments[1], "storage_offset");
    TensorInfo info{.name = tensor_,
                    .dtype_name = std::string(storage.dtype->name),
                    .dtype = storage.dtype->dtype,
                    .dims = sizes(arguments[2], "size")};
    info.strides = sizes(arguments[3], "stride");
    if (info.dims.size() != info.strides.size())
      refuse_tensor("the number of strides is not the number of dimensions", "stride",
                    info.strides.size(), info.dims.size());
    const std::uint64_t used = elements_between(info, storage);
    if (used > 0 && (offset > storage.count || used > storage.count - offset))
      refuse_tensor("the tensor reaches beyond its storage", "size", offset + used, storage.count);
    const std::uint64_t width = storage.dtype->bits / 8;
    info.begin = storage.begin + (used > 0 ? offset * width : 0);
    info.end = info.begin + used * width;
    if (is_dense(info)) info.strides.clear();
    return info;
  }

  /// ("storage", type, key, location, element count): Pickler.persistent_id of torch.save.
  Storage read_storage(const std::vector<detail::PickleValue>& id) const {
    const bool typed = id.size() == 5 && id[0].kind == Kind::text && id[0].text == "storage" &&
                       id[1].kind == Kind::name && id[2].kind == Kind::text;
    const std::string_view dtype = typed ? pickle_names[id[1].number].dtype : "";
    if (dtype.empty()) refuse_tensor("the storage has no type and key");
    const auto* known = std::ranges::find(format_dtypes, dtype, &FormatDType::name);
    const std::uint64_t count = size_of_value(id[4], "numel");
    const auto entry = entries_.find(folder_ + "data/" + std::string(id[2].text));
    if (entry == entries_.end())
      refuse_tensor("the archive does not contain the storage", printable_key(id[2].text));
    const std::uint64_t bytes = entry->second.end - entry->second.begin;
    if (bytes != count * (known->bits / 8))
      refuse_tensor("the size of the storage is not the one in the pickle", entry->first, bytes,
                    count * (known->bits / 8));
    return {known, entry->second.begin, count};
  }
  static std::string printable_key(std::string_view key) {
    return is_name(key) ? "data/" + std::string(key.substr(0, 100)) : "data";
  }

  std::uint64_t size_of_value(const detail::PickleValue& value, const char* field) const {
    if (value.kind != Kind::integer || value.number < 0 ||
        static_cast<std::uint64_t>(value.number) > max_integer)
      refuse_tensor("must be an unsigned integer up to 2^48", field, {}, max_integer);
    return static_cast<std::uint64_t>(value.number);
  }
  std::vector<std::int64_t> sizes(const detail::PickleValue& tuple, const char* field) const {
    if (tuple.kind != Kind::tuple) refuse_tensor("must be a tuple of integers", field);
    const auto& items = pickle_.items(tuple);
    if (items.size() > max_rank)
      refuse_tensor("has too many dimensions", field, items.size(), max_rank);
    std::vector<std::int64_t> values;
    values.reserve(items.size());
    for (const detail::PickleValue& item : items)
      values.push_back(static_cast<std::int64_t>(size_of_value(item, field)));
    return values;
  }

  /// The number of storage elements from the first to the last of a tensor; 0 if it is empty. A
  /// tensor may not have more elements than its storage: a stride of zero would let a few bytes
  /// claim any size.
  std::uint64_t elements_between(const TensorInfo& info, const Storage& storage) const {
    if (std::ranges::find(info.dims, 0) != info.dims.end()) return 0;
    std::uint64_t count = 1, last = 0;
    for (std::size_t d = 0; d < info.dims.size(); ++d) {
      const auto dim = static_cast<std::uint64_t>(info.dims[d]);
      const auto stride = static_cast<std::uint64_t>(info.strides[d]);
      if (dim > storage.count / count)
        refuse_tensor("the tensor has more elements than its storage", "size", {}, storage.count);
      count *= dim;
      if (dim > 1 && stride > storage.count / (dim - 1))
        refuse_tensor("the tensor reaches beyond its storage", "stride", stride, storage.count);
      if (dim > 1) last += (dim - 1) * stride;
    }
    return last + 1;
  }
  /// Whether the elements are row-major without gaps.
  static bool is_dense(const TensorInfo& info) {
    if (std::ranges::find(info.dims, 0) != info.dims.end()) return true;
    std::int64_t expected = 1;
    for (std::size_t d = info.dims.size(); d-- > 0;) {
      if (info.dims[d] != 1 && info.strides[d] != expected) return false;
      expected *= info.dims[d];
    }
    return true;
  }

  const FileBytes& bytes_;
  const std::string& file_;
  std::map<std::string, detail::ZipEntry, std::less<>> entries_;
  std::string folder_;  // "pytorch_model/"
  std::string pickle_text_;
  detail::Pickle pickle_;
  std::string tensor_;  // being read
};

/// The tensors of a file written by torch.save; `file` is named in errors. Nothing in it is
/// executed. Throws `invalid_torch_file`, `unsupported_torch_file`, `pickle_refused`,
/// `truncated_file`, `oversized_file`, `duplicate_key` or `git_lfs_pointer`.
inline std::vector<TensorInfo> parse_torch_file(const FileBytes& bytes, const std::string& file) {
  return TorchReader(bytes, file).tensors();
}

/// Opens such a file. Throws what parse_torch_file throws.
inline TensorFile open_torch_file(const std::filesystem::path& path, bool mmap = true) {
  auto file = MappedFile::open(path, mmap);
  auto tensors = parse_torch_file(FileBytes(*file), path.string());
  return {std::move(file), std::move(tensors)};
}

}}}  // namespace idefics::v0::detail
