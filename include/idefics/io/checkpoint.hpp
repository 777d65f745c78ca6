// A checkpoint directory: config.json with model.safetensors, or with an index and its shards.
// Without either, the same for pytorch_model.bin, as in transformers, and without that for a variant:
// model.fp16.safetensors. All headers are validated and checked against the index before any weight
// can be read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/directory.hpp>
#include <idefics/io/json.hpp>
#include <idefics/io/safetensors.hpp>
#include <idefics/io/torch_file.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// The `weight_map` of model.safetensors.index.json, from tensor to shard; `extension` is the file
/// extension of shards. Throws `invalid_json`, `duplicate_key`, or `index_mismatch` if the map is
/// missing or a shard is not a plain file name.
inline std::map<std::string, std::string> parse_index(std::string_view text,
                                                      const std::string& file,
                                                      std::string_view extension = ".safetensors") {
  const JsonDocument document = parse_document(text, file, {.bytes = 64u << 20, .depth = 4});
  const Json& json = *document;
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    fail(ErrorCode::index_mismatch, "the index has no weight_map",
         {.file = file, .field = "weight_map"});
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : json["weight_map"].items()) {
    const std::string name = shard.is_string() ? shard.get<std::string>() : "";
    const bool plain = !name.empty() && name.find('/') == std::string::npos &&
                       name.find('\\') == std::string::npos &&
                       name.find('\0') == std::string::npos && name.ends_with(extension);
    if (!plain)
      fail(ErrorCode::index_mismatch,
           "the index names a shard that is not a plain " + std::string(extension) + " file name",
           {.file = file, .tensor = tensor.substr(0, 200)});
    shard_of.emplace(tensor, name);
  }
  return shard_of;
}

}  // namespace detail

/// File names of weights, in order of preference.
struct WeightFiles {
  const char *name, *index, *extension;
};
inline constexpr WeightFiles weight_files[] = {
    {"model.safetensors", "model.safetensors.index.json", ".safetensors"},
    {"pytorch_model.bin", "pytorch_model.bin.index.json", ".bin"}};

namespace detail {

/// The file of weights, or index of shards, whose name has a variant in it, such as "fp16" in
/// model.fp16.safetensors and model.safetensors.index.fp16.json; empty if no file has one.
/// The reference has to be told the variant. Throws `not_a_checkpoint` if there are several.
inline std::filesystem::path variant_file(const std::filesystem::path& directory,
                                          const WeightFiles& kind) {
  std::filesystem::path found;
  for (const std::string& name : names_in(directory))
    for (const std::filesystem::path plain : {kind.name, kind.index}) {
      const std::string end = plain.extension().string(), begin = plain.stem().string() + ".";
      if (!name.starts_with(begin) || !name.ends_with(end) ||
          name.size() <= begin.size() + end.size())
        continue;
      const std::string variant =
          name.substr(begin.size(), name.size() - begin.size() - end.size());
      const bool shard = variant.find("-of-") != std::string::npos;
      if (shard || variant.find('.') != std::string::npos ||
          !std::filesystem::is_regular_file(directory / name))
        continue;
      if (!found.empty())
        fail(ErrorCode::not_a_checkpoint,
             "the directory has weights of several variants, such as " +
                 std::min(found.filename().string(), name) + ": leave one of them there",
             {.file = directory.string()});
      found = directory / name;
    }
  return found;
}

}  // namespace detail

class Checkpoint {
 public:
  /// Without `mmap`, weights are read into memory when they are requested, instead of being mapped.
  /// Throws `file_not_found`, `not_a_checkpoint`, `missing_shard`, `index_mismatch`, or any error
  /// of a header.
  static Checkpoint open(const std::filesystem::path& directory, bool mmap = true) {
    Checkpoint checkpoint;
    checkpoint.mmap_ = mmap;
    checkpoint.directory_ = directory;
    if (!std::filesystem::is_directory(directory))
      fail(ErrorCode::file_not_found, "the directory does not exist", {.file = directory.string()});
    if (!std::filesystem::exists(directory / "config.json"))
      fail(ErrorCode::not_a_checkpoint, "the directory has no config.json",
           {.file = directory.string()});
    for (const WeightFiles& kind : weight_files) {
      if (std::filesystem::exists(directory / kind.name)) {
        checkpoint.add_file(directory / kind.name);
        return checkpoint;
      }
      if (std::filesystem::exists(directory / kind.index)) {
        checkpoint.open_shards(directory / kind.index, kind.extension);
        return checkpoint;
      }
    }
    for (const WeightFiles& kind : weight_files)
      if (const auto file = detail::variant_file(directory, kind); !file.empty()) {
        if (file.extension() == ".json")
          checkpoint.open_shards(file, kind.extension);
        else
          checkpoint.add_file(file);
        return checkpoint;
      }
    fail(ErrorCode::not_a_checkpoint,
         "the directory has no model.safetensors, pytorch_model.bin or index of shards",
         {.file = directory.string()});
  }

