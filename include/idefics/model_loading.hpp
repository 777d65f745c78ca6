// How a model is made from a checkpoint: its parts in the order in which they are checked, placed and
// read.
#pragma once

#include <algorithm>

#include <idefics/model.hpp>

#if IDEFICS_ENGINE_BODIES

#include <idefics/backend/tensor_parallel.hpp>
#include <idefics/generation/options/read_config.hpp>
#include <idefics/generation/run/continuous_batch.hpp>
#include <idefics/io/checkpoint.hpp>
#include <idefics/io/hub_cache.hpp>
#include <idefics/io/json.hpp>
#include <idefics/lora/lora.hpp>
#include <idefics/model/weights.hpp>
#include <idefics/plan/placement.hpp>
#include <idefics/plan/rank_share.hpp>
#include <idefics/plan/require_fit.hpp>

namespace idefics { inline namespace v0 {

namespace detail {

/// `device`, computing its share of the model.
inline std::shared_ptr<Backend> shared_among(std::shared_ptr<Communicator> ranks,
                                             std::shared_ptr<Backend> device, const Config& c) {
  if (!device->name().starts_with("cpu"))
    fail(ErrorCode::invalid_option, "ranks compute on the CPU", {.field = "device_map"});
  return std::make_shared<TensorParallelBackend>(std::move(device), std::move(ranks),
                                                 head_widths(c));
}

}  // namespace detail

IDEFICS_ENGINE_INLINE Model Model::from_pretrained(std::string_view directory_or_repo,
                                                   ModelOptions options) {
  const detail::FreeMemoryReturned last;  // frees headers, names and lists that only loading needed
  const std::filesystem::path directory = resolve_model(directory_or_repo);
  const Checkpoint checkpoint = Checkpoint::open(directory, options.mmap);
  const std::filesystem::path config_file = directory / "config.json";
  const detail::JsonDocument json = detail::read_document(config_file);
  Config config = Config::from_json(*json, config_file.string());
  if (options.kv_cache_dtype != DType::f32 && options.kv_cache_dtype != DType::bf16)
    fail(ErrorCode::invalid_option, "keys and values are cached in f32 or bf16",
         {.field = "kv_cache_dtype"});
  config.kv_cache_dtype = options.kv_cache_dtype;
  detail::validate(options.quantization_config);
  if (const auto own = read_quantization_config(*json, config_file.string()))
    options.quantization_config =
        detail::merged(options.quantization_config, *own, options.dtype.has_value());

  WeightTable table;
  const Idefics dry_run(table, config);
  std::optional<LoraAdapter> adapter;
  if (!options.adapter.empty()) {
    adapter = LoraAdapter::open(resolve_model(options.adapter), options.mmap);
    adapter->check(table.requests());
  }

  const WeightOptions form{options.dtype, options.quantization_config,
                           adapter ? &*adapter : nullptr};
  Workload work{.chunk = options.prefill_chunk, .threads = num_threads()};
  work.context = std::max(work.context, options.shared_cache_tokens);
  if (options.ranks) work.ranks = options.ranks->size();
  const auto& requests = table.requests();
  auto [backend, map] =
      options.backend
          ? detail::Placement{options.backend, {{"", std::string(options.backend->name())}}}
          : detail::place_model(options.device_map, {config, requests, checkpoint, form, work},
                                options.max_memory);
  if (options.ranks && options.shared_cache_tokens > 0)
    fail(ErrorCode::invalid_option, "runs on ranks do not share a cache",
         {.field = "shared_cache_tokens"});
  if (options.ranks) backend = detail::shared_among(options.ranks, backend, config);
  CheckpointWeights weights(checkpoint, *backend, options.dtype, options.quantization_config);
  weights.check(requests);  // finds every tensor before the first is read
  const auto available = options.max_memory ? options.max_memory : backend->memory_left();
  if (available && map.size() == 1)  // otherwise the map has decided what goes where
    require_fit(config, requests, checkpoint, form, work, *available);
  ReportedWeights reported(weights, options.progress, std::ssize(requests));
  std::optional<AdaptedWeights> adapted;
  if (adapter) adapted.emplace(reported, *adapter, *backend, options.dtype);
  Idefics model(adapted ? static_cast<WeightSource&>(*adapted) : reported, config);
  checkpoint.check_unchanged();
  if (adapter) adapter->check_unchanged();
  checkpoint.release();  // drops the pages mapped around copied weights
  const std::int64_t layers = model.cross_layers();
  auto generation = read_generation_config(directory, config);
  std::unique_ptr<Parts> parts(new Parts{backend,
                                         std::move(map),
                                         std::move(model),
                                         std::move(generation),
                                         {backend, config, layers, options.image_cache_size},
                                         options.prefill_chunk,
                                         std::move(options.progress),
                                         options.limits,
                                         nullptr});
#if !defined(IDEFICS_NO_THREADS)
  if (options.shared_cache_tokens > 0)
    parts->batch = std::make_shared<detail::ContinuousBatch>(
        parts->model, parts->sessions, options.shared_cache_tokens, options.prefill_chunk);
#endif
  return Model(std::move(parts));
}

}}  // namespace idefics::v0

#endif
