// The engine's programming interface: load a checkpoint, compute logits, generate.
//
//   auto model = idefics::Model::from_pretrained("HuggingFaceM4/idefics-9b");
//   auto output = model.generate(inputs, {.max_new_tokens = 20});
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/core/progress.hpp>
#include <idefics/generation/options/config.hpp>
#include <idefics/generation/options/limits.hpp>
#include <idefics/generation/run/batch_statistics.hpp>
#include <idefics/generation/run/forward_options.hpp>
#include <idefics/generation/run/output.hpp>
#include <idefics/generation/run/session_pool.hpp>
#include <idefics/model/idefics.hpp>
#include <idefics/model/inputs.hpp>
#include <idefics/model/picture_encoding.hpp>
#include <idefics/model/quantization_config.hpp>
#include <idefics/plan/device_map.hpp>
#include <idefics/ranks/communicator.hpp>

namespace idefics { inline namespace v0 {

struct ModelOptions {
  /// What weights are rounded to. Unset: as stored, with f32 arithmetic, which equals transformers'
  /// default of loading in f32. bf16 also selects the bf16 order of summation.
  std::optional<DType> dtype{};
  /// Quantizes weights that are stored plain; those stored in 4 bits or in int8 stay as they are.
  BitsAndBytesConfig quantization_config{};
  /// A LoRA adapter in PEFT's layout, a directory or a repository in the cache, as for
  /// transformers' load_adapter: merged into plain weights (in f32, or in `dtype`), attached to
  /// those that are quantized.
  std::string adapter{};
  /// "cpu", "cuda", "cuda:1", a device per module, or "auto": the first GPU if there is one; what
  /// does not fit on it goes to further GPUs and to the CPU (plan/placement.hpp).
  DeviceMap device_map{};
  /// Bytes that the model may use, including mapped weights and a usual run (plan/require_fit.hpp):
  /// a load that needs more is refused. A limit per device if "auto" splits. Unset: the available
  /// memory.
  std::optional<std::uint64_t> max_memory{};
  /// Whether weights may stay in the mapping of their file. Without, all are read into memory: for
  /// files that others may overwrite while the model is in use.
  bool mmap = true;
  /// Tokens per pass: affects memory and speed, but not a bit of the results.
  std::int64_t prefill_chunk = 256;
  /// What keys and values of the text are rounded to when they are cached: f32, which is exact, or
  /// bf16, with which a past takes half the memory. Those of pictures stay f32.
  DType kv_cache_dtype = DType::f32;
  std::int64_t image_cache_size = 16;  // pictures whose latents, keys and values are kept
  /// Continuous batching, for programs with many callers: if not 0, runs of several threads share
  /// their passes, and a cache for the keys and values of this many tokens. A run reserves rows for its
  /// prompts and all new tokens that it may generate, and waits until enough are free. A run that needs
  /// more rows than the cache has, or that cannot share passes (docs/threads.md), runs by itself. The
  /// bits of an answer do not depend on it.
  std::int64_t shared_cache_tokens = 0;
  std::shared_ptr<Backend> backend{};  // unset: according to device_map
  /// The ranks that compute this model together, each with its own `Model` and making the same calls
  /// (docs/scale.md). Unset: this process alone.
  std::shared_ptr<Communicator> ranks{};
  GenerationLimits limits{};    // on the options of `generate`
  ProgressCallback progress{};  // of loading, pictures, prompts and generation
};

struct ForwardOutput {
  Tensor logits;               // [B,T,V+A] f32; zeros where attention_mask is zero
  Tensor image_hidden_states;  // [B,I,L,Dv] f32
};

namespace detail {
class CandidateGenerator;
class ContinuousBatch;
class DraftModel;
class Guidance;
class TextRun;
struct LogitsContext;
struct TextRunOptions;
}  // namespace detail

/// The weights of a model, which never change, and what runs over them. Several threads may call one
/// object: each run has a session of its own (docs/threads.md), and its bits do not depend on others.
class Model {
 public:
  /// `directory_or_repo`: a checkpoint directory, or "org/name[@revision]" in the Hugging Face
  /// cache. All headers are checked against the configuration before any weight is touched.
  static Model from_pretrained(std::string_view directory_or_repo, ModelOptions options = {});

