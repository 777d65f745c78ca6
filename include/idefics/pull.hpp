// Fetches a model from the hub and quantizes it to 4 bits shard by shard: the disk has to hold the
// result and one shard of the source, never all of it.
//
//   auto directory = idefics::pull_quantized("HuggingFaceM4/idefics-9b-instruct");
//   auto model = idefics::Model::from_pretrained(directory.string());
//
// <idefics/idefics.hpp> does not include this file, nor io/hub/pull.hpp, which fetches models as they
// are: programs that fetch models do.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <idefics/io/hub/pull.hpp>
#include <idefics/io/json.hpp>
#include <idefics/io/work_directory.hpp>
#include <idefics/model/idefics.hpp>
#include <idefics/quantize.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

class QuantizedPull {
 public:
  QuantizedPull(std::string_view repository, const PullOptions& options,
                const QuantizeCheckpointOptions& quantize)
      : options_(quantize), pull_(repository, options), plan_(pull_.plan()) {
    const std::string type(
        quantize.config.load_in_8bit ? "int8" : name_of(quantize.config.bnb_4bit_quant_type));
    root_ = pull_.root().string() + "-" + type +
            (quantize.config.bnb_4bit_use_double_quant ? "-double" : "");
    for (const PullPlan::File& file : plan_.files) {
      const bool weights = std::ranges::any_of(weight_files, [&](const WeightFiles& kind) {
        return file.path != kind.index && is_weight_file(file.path, kind);
      });
      (weights ? shards_ : others_).push_back(file);
    }
    if (shards_.empty())
      fail(ErrorCode::not_a_checkpoint, "the repository has no weights to quantize");
  }

  std::filesystem::path run() {
    const auto snapshot = root_ / "snapshots" / plan_.commit;
    std::error_code error;
    if (!std::filesystem::exists(snapshot, error)) make(snapshot);
    std::filesystem::remove_all(blobs(), error);
    Pull::write_ref(root_, plan_);
    return snapshot;
  }

 private:
  std::filesystem::path blobs() const { return root_ / "blobs"; }

  void make(const std::filesystem::path& snapshot) {
    Pull::make_directory(snapshot.parent_path());
    WorkDirectory work(snapshot, recipe_of(options_) + plan_.commit, true);
    std::filesystem::path config;
    const auto names = pull_.fetch(others_, blobs(), 0);
    for (std::size_t i = 0; i < others_.size(); ++i)
      if (others_[i].path == "config.json")
        config = blobs() / names[i];
      else if (!others_[i].path.ends_with(".index.json"))
        copy(blobs() / names[i], work.path() / others_[i].path);
    if (config.empty()) fail(ErrorCode::not_a_checkpoint, "the repository has no config.json");
    const std::uint64_t result = result_bytes(config);
    for (std::size_t i = 0; i < shards_.size(); ++i)
      if (const auto name = shard_name(i, shards_.size()); !work.has(name))
        quantize(shards_[i], config, work.path() / name, remaining_bytes(i, result));
    std::error_code ignored;
    std::filesystem::remove_all(part(), ignored);
    finish_quantized(work.path(), config, options_);
    work.commit();
  }

  /// Fetches one shard, unless the cache has it anyway, quantizes it, and removes what it fetched.
  void quantize(const PullPlan::File& shard, const std::filesystem::path& config,
                const std::filesystem::path& to, std::uint64_t results) {
    const bool cached = has_blob(pull_.blobs(), shard);
    const auto folder = cached ? pull_.blobs() : blobs();
    const auto blob = folder / pull_.fetch({&shard, 1}, folder, results).at(0);
    std::error_code error;
    std::filesystem::remove_all(part(), error);
    Pull::make_directory(part());
    copy(config, part() / "config.json");
    const bool torch = shard.path.ends_with(".bin");
    std::filesystem::create_symlink(std::filesystem::absolute(blob),
                                    part() / (torch ? "pytorch_model.bin" : "model.safetensors"),
                                    error);
    if (error)
      fail(ErrorCode::io_failure, "cannot create the link: " + error.message(),
           {.file = part().string()});
    quantize_part(part(), to, options_);
    if (!cached) std::filesystem::remove(blob, error);
  }
  std::filesystem::path part() const { return root_ / "blobs" / "shard"; }

  /// Bytes of the results of all shards, a little more than they are.
  std::uint64_t result_bytes(const std::filesystem::path& config) const {
    WeightTable table;
    const Idefics layers(table, Config::from_json(*read_document(config), config.string()));
    Checked bytes = 0;
    for (const WeightRequest& request : table.requests()) {
      const auto count = static_cast<std::uint64_t>(request.shape.count());
      bytes = bytes + (request.role == WeightRole::matrix ? count / 16 * 9 + 2000 : count * 2);
    }
    return bytes.value();
  }
  /// Of these, those from shard i on.
  std::uint64_t remaining_bytes(std::size_t i, std::uint64_t result) const {
    double before = 0, all = 0;
    for (std::size_t j = 0; j < shards_.size(); ++j)
      (j < i ? before : all) += static_cast<double>(shards_[j].size);
    return static_cast<std::uint64_t>(static_cast<double>(result) * all /
                                      std::max(all + before, 1.0));
  }

  static void copy(const std::filesystem::path& from, const std::filesystem::path& to) {
    Pull::make_directory(to.parent_path());
    AtomicFile file(to);
    file.write(read_file(from, 256u << 20));
    file.commit();
  }

  const QuantizeCheckpointOptions& options_;
  Pull pull_;
  PullPlan plan_;
  std::filesystem::path root_;
  std::vector<PullPlan::File> shards_, others_;
};

}  // namespace detail

/// Fetches "org/name[@revision]" and writes it quantized into the cache, as the repository
/// "org/name-nf4" ("-fp4", "-double", "-int8"), whose snapshot it returns; every tensor is that of
/// quantize_checkpoint. The next call continues an interrupted one: shards that are finished are
/// kept. Throws what pull_checkpoint and quantize_checkpoint throw.
inline std::filesystem::path pull_quantized(
    std::string_view repository, const PullOptions& options = {},
    QuantizeCheckpointOptions quantize = {
        .config = {.load_in_4bit = true, .bnb_4bit_quant_type = QuantType::nf4}}) {
  return detail::QuantizedPull(repository, options, quantize).run();
}

}}  // namespace idefics::v0
