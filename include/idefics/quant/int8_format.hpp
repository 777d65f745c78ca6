// The tensors that bitsandbytes stores for the int8 matrix MODULE.weight.
//
//   MODULE.weight         [N,K]  i8, by rows
//   MODULE.SCB            [N]    f32, the absmax of each row
//   MODULE.weight_format  []     u8: 0 for "row"; absent in some files
//
// Source: bitsandbytes 0.50.2, Linear8bitLt._save_to_state_dict.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <idefics/io/checkpoint.hpp>
#include <idefics/quant/int8.hpp>

namespace idefics { inline namespace v0 { namespace detail {

/// The names of the tensors that can accompany the int8 matrix `name`, which ends in ".weight".
inline std::vector<std::string> int8_companions(const std::string& name) {
  const std::string module = name.substr(0, name.rfind('.') + 1);
  return {module + "SCB", module + "weight_format"};
}

/// Whether the tensor `name` of a checkpoint is in int8, or has a companion as if it were.
inline bool is_int8(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo* info = checkpoint.find(name);
  return (info != nullptr && info->dtype == DType::i8) ||
         std::ranges::any_of(int8_companions(name), [&](const std::string& companion) {
           return checkpoint.find(companion) != nullptr;
         });
}

/// The int8 matrix `name`; its codes and absmax stay in the mapping. Throws `invalid_quant_state`,
/// naming file, tensor and field.
inline Int8Matrix read_int8(const Checkpoint& checkpoint, const std::string& name) {
  const auto refuse = [&](const char* field, const std::string& why,
                          std::optional<std::uint64_t> actual = {},
                          std::optional<std::uint64_t> limit = {}) {
    fail(ErrorCode::invalid_quant_state, why,
         {.file = checkpoint.file_of(name).string(),
          .tensor = name,
          .field = field,
          .actual = actual,
          .limit = limit});
  };
  const std::string absmax = int8_companions(name)[0], format = int8_companions(name)[1];
  const TensorInfo* codes = checkpoint.find(name);
  if (codes->dtype != DType::i8)
    refuse("weight", "has dtype " + codes->dtype_name + " beside constants of int8 codes");
  if (codes->dims.size() != 2) refuse("weight", "int8 codes must be a matrix");
  if (codes->dims[1] > max_int8_width)
    refuse("weight", "sums of so many products of codes do not fit in 32 bits",
           static_cast<std::uint64_t>(codes->dims[1]), max_int8_width);
  const TensorInfo* constants = checkpoint.find(absmax);
  if (constants == nullptr) refuse("SCB", "is missing: int8 codes need the absmax of each row");
  if (constants->dtype != DType::f32) refuse("SCB", "has dtype " + constants->dtype_name);
  if (constants->dims != std::vector<std::int64_t>{codes->dims[0]})
    refuse("SCB", "must have one constant per row",
           constants->dims.empty() ? 0 : constants->dims[0],
           static_cast<std::uint64_t>(codes->dims[0]));
  if (checkpoint.find(format) != nullptr) {
    static constexpr std::array<std::string_view, 4> names{"row", "col32", "col_turing",
                                                           "col_ampere"};
    const Tensor stored = checkpoint.bytes(format);
    const auto id = stored.bytes() == 1 ? static_cast<std::size_t>(stored.raw()[0]) : names.size();
    if (id != 0)
      refuse("weight_format", "codes in the format " +
                                  std::string(id < names.size() ? names[id] : "of this number") +
                                  " are not read: only \"row\" is");
  }
  return {.codes = checkpoint.tensor(name), .absmax = checkpoint.tensor(absmax)};
}

/// The tensors that store `w` under `name`.
inline std::vector<NamedTensor> int8_tensors(const std::string& name, const Int8Matrix& w) {
  static constexpr std::byte row{0};
  const auto companions = int8_companions(name);
  return {{name, w.codes},
          {companions[0], w.absmax},
          {companions[1], Tensor::view_of(DType::u8, Shape(), &row)}};
}

}}}  // namespace idefics::v0::detail