  /// One pass over whole prompts, however long: IdeficsForVisionText2Text.forward. Throws
  /// `shape_mismatch`, `invalid_token_id`, `empty_prompt`, `out_of_memory`.
  ForwardOutput forward(const Inputs& inputs, ForwardOptions options = {}) const;

  /// Generates in the mode that the options select. Unset options come from generation_config.json.
  /// Throws `invalid_option`, `context_overflow`, `non_finite_logits`, and what `forward` throws.
  GenerationOutput generate(const Inputs& inputs, const GenerationConfig& config = {},
                            ForwardOptions options = {}, const StepCallback& on_step = {}) const;

  /// log p of every token of every continuation of one prompt, which is read once. Throws
  /// `invalid_argument` for any other number of prompts or a continuation without tokens, and what
  /// `forward` throws.
  std::vector<std::vector<double>> continuation_logprobs(
      const Inputs& prompt, std::span<const Continuation> continuations) const;

  const Config& config() const { return parts_->model.config(); }
  const GenerationConfig& generation_config() const { return parts_->generation_config; }
  Backend& backend() const { return *parts_->backend; }
  /// Maps modules, named as in transformers, to devices; {{"", "cpu"}} if one device holds all.
  const DeviceMap::Modules& hf_device_map() const { return parts_->device_map; }
  /// Pictures whose latents, keys and values are kept, in sessions that no run uses.
  std::int64_t cached_pictures() const { return parts_->sessions.cached_pictures(); }
  /// What the shared passes have done so far (ModelOptions::shared_cache_tokens).
  BatchStatistics batch_statistics() const;

