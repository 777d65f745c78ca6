// A checkpoint directory: config.json beside model.safetensors, or beside an index and its shards; or
// the same of pytorch_model.bin, if there is nothing else, as transformers chooses. All headers are
// validated, and held against the index, before any weight can be asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/io/safetensors.hpp>
#include <idefics/io/torch_file.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// The `weight_map` of model.safetensors.index.json: which shard holds which tensor; `extension` is
/// that of shards. Throws `invalid_json`, `duplicate_key`, or `index_mismatch` for names that are not
/// plain file names.
inline std::map<std::string, std::string> parse_index(std::string_view text,
                                                      const std::string& file,
                                                      std::string_view extension = ".safetensors") {
  const Json json = parse_json(text, file, {.bytes = 64u << 20, .depth = 4});
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
           "the index names a shard that is no plain " + std::string(extension) + " file name",
           {.file = file, .tensor = tensor.substr(0, 200)});
    shard_of.emplace(tensor, name);
  }
  return shard_of;
}

}  // namespace detail

/// The names under which weights are stored, the preferred ones first.
struct WeightFiles {
  const char *name, *index, *extension;
};
inline constexpr WeightFiles weight_files[] = {
    {"model.safetensors", "model.safetensors.index.json", ".safetensors"},
    {"pytorch_model.bin", "pytorch_model.bin.index.json", ".bin"}};

class Checkpoint {
 public:
  /// Throws `file_not_found`, `not_a_checkpoint`, `missing_shard`, `index_mismatch` and whatever a
  /// header can cause.
  static Checkpoint open(const std::filesystem::path& directory) {
    Checkpoint checkpoint;
    checkpoint.directory_ = directory;
    if (!std::filesystem::is_directory(directory))
      fail(ErrorCode::file_not_found, "there is no such directory", {.file = directory.string()});
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
    fail(ErrorCode::not_a_checkpoint,
         "the directory holds no model.safetensors, no pytorch_model.bin and no index of shards",
         {.file = directory.string()});
  }

  const std::filesystem::path& directory() const { return directory_; }

  const TensorInfo* find(std::string_view name) const {
    const auto it = place_.find(name);
    return it == place_.end() ? nullptr : files_[it->second].find(name);
  }
  /// A view into the mapping. Throws `missing_tensor` or `unsupported_dtype`.
  Tensor tensor(std::string_view name) const { return holder(name).tensor(name); }
  /// The bytes of a tensor of any dtype, u8 [bytes]. Throws `missing_tensor`.
  Tensor bytes(std::string_view name) const { return holder(name).bytes(name); }
  /// Asks for a tensor to be read from the disk, and does not wait for it.
  void prefetch(std::string_view name) const { holder(name).prefetch(name); }
  /// Gives back the memory that reading a tensor took; it is read from the file again when asked for.
  void release(std::string_view name) const { holder(name).release(name); }
  /// The same for everything in all files: the next who asks finds what is in the system's cache there.
  void release() const {
    for (const TensorFile& file : files_) file.release();
  }
  std::filesystem::path file_of(std::string_view name) const {
    const auto it = place_.find(name);
    return it == place_.end() ? directory_ : files_[it->second].path();
  }
  std::vector<const TensorInfo*> tensors() const {
    std::vector<const TensorInfo*> all;
    for (const auto& [name, file] : place_) all.push_back(files_[file].find(name));
    return all;
  }
  std::uint64_t total_bytes() const {
    Checked total = 0;
    for (const TensorInfo* tensor : tensors()) total = total + (tensor->end - tensor->begin);
    return total.value();
  }

 private:
  const TensorFile& holder(std::string_view name) const {
    const auto it = place_.find(name);
    if (it == place_.end())
      fail(ErrorCode::missing_tensor, "no file of the checkpoint holds this tensor",
           {.file = directory_.string(), .tensor = std::string(name)});
    return files_[it->second];
  }
  void add_file(const std::filesystem::path& path) {
    if (path.extension() == ".bin")
      files_.push_back(detail::open_torch_file(path));
    else
      files_.push_back(SafetensorsFile::open(path));
    for (const TensorInfo& tensor : files_.back().tensors()) {
      const auto [it, fresh] = place_.emplace(tensor.name, files_.size() - 1);
      if (!fresh)
        fail(ErrorCode::index_mismatch,
             "two shards hold this tensor: " + files_[it->second].path().filename().string() +
                 " and " + path.filename().string(),
             {.file = path.string(), .tensor = tensor.name});
    }
  }

  void open_shards(const std::filesystem::path& index, const char* extension) {
    const auto shard_of =
        detail::parse_index(detail::read_text_file(index, 64u << 20), index.string(), extension);
    std::map<std::string, std::string> shards;  // name of a shard, and one tensor that needs it
    for (const auto& [tensor, shard] : shard_of) shards.emplace(shard, tensor);
    for (const auto& [shard, tensor] : shards)
      if (!std::filesystem::exists(directory_ / shard))
        fail(ErrorCode::missing_shard, "the index names a shard that is not there: " + shard,
             {.file = index.string(), .tensor = tensor});
    for (const auto& [shard, tensor] : shards) add_file(directory_ / shard);
    for (const auto& [tensor, shard] : shard_of)
      if (file_of(tensor).filename() != shard)
        fail(ErrorCode::index_mismatch,
             "the index places this tensor in " + shard + ", which does not hold it",
             {.file = index.string(), .tensor = tensor});
  }

  std::filesystem::path directory_;
  std::vector<TensorFile> files_;
  std::map<std::string, std::size_t, std::less<>> place_;
};

}}  // namespace idefics::v0
