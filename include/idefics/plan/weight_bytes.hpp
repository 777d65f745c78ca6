// The memory that one weight will need, and its kind: mapped from its file, which the system can
// drop and read again, or the process's own. Computed from headers alone: no weight is touched.
#pragma once

#include <cstdint>
#include <optional>

#include <idefics/core/checked.hpp>
#include <idefics/model/quantization_config.hpp>
#include <idefics/model/weight_source.hpp>

namespace idefics { inline namespace v0 {

class Checkpoint;
class LoraAdapter;

/// The form in which weights are kept, as in ModelOptions.
struct WeightOptions {
  std::optional<DType> dtype{};
  BitsAndBytesConfig quantization_config{};
  const LoraAdapter* adapter = nullptr;
};

struct WeightBytes {
  std::uint64_t parameters = 0;
  std::uint64_t mapped = 0;     // used in place in the file
  std::uint64_t anonymous = 0;  // converted, quantized, or copied
  std::uint64_t copies = 0;     // tensors that `anonymous` consists of
  bool packed = false;          // for one weight: in 4 bits, as stored or after loading
  bool int8 = false;            // likewise, in int8

  std::uint64_t total() const { return (Checked(mapped) + anonymous).value(); }
  WeightBytes& operator+=(const WeightBytes& other) {
    parameters = (Checked(parameters) + other.parameters).value();
    mapped = (Checked(mapped) + other.mapped).value();
    anonymous = (Checked(anonymous) + other.anonymous).value();
    copies += other.copies;
    return *this;
  }
};

namespace detail {

/// Bytes of the weight for `request` when CheckpointWeights loads it from `checkpoint`. A tensor
/// that the checkpoint lacks counts as stored in the requested dtype.
IDEFICS_ENGINE_INLINE WeightBytes weight_bytes(const Checkpoint* checkpoint,
                                               const WeightRequest& request,
                                               const WeightOptions& options);

}  // namespace detail

}}  // namespace idefics::v0

#if IDEFICS_ENGINE_BODIES

#include <string>
#include <utility>

#include <idefics/lora/lora.hpp>
#include <idefics/model/weights.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// Codes and constants of `count` values that loading quantizes (quant/blockwise.hpp).
inline std::uint64_t quantized_bytes(Checked count, bool double_quant) {
  const auto blocks = [](Checked n, std::uint64_t size) {
    return Checked((n + (size - 1)).value() / size);
  };
  const Checked codes = blocks(count, 2), constants = blocks(count, QuantizeOptions{}.blocksize);
  if (!double_quant) return (codes + constants * sizeof(float)).value();
  const Checked nested = blocks(constants, NestedConstants::blocksize);
  return (codes + constants + (nested + dynamic_map().size()) * sizeof(float)).value();
}

/// A tensor that the checkpoint stores in 4 bits: only nested constants are copied.
inline WeightBytes stored_4bit(const Checkpoint& checkpoint, const std::string& name) {
  const auto stored = [&](const std::string& suffix) {
    const TensorInfo* info = checkpoint.find(name + suffix);
    return info == nullptr ? std::uint64_t{0} : info->end - info->begin;
  };
  WeightBytes bytes;
  bytes.mapped = stored("") + stored(".absmax");
  bytes.anonymous = stored(".nested_absmax") + stored(".nested_quant_map");
  bytes.copies = bytes.anonymous == 0 ? 0 : 2;
  return bytes;
}

/// The bytes of a matrix [N,K] in int8, with a constant per row.
inline std::uint64_t int8_bytes(const Shape& shape) {
  return (Checked(static_cast<std::uint64_t>(shape.count())) +
          Checked(static_cast<std::uint64_t>(shape[0])) * sizeof(float))
      .value();
}

/// `own` after an adapter is applied: AdaptedWeights keeps replaced tensors and merged matrices in
/// memory, and adds the matrices A and B to quantized weights.
inline WeightBytes adapted(WeightBytes own, const WeightRequest& request,
                           const WeightOptions& options) {
  const bool replaced = options.adapter->replaces(request);
  const auto rank =
      request.role == WeightRole::matrix ? options.adapter->rank(request) : std::nullopt;
  if (!replaced && !rank) return own;
  if (!replaced && (own.packed || own.int8)) {
    const Checked sides = Checked(static_cast<std::uint64_t>(request.shape[0])) +
                          static_cast<std::uint64_t>(request.shape[1]);
    const Checked added = sides * static_cast<std::uint64_t>(*rank);
    own.anonymous = (added * sizeof(float) + own.anonymous).value();
    own.copies += 2;
    return own;
  }
  const DType kept =
      request.role == WeightRole::vector ? DType::f32 : options.dtype.value_or(DType::f32);
  own.mapped = 0, own.packed = own.int8 = false, own.copies = 1;
  own.anonymous = (Checked(own.parameters) * size_of(kept)).value();
  return own;
}

IDEFICS_ENGINE_INLINE WeightBytes weight_bytes(const Checkpoint* checkpoint,
                                               const WeightRequest& request,
                                               const WeightOptions& options) {
  const BitsAndBytesConfig& quantization = options.quantization_config;
  const std::optional<DType> requested =
      quantization.is_on() ? options.dtype.value_or(DType::f16) : options.dtype;
  const auto name = checkpoint == nullptr ? std::nullopt : stored_name(*checkpoint, request.name);
  const Checked count = static_cast<std::uint64_t>(request.shape.count());
  WeightBytes bytes;
  if (request.role == WeightRole::vector) {
    bytes.anonymous = (count * sizeof(float)).value();
    bytes.copies = 1;
  } else if (request.role == WeightRole::matrix && name && is_bnb(*checkpoint, *name)) {
    bytes = detail::stored_4bit(*checkpoint, *name);
    bytes.packed = true;
  } else if (request.role == WeightRole::matrix && name && is_int8(*checkpoint, *name)) {
    bytes.mapped = int8_bytes(request.shape);
    bytes.int8 = true;
  } else if (request.role == WeightRole::matrix && quantization.load_in_8bit &&
             quantization.quantizes(module_path(request.name))) {
    bytes.anonymous = int8_bytes(request.shape);
    bytes.copies = 2;
    bytes.int8 = true;
  } else if (request.role == WeightRole::matrix && quantization.load_in_4bit &&
             quantization.quantizes(module_path(request.name))) {
    bytes.anonymous = detail::quantized_bytes(count, quantization.bnb_4bit_use_double_quant);
    bytes.copies = quantization.bnb_4bit_use_double_quant ? 4 : 2;
    bytes.packed = true;
  } else {
    const DType fallback = requested.value_or(DType::f32);
    const DType stored = name ? checkpoint->find(*name)->dtype.value_or(fallback) : fallback;
    const DType kept = kept_dtype(stored, requested);
    (kept == stored ? bytes.mapped : bytes.anonymous) = (count * size_of(kept)).value();
    bytes.copies = kept == stored ? 0 : 1;
  }
  if (checkpoint != nullptr && !checkpoint->is_mapped() && bytes.mapped > 0) {
    bytes.anonymous = (Checked(bytes.anonymous) + std::exchange(bytes.mapped, 0)).value();
    bytes.copies += bytes.packed ? 2 : 1;
  }
  bytes.parameters = count.value();
  return options.adapter == nullptr ? bytes : detail::adapted(bytes, request, options);
}

}}}  // namespace idefics::v0::detail

#endif