 private:
  friend ImageAttentions image_attentions(const Model&, const Tensor&, bool, bool);
  struct Parts {
    std::shared_ptr<Backend> backend;
    DeviceMap::Modules device_map;
    Idefics model;
    GenerationConfig generation_config;
    detail::SessionPool sessions;
    std::int64_t prefill_chunk;
    ProgressCallback progress;
    GenerationLimits limits;
    std::shared_ptr<detail::ContinuousBatch> batch;  // null without a shared cache
  };
  explicit Model(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

  StepCallback reported(const StepCallback& on_step, const detail::LogitsContext& context) const;
  std::unique_ptr<detail::CandidateGenerator> candidates(const GenerationConfig& config,
                                                         const detail::LogitsContext& context,
                                                         const Inputs& inputs,
                                                         bool interpolate) const;
  std::unique_ptr<detail::DraftModel> draft(const GenerationConfig& config,
                                            const detail::LogitsContext& context,
                                            const Inputs& inputs, bool interpolate) const;
  detail::LogitsContext logits_context(const GenerationConfig& config, const Inputs& inputs) const;
  detail::ContinuousBatch* batch_for(const Inputs& inputs, std::span<const Sequence> sequences,
                                     std::int64_t new_tokens,
                                     const detail::TextRunOptions& options) const;
  PictureSlots encode(detail::Session& session, const Inputs& inputs, const PicturesNeeded& needed,
                      bool interpolate) const;
  detail::TextRun start(detail::Session& session, std::vector<Sequence> sequences,
                        const PictureSlots& slots, const detail::LogitsContext& context,
                        detail::TextRunOptions run_options) const;
  std::optional<detail::Guidance> guided(detail::Session& session, const GenerationConfig& config,
                                         const detail::LogitsContext& context,
                                         std::span<const Sequence> sequences,
                                         const PictureSlots& slots,
                                         const detail::TextRunOptions& run_options) const;

  std::unique_ptr<Parts> parts_;
};

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <idefics/generation/options/effective.hpp>
#include <idefics/generation/run/continuous_batch.hpp>
#include <idefics/generation/run/workplace.hpp>
#include <idefics/generation/search/assisted_search.hpp>
#include <idefics/generation/search/continuations.hpp>
#include <idefics/generation/search/draft_model.hpp>
#include <idefics/generation/search/generate.hpp>
#include <idefics/generation/search/generation_bytes.hpp>
#include <idefics/model_loading.hpp>

namespace idefics { inline namespace v0 {

IDEFICS_ENGINE_INLINE ForwardOutput Model::forward(const Inputs& inputs,
                                                   ForwardOptions options) const {
  auto sequences = detail::make_sequences(inputs, config());
  const auto session = parts_->sessions.borrow();
  const PictureSlots slots =
      encode(*session, inputs, detail::all_pictures(inputs), options.interpolate_pos_encoding);
  const std::int64_t columns = inputs.input_ids.dim(1), v = config().vocab_size;
  const std::int64_t width = config().total_vocab_size();
  ForwardOutput output{
      .logits = Tensor::zeros(DType::f32, {inputs.input_ids.dim(0), columns, width}),
      .image_hidden_states = detail::gather_image_hidden_states(
          *session->backend, session->pictures, slots, config().vision.embed_dim)};
  const auto logits = output.logits.as_mutable<float>();
  std::vector<std::vector<std::int64_t>> row_columns;
  row_columns.reserve(sequences.size());
  for (const Sequence& sequence : sequences) row_columns.push_back(sequence.columns);

  detail::TextRun run(parts_->model, *session->backend, session->pictures, std::move(sequences),
                      slots, 0, parts_->prefill_chunk, detail::LogitRows::all);
  run.prefill([&](std::size_t row, std::int64_t token, std::span<const float> base,
                  std::span<const float> additional) {
    const std::int64_t column = row_columns[row][static_cast<std::size_t>(token)];
    const auto out = logits.begin() + (static_cast<std::int64_t>(row) * columns + column) * width;
    std::ranges::copy(base, out);
    std::ranges::copy(additional, out + v);
  });
  return output;
}

IDEFICS_ENGINE_INLINE GenerationOutput Model::generate(const Inputs& inputs,
                                                       const GenerationConfig& requested,
                                                       ForwardOptions options,
                                                       const StepCallback& on_step) const {
  GenerationConfig config = detail::effective_options(requested, parts_->generation_config,
                                                      this->config().total_vocab_size());
  auto sequences = detail::make_sequences(inputs, this->config());
  detail::check_context(sequences, this->config());
  const detail::LogitsContext context = logits_context(config, inputs);
  detail::TextRunOptions run_options = detail::run_options(config, this->config());
  detail::apply_limits(parts_->limits, config, context.limits, inputs.input_ids.dim(0),
                       run_options.copies);
  run_options.ask = detail::StepGuard(config, context.clock, options.proceed);
  const detail::TextRunOptions of_guidance = run_options;
  if (config.output_attentions.value_or(false))
    run_options.attention_columns = inputs.input_ids.dim(1);
  run_options.past = options.past_key_values;
  if (!detail::is_guided(config) && !config.assistant_model)
    run_options.batch = batch_for(inputs, sequences, context.limits.new_tokens(), run_options);
  detail::Stopwatch watch;
  detail::Workplace place(run_options.batch, parts_->sessions);
  const PictureSlots slots =
      place.encode(parts_->model, inputs, detail::seen_pictures(inputs, sequences),
                   options.interpolate_pos_encoding, parts_->progress);
  const double vision_s = watch.lap();
  const auto generator = candidates(config, context, inputs, options.interpolate_pos_encoding);
  if (generator) run_options.tokens_per_step = generator->longest() + 1;
  if (!config.max_new_tokens && config.max_length) run_options.length_option = "max_length";
  const Config* draft = config.assistant_model ? &config.assistant_model->config() : nullptr;
  detail::require_memory({config, this->config(), context, sequences, run_options,
                          parts_->prefill_chunk, std::ssize(slots.front()), draft});
  auto guidance = guided(place.session(), config, context, sequences, slots, of_guidance);
  detail::TextRun run =
      start(place.session(), std::move(sequences), slots, context, std::move(run_options));
  run.report_to(parts_->progress);
  const std::int64_t prefill_tokens = run.unread();

  const StepCallback step = reported(on_step, context);
  GenerationOutput output =
      generator
          ? detail::assisted_search(run, *generator, config, context, step)
          : detail::generate_tokens(run, config, context, step, guidance ? &*guidance : nullptr);
  output.timings.vision_s = vision_s;
  output.timings.prefill_tokens = prefill_tokens;
  return output;
}

IDEFICS_ENGINE_INLINE std::vector<std::vector<double>> Model::continuation_logprobs(
    const Inputs& prompt, std::span<const Continuation> continuations) const {
  auto sequences = detail::make_sequences(prompt, config());
  require(sequences.size() == 1, "continuations need exactly one prompt");
  require(std::ranges::none_of(continuations, &Continuation::empty),
          "a continuation has no tokens");
  for (const Continuation& ids : continuations)
    for (const std::int32_t id : ids) detail::check_id(id, config());
  detail::TextRunOptions run_options = detail::continuation_options(continuations);
  const std::int64_t longest = run_options.tokens_per_step;
  run_options.batch = batch_for(prompt, sequences, longest, run_options);
  detail::Workplace place(run_options.batch, parts_->sessions);
  const PictureSlots slots = place.encode(
      parts_->model, prompt, detail::seen_pictures(prompt, sequences), false, parts_->progress);
  detail::TextRun run(parts_->model, *place.session().backend, place.session().pictures,
                      std::move(sequences), slots, longest, parts_->prefill_chunk,
                      detail::LogitRows::last, std::move(run_options));
  run.report_to(parts_->progress);
  return idefics::detail::continuation_logprobs(
      run, continuations, static_cast<std::size_t>(config().total_vocab_size()));
}

/// What logits processors and stopping criteria know of a call in addition to its options.
inline detail::LogitsContext Model::logits_context(const GenerationConfig& config,
                                                   const Inputs& inputs) const {
  return {.vocabulary = static_cast<std::size_t>(this->config().total_vocab_size()),
          .base_vocabulary = static_cast<std::size_t>(this->config().vocab_size),
          .limits = detail::length_limits(config, inputs.input_ids.dim(1),
                                          this->config().max_position_embeddings),
          .prompts = padded_rows(inputs.input_ids),
          .clock = detail::RunClock(
              [&backend = *parts_->backend](double value) { return backend.agreed(value); })};
}

/// The batch that a run joins, or null: without a shared cache, for a run that needs more of a pass
/// than the logits of its tokens, and for pictures of another size.
inline detail::ContinuousBatch* Model::batch_for(const Inputs& inputs,
                                                 std::span<const Sequence> sequences,
                                                 std::int64_t new_tokens,
                                                 const detail::TextRunOptions& options) const {
  detail::ContinuousBatch* batch = parts_->batch.get();
  if (batch == nullptr || options.hidden || !options.early_layers.empty() ||
      options.attention_columns > 0 || options.past != nullptr)
    return nullptr;
  const std::int64_t side = config().vision.image_size;
  if (inputs.pixel_values.dim(3) != side || inputs.pixel_values.dim(4) != side) return nullptr;
  std::vector<std::int64_t> prompts;
  for (const Sequence& sequence : sequences) prompts.push_back(std::ssize(sequence.ids));
  const auto rows =
      detail::CacheTable::pool_rows(prompts, options.copies, new_tokens, options.branches).value();
  return std::cmp_less_equal(rows, batch->rows()) && batch->takes_this_thread() ? batch : nullptr;
}

IDEFICS_ENGINE_INLINE BatchStatistics Model::batch_statistics() const {
  return parts_->batch ? parts_->batch->statistics() : BatchStatistics{};
}

inline PictureSlots Model::encode(detail::Session& session, const Inputs& inputs,
                                  const PicturesNeeded& needed, bool interpolate) const {
  return detail::encode_pictures(parts_->model, *session.backend, session.pictures, inputs, needed,
                                 interpolate, parts_->progress);
}

/// A run with space for the new tokens that `context` allows.
inline detail::TextRun Model::start(detail::Session& session, std::vector<Sequence> sequences,
                                    const PictureSlots& slots, const detail::LogitsContext& context,
                                    detail::TextRunOptions run_options) const {
  // only rows with logits have hidden states
  const detail::LogitRows rows =
      run_options.hidden ? detail::LogitRows::all : detail::LogitRows::last;
  return detail::TextRun(parts_->model, *session.backend, session.pictures, std::move(sequences),
                         slots, context.limits.new_tokens(), parts_->prefill_chunk, rows,
                         std::move(run_options));
}

/// The guidance of the answers, or nothing if the options request none.
inline std::optional<detail::Guidance> Model::guided(
    detail::Session& session, const GenerationConfig& config, const detail::LogitsContext& context,
    std::span<const Sequence> sequences, const PictureSlots& slots,
    const detail::TextRunOptions& run_options) const {
  if (!detail::is_guided(config)) return std::nullopt;
  return detail::Guidance(
      start(session, detail::negative_sequences(config, sequences), slots, context, run_options),
      *config.guidance_scale, context.vocabulary, run_options.copies);
}

/// The generator of candidate tokens, or null if the options request no assistance.
inline std::unique_ptr<detail::CandidateGenerator> Model::candidates(
    const GenerationConfig& config, const detail::LogitsContext& context, const Inputs& inputs,
    bool interpolate) const {
  if (generation_mode(config) != GenerationMode::assisted_generation) return nullptr;
  const char* option = config.assistant_model ? "assistant_model" : "prompt_lookup_num_tokens";
  if (context.prompts.size() > 1)
    fail(ErrorCode::invalid_option, "supports one prompt at a time",
         {.field = option, .actual = context.prompts.size(), .limit = 1});
  if (!config.assistant_model) return std::make_unique<detail::PromptLookup>(config, context);
  const std::int64_t draft_vocab = config.assistant_model->config().total_vocab_size();
  if (draft_vocab != this->config().total_vocab_size())
    fail(ErrorCode::invalid_option, "has a different vocabulary from the model",
         {.field = option,
          .actual = static_cast<std::uint64_t>(draft_vocab),
          .limit = static_cast<std::uint64_t>(context.vocabulary)});
  return config.assistant_model->draft(config, context, inputs, interpolate);
}

/// This model as the draft model for another model's generation.
inline std::unique_ptr<detail::DraftModel> Model::draft(const GenerationConfig& config,
                                                        const detail::LogitsContext& context,
                                                        const Inputs& inputs,
                                                        bool interpolate) const {
  auto sequences = detail::make_sequences(inputs, this->config());
  auto session = parts_->sessions.borrow();
  const PictureSlots slots =
      encode(*session, inputs, detail::seen_pictures(inputs, sequences), interpolate);
  const std::int64_t padding = inputs.input_ids.dim(1) - std::ssize(sequences[0].ids);
  const auto settings =
      detail::DraftSettings::of(config, parts_->generation_config, session->num_assistant_tokens);
  detail::TextRun run = start(*session, std::move(sequences), slots, context,
                              {.tokens_per_step = detail::DraftModel::tokens_per_step});
  return std::make_unique<detail::DraftModel>(std::move(session), std::move(run), config, context,
                                              settings, padding);
}

/// `on_step`, preceded by a progress report of the step, as the first rank decides.
IDEFICS_ENGINE_INLINE StepCallback Model::reported(const StepCallback& on_step,
                                                   const detail::LogitsContext& context) const {
  return [&on_step, &progress = parts_->progress, &clock = context.clock, steps = std::int64_t{0},
          total = context.limits.new_tokens()](auto chosen) mutable {
    detail::report(progress, {"generation", ++steps, total});
    return clock.agreed(!on_step || on_step(chosen));
  };
}

}}  // namespace idefics::v0

#endif