  const std::filesystem::path& directory() const { return directory_; }

  const TensorInfo* find(std::string_view name) const {
    const auto it = file_index_.find(name);
    return it == file_index_.end() ? nullptr : files_[it->second].find(name);
  }
  /// A view into the mapping, or the only copy of what was read. Throws `missing_tensor` or
  /// `unsupported_dtype`.
  Tensor tensor(std::string_view name) const { return file_with(name).tensor(name); }
  /// The dtype and shape of a tensor, without its bytes. Throws what `tensor` throws.
  Tensor outline(std::string_view name) const { return file_with(name).outline(name); }
  /// The bytes of a tensor of any dtype, u8 [bytes]. Throws `missing_tensor`.
  Tensor bytes(std::string_view name) const { return file_with(name).bytes(name); }
  /// To be called before a tensor is read from the mapping. Throws `file_changed`.
  void require_readable(std::string_view name) const { file_with(name).require_readable(name); }
  /// Throws `file_changed` if a file was written to since it was opened.
  void check_unchanged() const {
    for (const TensorFile& file : files_) file.check_unchanged();
  }
  bool is_mapped() const { return mmap_; }
  /// Starts reading a tensor from disk, without waiting for it.
  void prefetch(std::string_view name) const { file_with(name).prefetch(name); }
  /// Releases the memory of a tensor that was read; the next access reads it from the file again.
  void release(std::string_view name) const { file_with(name).release(name); }
  /// Releases the memory of all files; the next access finds what the system's cache still has.
  void release() const {
    for (const TensorFile& file : files_) file.release();
  }
  std::filesystem::path file_of(std::string_view name) const {
    const auto it = file_index_.find(name);
    return it == file_index_.end() ? directory_ : files_[it->second].path();
  }
  std::vector<const TensorInfo*> tensors() const {
    std::vector<const TensorInfo*> all;
    for (const auto& [name, file] : file_index_) all.push_back(files_[file].find(name));
    return all;
  }
  std::uint64_t total_bytes() const {
    Checked total = 0;
    for (const TensorInfo* tensor : tensors()) total = total + (tensor->end - tensor->begin);
    return total.value();
  }

 private:
  const TensorFile& file_with(std::string_view name) const {
    const auto it = file_index_.find(name);
    if (it == file_index_.end())
      fail(ErrorCode::missing_tensor, "no file of the checkpoint contains this tensor",
           {.file = directory_.string(), .tensor = std::string(name)});
    return files_[it->second];
  }
  void add_file(const std::filesystem::path& path) {
    if (path.extension() == ".bin")
      files_.push_back(detail::open_torch_file(path, mmap_));
    else
      files_.push_back(SafetensorsFile::open(path, mmap_));
    for (const TensorInfo& tensor : files_.back().tensors()) {
      const auto [it, inserted] = file_index_.emplace(tensor.name, files_.size() - 1);
      if (!inserted)
        fail(ErrorCode::index_mismatch,
             "two shards contain this tensor: " + files_[it->second].path().filename().string() +
                 " and " + path.filename().string(),
             {.file = path.string(), .tensor = tensor.name});
    }
  }

  void open_shards(const std::filesystem::path& index, const char* extension) {
    const auto shard_of =
        detail::parse_index(detail::read_text_file(index, 64u << 20), index.string(), extension);
    std::map<std::string, std::string> shards;  // shard -> one of its tensors
    for (const auto& [tensor, shard] : shard_of) shards.emplace(shard, tensor);
    for (const auto& [shard, tensor] : shards)
      if (!std::filesystem::exists(directory_ / shard))
        fail(ErrorCode::missing_shard, "the index names a shard that does not exist: " + shard,
             {.file = index.string(), .tensor = tensor});
    for (const auto& [shard, tensor] : shards) add_file(directory_ / shard);
    for (const auto& [tensor, shard] : shard_of)
      if (file_of(tensor).filename() != shard)
        fail(ErrorCode::index_mismatch,
             "the index places this tensor in " + shard + ", which does not contain it",
             {.file = index.string(), .tensor = tensor});
  }

  std::filesystem::path directory_;
  bool mmap_ = true;
  std::vector<TensorFile> files_;
  std::map<std::string, std::size_t, std::less<>> file_index_;
};

}}  // namespace idefics::v0
